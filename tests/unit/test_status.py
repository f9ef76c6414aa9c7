"""What a secret needs, from what its hosts remember."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from keyturn import status

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


def host(*journals: dict[str, Any], opened: str = "") -> dict[str, Any]:
    rotation = {"secret": opened} if opened else {}
    return {"rotation": rotation, "closed": {journal["rotation_id"]: journal for journal in journals}}


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
        {"a": host(past("x", "2026-05-20")), "b": host(past("x", "2026-05-20", new="kt:2"))},
        "broken",
        12,
    ),
]


@pytest.mark.parametrize(("what", "entry", "hosts", "state", "age"), CASES, ids=[case[0] for case in CASES])
def test_the_state(what: str, entry: dict[str, Any], hosts: dict[str, Any], state: str, age: int | None) -> None:
    found = status.status({"x": entry}, hosts, NOW)
    assert (found["state"], found["secrets"]["x"]["state"], found["secrets"]["x"]["age_days"]) == (state, state, age)
    assert state.upper() in status.table(found)


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
