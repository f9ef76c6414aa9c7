"""What is refused of a value that a person brings: by the variable's name, never by the value."""

from __future__ import annotations

from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.host.phases import credential
from keyturn.providers import guards, supplied
from support.fakes import FakeAlpaca, FakePlaid

VARIABLES = ["PLAID_CLIENT_ID", "PLAID_SECRET"]
SOURCE = {
    "kind": "supplied",
    "steps": ["open the dashboard", "copy it"],
    "shapes": {"PLAID_CLIENT_ID": "[0-9a-f]{24}", "PLAID_SECRET": "[0-9a-f]{30}"},
}
GOOD = {"PLAID_CLIENT_ID": "0123456789abcdef01234567", "PLAID_SECRET": "fedcba9876543210fedcba98765432"}


def check(values: dict[str, Any], exposed: list[str] | None = None) -> dict[str, str]:
    return supplied.check(VARIABLES, SOURCE, {"values": values, "exposed": exposed or [], "problem": ""})


def test_a_good_pair_passes() -> None:
    assert check(GOOD) == GOOD


SECRET = GOOD["PLAID_SECRET"]
REFUSALS: list[tuple[str, Any, str]] = [
    ("white space in front", f" {SECRET}", "has white space in it"),
    ("a line end", f"{SECRET}\n", "has white space in it"),
    ("white space within", f"{SECRET[:9]} {SECRET[9:]}", "has white space in it"),
    ("a no-break space", f"{SECRET}\u00a0", "has white space in it"),
    ("quotes", f'"{SECRET}"', "has quotes round it"),
    ("one quote", f"{SECRET}'", "has quotes round it"),
    ("typographic quotes", f"\u201c{SECRET}\u201d", "has quotes round it"),
    ("cut off", SECRET[:-1], r"\(29 characters\) has not the shape"),
    ("the name as well", f"PLAID_SECRET={SECRET}", "has not the shape"),
    ("the other value", GOOD["PLAID_CLIENT_ID"], "has not the shape"),
    ("a placeholder", "your_plaid_secret_here", "is a template's placeholder"),
    ("a number", 17, "is not text"),
]


@pytest.mark.parametrize(("what", "value", "message"), REFUSALS, ids=[line[0] for line in REFUSALS])
def test_a_value_of_the_wrong_form_is_refused_by_name(what: str, value: Any, message: str) -> None:
    with pytest.raises(KeyturnError, match=rf"^the new value of PLAID_SECRET .*{message}") as caught:
        check(GOOD | {"PLAID_SECRET": value})
    assert SECRET[:-1] not in str(caught.value)


def test_one_value_pasted_twice_is_refused() -> None:
    source = SOURCE | {"shapes": {}}
    with pytest.raises(KeyturnError, match="have the same new value: one of them was pasted twice"):
        supplied.check(VARIABLES, source, {"values": dict.fromkeys(VARIABLES, SECRET), "exposed": [], "problem": ""})


@pytest.mark.parametrize("given", [{}, {"PLAID_SECRET": ""}])
def test_a_missing_value_is_named_with_the_ways_and_the_steps(given: dict[str, str]) -> None:
    with pytest.raises(KeyturnError, match=r"^no new value was given for PLAID_CLIENT_ID, PLAID_SECRET") as caught:
        check(given)
    for text in ("KEYTURN_NEW_PLAID_SECRET", "keyturn_new_values", "terminal", "open the dashboard; copy it"):
        assert text in str(caught.value)


def test_a_value_in_the_command_line_is_refused_with_the_right_ways() -> None:
    with pytest.raises(
        KeyturnError, match=r"^PLAID_SECRET: a value stands in the command line.*KEYTURN_NEW_PLAID_SECRET"
    ):
        check(GOOD, ["PLAID_SECRET"])


def test_the_value_in_use_is_refused_and_one_that_may_stay_is_not() -> None:
    credential.check_is_new(["PLAID_CLIENT_ID"], GOOD, GOOD | {"PLAID_SECRET": "x"})
    with pytest.raises(KeyturnError, match=r"^the new value of PLAID_SECRET is the one that is in use"):
        credential.check_is_new(["PLAID_CLIENT_ID"], GOOD, GOOD)


def test_only_a_value_that_the_provider_accepts_goes_on() -> None:
    with FakePlaid() as fake:
        entry = {"variables": VARIABLES, "provider": {"kind": "plaid", "url": fake.url}, "guard": {"kind": "none"}}
        with pytest.raises(
            KeyturnError, match=r"^Plaid rejects the new value \(POST /institutions/get: HTTP 400, INVALID"
        ):
            supplied.ask(entry, {}, GOOD)
        fake.mood = "500"
        with pytest.raises(KeyturnError, match=r"^Plaid at http.* does not say whether the new value is good"):
            supplied.ask(entry, {}, GOOD)
        fake.mood, fake.valid = "", {tuple(GOOD.values()): "ours"}
        assert supplied.ask(entry, {}, GOOD).verdict == "accepted"
        assert len(fake.calls) == 3


@pytest.mark.parametrize(("key", "account"), [("PKNEW", "live"), ("AKNEW", "paper")])
def test_a_paper_pair_never_meets_a_live_host(key: str, account: str) -> None:
    with FakeAlpaca() as fake:
        provider = {"kind": "alpaca", "url": fake.url, "account": account}
        with pytest.raises(KeyturnError, match="nothing was sent"):
            supplied.ask({"variables": ["A", "B"], "provider": provider}, {}, {"A": key, "B": "secret"})
        assert fake.calls == []


# the market is open, number of open orders, what goes wrong, the message
GUARD: list[tuple[bool, int, str, str]] = [
    (False, 0, "", ""),
    (False, 3, "", ""),
    (True, 0, "", ""),
    (True, 1, "", "the market is open and so are orders"),
    (True, 0, "429", "Alpaca does not say whether orders are open"),
]


@pytest.mark.parametrize(("market", "orders", "mood", "message"), GUARD)
def test_open_orders_stop_a_restart_unless_a_person_gives_a_reason(
    market: bool, orders: int, mood: str, message: str
) -> None:
    with FakeAlpaca() as fake:
        fake.valid, fake.market_open, fake.open_orders, fake.mood = {("PK", "secret"): "1"}, market, orders, mood
        entry = {"provider": {"kind": "alpaca", "url": fake.url}, "guard": {"kind": "open_orders"}}
        guards.check(entry["guard"]["kind"], entry["provider"], {"open_orders": "the desk agreed"}, ["PK", "secret"])
        assert fake.calls == []
        if message:
            with pytest.raises(KeyturnError, match=rf"^{message}.*keyturn_override_open_orders: REASON"):
                guards.check(entry["guard"]["kind"], entry["provider"], {}, ["PK", "secret"])
        else:
            guards.check(entry["guard"]["kind"], entry["provider"], {}, ["PK", "secret"])
        assert fake.violations == []
