"""The proofs that a credential is of the account that it has to be: what the provider says, and what the engine logs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from keyturn import providers
from keyturn.host import probes
from keyturn.host.probes import Question
from keyturn.services.service import Seen
from support.fakes import FakeAlpaca
from support.lab import catalogue

PAIR = {"ALPACA_API_KEY": "PKNEW", "ALPACA_SECRET_KEY": "new-secret"}
OURS, OTHER = "PA31XK2", "PA99ZZ9"
SPECS = {spec["kind"]: spec for spec in catalogue()["alpaca"]["probes"]}
CONNECTED = "INFO:src.brokers.alpaca_adapter:Connected to Alpaca (Account: {})"


def asked(kind: str, account: str, owner: str = OURS, lines: tuple[str, ...] = ()) -> tuple[dict[str, str], str | None]:
    """The verdicts by the proof's name, and what does not hold.

    ``account`` is whose the pair must be, ``owner`` whose the provider takes it for, ``lines`` are what the engine has logged.
    """
    engine: Any = SimpleNamespace(name="engine", log_lines=lambda: iter(lines), look=lambda: Seen([], []))
    with FakeAlpaca() as fake:
        fake.valid = {tuple(PAIR.values()): owner}
        question = Question(
            "new",
            PAIR,
            dict.fromkeys(PAIR, "old"),
            [engine],
            None,
            lambda held: providers.ask({"kind": "alpaca", "url": fake.url}, [held[name] for name in PAIR]),
            account,
        )
        found = probes.ask([SPECS[kind]], question)
    return {line["proof"]: line["verdict"] for line in found}, probes.first_failure(found)


@pytest.mark.parametrize(
    ("account", "owner", "verdicts"),
    [
        (OURS, OURS, {"provider": "accepted", "account": "accepted"}),
        (OURS, OTHER, {"provider": "accepted", "account": "rejected"}),
        # whose the old one was could not be asked any more
        ("", OTHER, {"provider": "accepted"}),
    ],
    ids=["ours", "of another account", "not known"],
)
def test_a_pair_of_another_account_is_no_proof(account: str, owner: str, verdicts: dict[str, str]) -> None:
    found, failure = asked("provider", account, owner)
    assert found == verdicts
    assert (f"proof account of the credential is rejected: it belongs to {OTHER}" == failure) == (
        "rejected" in verdicts.values()
    )


@pytest.mark.parametrize(
    ("said", "account", "verdict"),
    [
        ((OURS,), OURS, "accepted"),
        ((OTHER,), OURS, "rejected"),
        # what it said last counts
        ((OURS, OTHER), OURS, "rejected"),
        ((OTHER,), "", "accepted"),
        ((), OURS, "unknown"),
    ],
)
def test_an_engine_on_another_account_is_no_proof(said: tuple[str, ...], account: str, verdict: str) -> None:
    found, failure = asked("log_line", account, lines=("starting", *map(CONNECTED.format, said)))
    assert found == {"log line": verdict}
    assert (failure is None) == (verdict == "accepted")
