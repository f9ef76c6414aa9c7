"""What a secret needs, from what its hosts remember."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from keyturn.fleet import schedule
from keyturn.records import ages, status

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ENTRY = {
    "title": "Database Encryption Key",
    "value": "per_host",
    "switch": "rolling",
    "max_age_days": 90,
    "retire": {"kind": "none"},
}
BROUGHT = {
    "title": "Plaid",
    "value": "shared",
    "switch": "rolling",
    "retire": {"kind": "revoke", "steps": ["delete it"]},
}


def past(secret: str, finished: str, outcome: str = "committed", new: str = "kt:1", **more: Any) -> dict[str, Any]:
    return {
        "rotation_id": finished,
        "secret": secret,
        "outcome": outcome,
        "finished": f"{finished}T00:00:00Z",
        "new": {"X": new},
        **more,
    }


def host(
    *journals: dict[str, Any],
    opened: str = "",
    holds: str = "kt:1",
    used: bool = True,
    problem: str = "",
    expired: tuple[str, ...] = (),
) -> dict[str, Any]:
    rotation = {"secret": opened} if opened else {}
    held = {"used": used, "values": {"X": holds} if holds and used else {}, "problem": problem}
    closed = {journal["rotation_id"]: journal for journal in journals}
    return {"rotation": rotation, "closed": closed, "held": {"x": held}, "expired": list(expired)}


def revocation(since: str) -> dict[str, Any]:
    return {"retire": {"state": "open", "since": f"{since}T00:00:00Z"}}


CASES: list[tuple[str, dict[str, Any], dict[str, Any], str, int | None]] = [
    ("young", ENTRY, {"a": host(past("x", "2026-05-20"))}, "ok", 12),
    ("two weeks before its age", ENTRY, {"a": host(past("x", "2026-03-10"))}, "due", 83),
    ("too old", ENTRY, {"a": host(past("x", "2026-02-01"))}, "overdue", 120),
    ("never turned", ENTRY, {"a": host()}, "due", None),
    ("never turned on one host", ENTRY, {"a": host(past("x", "2026-05-20")), "b": host()}, "due", None),
    (
        "the oldest host counts",
        ENTRY,
        {"a": host(past("x", "2026-05-20")), "b": host(past("x", "2026-01-01"))},
        "overdue",
        151,
    ),
    ("only a rollback", ENTRY, {"a": host(past("x", "2026-05-20", "rolled_back"))}, "due", None),
    ("a rotation is open", ENTRY, {"a": host(past("x", "2026-05-20"), opened="x")}, "broken", 12),
    ("another rotation is open", ENTRY, {"a": host(past("x", "2026-05-20"), opened="y")}, "ok", 12),
    ("turned on events only", BROUGHT, {"a": host()}, "ok", None),
    ("a young revocation", BROUGHT, {"a": host(past("x", "2026-05-30", **revocation("2026-05-30")))}, "due", 2),
    ("an old revocation", BROUGHT, {"a": host(past("x", "2026-05-20", **revocation("2026-05-20")))}, "overdue", 12),
    ("proved dead", BROUGHT, {"a": host(past("x", "2026-05-20", retire={"state": "revoked"}))}, "ok", 12),
    (
        "hosts differ in what they share",
        BROUGHT,
        {"a": host(past("x", "2026-05-20")), "b": host(past("x", "2026-05-20", new="kt:2"), holds="kt:2")},
        "broken",
        12,
    ),
    (
        "each its own",
        ENTRY,
        {"a": host(past("x", "2026-05-20", new="kt:2"), holds="kt:2"), "b": host(past("x", "2026-05-20"))},
        "ok",
        12,
    ),
    ("somebody has changed it", ENTRY, {"a": host(past("x", "2026-05-20"), holds="kt:2")}, "broken", 12),
    (
        "it went back since",
        ENTRY,
        {"a": host(past("x", "2026-05-20"), past("x", "2026-05-21", "rolled_back", new="kt:3", old={"X": "kt:1"}))},
        "ok",
        12,
    ),
    ("in the middle of a switch", ENTRY, {"a": host(past("x", "2026-05-20"), opened="x", holds="kt:2")}, "broken", 12),
    (
        "it was there and is gone",
        ENTRY,
        {"a": host(past("x", "2026-05-20"), holds="", problem="X is not set")},
        "broken",
        12,
    ),
    ("it is not used here", ENTRY, {"a": host(used=False)}, "ok", None),
    ("one host of two uses it", ENTRY, {"a": host(past("x", "2026-05-20")), "b": host(used=False)}, "ok", 12),
    ("an old value has expired", ENTRY, {"a": host(past("x", "2026-05-20"), expired=("r1",))}, "overdue", 12),
]
STATE_OF_ALL_ALONE = {"an old value has expired"}


@pytest.mark.parametrize(("what", "entry", "hosts", "state", "age"), CASES, ids=[case[0] for case in CASES])
def test_the_state(what: str, entry: dict[str, Any], hosts: dict[str, Any], state: str, age: int | None) -> None:
    found = status.status({"x": entry}, hosts, NOW)
    of_secret = "ok" if what in STATE_OF_ALL_ALONE else state
    assert (found["state"], found["secrets"]["x"]["state"], found["secrets"]["x"]["age_days"]) == (
        state,
        of_secret,
        age,
    )
    assert state.upper() in status.table(found)


def test_a_long_name_stands_apart_from_its_state() -> None:
    found = status.status({"a_rather_long_name": ENTRY, "x": ENTRY}, {"a": None}, NOW)
    lines = {line.split()[0]: line.split()[1] for line in status.table(found).splitlines()[2:5]}
    assert lines == {"secret": "state", "a_rather_long_name": "due", "x": "due"}


def test_a_host_that_is_silent_is_named() -> None:
    found = status.status({"x": ENTRY}, {"a": host(past("x", "2026-05-20")), "b": None}, NOW)
    assert (found["state"], found["secrets"]["x"]["state"]) == ("broken", "ok")
    assert "no answer from b" in status.table(found)


def test_an_open_revocation_comes_with_its_steps() -> None:
    hosts = {name: host(past("x", "2026-05-30", **revocation("2026-05-30"))) for name in ("a", "b")}
    found = status.status({"x": BROUGHT}, hosts, NOW)
    assert found["secrets"]["x"]["open_revocations"]["2026-05-30"]["hosts"] == ["a", "b"]
    assert "revocation since 2026-05-30" in status.table(found)
    assert "- delete it" in status.table(found)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            "somebody has changed it",
            "a: its files hold X kt:2, and its last rotation left X kt:1: somebody else has changed them",
        ),
        ("it was there and is gone", "a: X is not set"),
        ("it is not used here", "not used here"),
        ("an old value has expired", "the old value of r1 has expired and is still on a: run prune.yml"),
    ],
)
def test_the_table_names_it_and_the_way_out(what: str, said: str) -> None:
    (case,) = [case for case in CASES if case[0] == what]
    assert said in status.table(status.status({"x": case[1]}, case[2], NOW))


def test_what_no_host_uses_is_never_due() -> None:
    found = status.status({"x": ENTRY}, {"a": host(used=False)}, NOW)
    (line,) = schedule.calendar(found["secrets"], 7, {}, NOW)
    assert (line["due"], line["turn"]) == (None, False)
    assert "is not used here" in schedule.table([line])


@pytest.mark.parametrize(
    ("record", "state"),
    [
        ({"review": {"late": True}}, "overdue"),
        ({"review": {"late": False}}, "ok"),
        ({"unsigned": [{"late": True}]}, "overdue"),
        ({"unsigned": [{"late": False}]}, "ok"),
        ({"unreported": {"r1": {}}}, "broken"),
        ({"log": {"problem": "a record is missing"}}, "broken"),
    ],
)
def test_what_the_records_say_counts(record: dict[str, Any], state: str) -> None:
    hosts = {"a": host(past("x", "2026-05-20"))}
    assert status.status({"x": ENTRY}, hosts, NOW, record)["state"] == state


# -- the word of one host, and the log -----------------------------------------------------------------------------

SHARED = ENTRY | {"title": "JWT Secret", "value": "shared", "switch": "together"}
TURNED, EARLIER, LATER = "2026-05-20", "2026-01-01", "2026-05-25"


def logged(finished: str, *hosts: str, outcome: str = "committed", **more: Any) -> dict[str, Any]:
    return {
        "event": "ended",
        "rotation_id": finished,
        "secret": "x",
        "outcome": outcome,
        "finished": f"{finished}T00:00:00Z",
        "hosts": list(hosts),
        **more,
    }


def fleet(*ends: str) -> dict[str, Any]:
    return {f"h{number}": host(*([past("x", end)] if end else [])) for number, end in enumerate(ends)}


LOG = [logged(EARLIER, "h0", "h1", "h2"), logged(TURNED, "h0", "h1", "h2")]
RECKONED: list[tuple[str, dict[str, Any], list[dict[str, Any]], dict[str, Any], str, list[str]]] = [
    ("one that says never", SHARED, LOG, fleet(TURNED, TURNED, ""), TURNED, ["h2"]),
    ("one that says long ago", SHARED, LOG, fleet(TURNED, TURNED, EARLIER), TURNED, ["h2"]),
    ("one that says just now", SHARED, LOG[:1], fleet(EARLIER, EARLIER, LATER), EARLIER, []),
    ("all know of a later one", SHARED, LOG, fleet(LATER, LATER, LATER), LATER, []),
    ("a new host", SHARED, LOG, fleet(TURNED, TURNED, TURNED) | {"new": host()}, TURNED, []),
    ("no log, one says never", SHARED, [], fleet(TURNED, TURNED, ""), TURNED, ["h2"]),
    ("no log, one says just now", SHARED, [], fleet(TURNED, TURNED, LATER), TURNED, ["h2"]),
    ("no log, two hosts", SHARED, [], fleet(TURNED, EARLIER), EARLIER, ["h0"]),
    (
        "one was left out",
        SHARED,
        [LOG[0], logged(TURNED, "h0", "h1", "h2", outcome="committed_with_exclusions", excluded={"h2": "away"})],
        fleet(TURNED, TURNED, EARLIER),
        EARLIER,
        [],
    ),
    ("of its own, one says never", ENTRY, LOG, fleet(TURNED, TURNED, ""), TURNED, ["h2"]),
    ("of its own, just now", ENTRY, LOG, fleet(TURNED, TURNED, LATER), TURNED, []),
    ("of its own, a new host", ENTRY, LOG, fleet(TURNED, TURNED, TURNED) | {"new": host()}, "", []),
    ("it went back", SHARED, [*LOG, logged(LATER, "h0", "h1", "h2", outcome="rolled_back")], fleet(TURNED), TURNED, []),
    (
        "a log begun anew from the hosts",
        SHARED,
        [logged(TURNED, event="taken over from hosts") | {"hosts": {"h0": {}, "h1": {}, "h2": {}}}],
        fleet(TURNED, TURNED, ""),
        TURNED,
        ["h2"],
    ),
]


@pytest.mark.parametrize(
    ("what", "entry", "records", "hosts", "last", "doubted"), RECKONED, ids=[one[0] for one in RECKONED]
)
def test_the_word_of_one_host_makes_nothing_due_on_others(
    what: str,
    entry: dict[str, Any],
    records: list[dict[str, Any]],
    hosts: dict[str, Any],
    last: str,
    doubted: list[str],
) -> None:
    line = status.status({"x": entry}, hosts, NOW, records=records)["secrets"]["x"]
    assert line["last_rotated"] == (f"{last}T00:00:00Z" if last else None)
    assert [
        name for name, why in line["problems"].items() if "is in other hands" in why or "see which" in why
    ] == doubted
    assert line["state"] == "broken" or not doubted


@pytest.mark.parametrize("shared", [True, False])
def test_a_host_that_has_finished_a_second_before_the_controller_knows_the_rotation(shared: bool) -> None:
    end = {"rotation_id": "20260101T000000Z-0123456789abcdef", "secret": "x", "outcome": "committed"}
    hosts: Any = {
        name: {"closed": {"r": end | {"finished": f"2026-01-01T00:00:0{second}Z"}}}
        for name, second in (("a", 1), ("b", 2))
    }
    records = [end | {"event": "ended", "finished": "2026-01-01T00:00:03Z", "hosts": ["a", "b"], "excluded": {}}]
    assert ages.of("x", shared, hosts, records).doubts == {}
    assert ages.of("x", shared, hosts, []).doubts == {}
