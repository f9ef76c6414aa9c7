"""Which way an open rotation ends, from what each host says."""

from __future__ import annotations

from typing import Any

import pytest
from keyturn import recovery
from keyturn.errors import KeyturnError

ID = "20260101T000000Z-0123456789abcdef"
OTHER = "20260102T000000Z-0123456789abcdef"


def opened(phase: str, decision: str | None = None, rotation_id: str = ID, **more: Any) -> dict[str, Any]:
    journal = {"rotation_id": rotation_id, "secret": "jwt", "phase": phase, **more}
    return {"rotation": journal | ({"decision": decision} if decision else {}), "closed": {}}


def closed(outcome: str) -> dict[str, Any]:
    decision = "commit" if outcome == "committed" else "rollback"
    return {
        "rotation": {},
        "closed": {ID: {"phase": "closed", "outcome": outcome, "decision": decision, "new": {"V": "kt:1"}}},
    }


NOTHING: dict[str, Any] = {"rotation": {}, "closed": {}}


@pytest.mark.parametrize(
    ("wish", "hosts", "way"),
    [
        ("forward", [NOTHING, NOTHING], "none"),
        ("forward", [opened("staged"), NOTHING], "forward"),
        ("back", [opened("proved"), opened("switched")], "back"),
        ("forward", [opened("proved", "rollback"), opened("proved")], "back"),
        ("back", [opened("proved", "commit"), opened("proved")], "back"),
        ("forward", [opened("proved", "commit"), opened("proved", "commit")], "forward"),
        ("forward", [opened("proved"), closed("committed")], "forward"),
        # away while the others went back: what was recorded there binds it
        ("forward", [opened("switched"), closed("rolled_back")], "back"),
    ],
)
def test_way(wish: str, hosts: list[dict[str, Any]], way: str) -> None:
    assert recovery.choose(wish, dict(zip("abc", hosts, strict=False)))["way"] == way


@pytest.mark.parametrize("hosts", [[opened("proved", "commit")] * 2, [opened("proved", "commit"), closed("committed")]])
def test_nobody_goes_back_on_a_decision(hosts: list[dict[str, Any]]) -> None:
    with pytest.raises(KeyturnError, match="only goes forward, run resume"):
        recovery.choose("back", dict(zip("ab", hosts, strict=True)))


def test_two_open_rotations_are_refused() -> None:
    with pytest.raises(KeyturnError, match=f"{ID}, {OTHER}"):
        recovery.choose("forward", {"a": opened("staged"), "b": opened("staged", rotation_id=OTHER)})


@pytest.mark.parametrize(
    ("hosts", "needed"),
    [
        ([NOTHING, NOTHING], True),
        ([opened("staged", new={"V": "kt:1"}), opened("staging")], True),
        ([opened("staged", new={"V": "kt:1"}), opened("staged", new={"V": "kt:2"})], True),
        ([opened("staged", new={"V": "kt:1"}), opened("staged", new={"V": "kt:1"})], False),
        # one has gone on with its value: another one must never be made
        ([opened("preparing", new={"V": "kt:1"}), opened("staging")], False),
        ([opened("staged", new={"V": "kt:1"}), closed("committed")], False),
    ],
)
def test_when_a_shared_value_is_generated(hosts: list[dict[str, Any]], needed: bool) -> None:
    assert recovery.needs_value(ID, dict(zip("ab", hosts, strict=True))) is needed
