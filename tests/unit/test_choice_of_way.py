"""Which way an open rotation ends, from what each host says."""

from __future__ import annotations

from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.fleet import recovery

ID = "20260101T000000Z-0123456789abcdef"
OTHER = "20260102T000000Z-0123456789abcdef"


CATALOGUE = {"jwt": {"value": "shared"}, "db_key": {"value": "per_host"}}


def opened(phase: str, decision: str | None = None, rotation_id: str = ID, **more: Any) -> dict[str, Any]:
    journal = {"rotation_id": rotation_id, "secret": "jwt", "phase": phase} | more
    return {"rotation": journal | ({"decision": decision} if decision else {}), "closed": {}}


def closed(outcome: str, secret: str = "jwt") -> dict[str, Any]:
    decision = "commit" if outcome == "committed" else "rollback"
    journal = {"phase": "closed", "outcome": outcome, "decision": decision, "new": {"V": "kt:1"}, "secret": secret}
    return {"rotation": {}, "closed": {ID: journal}}


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
        # away while the others went back or committed: what was recorded there binds it
        ("forward", [opened("switched"), closed("rolled_back")], "back"),
    ],
)
def test_way(wish: str, hosts: list[dict[str, Any]], way: str) -> None:
    assert recovery.choose(wish, dict(zip("abc", hosts, strict=False)), CATALOGUE, known={ID: "jwt"})["way"] == way


@pytest.mark.parametrize(
    "hosts",
    [
        [opened("proved", "commit")] * 2,
        [opened("proved", "commit"), closed("committed")],
        # away while the others decided and finished
        [opened("proved"), closed("committed")],
        [opened("switched"), closed("committed")],
    ],
)
def test_nobody_goes_back_on_a_decision(hosts: list[dict[str, Any]]) -> None:
    with pytest.raises(KeyturnError, match="only goes forward, run resume"):
        recovery.choose("back", dict(zip("ab", hosts, strict=True)), CATALOGUE)


def test_two_open_rotations_are_refused() -> None:
    with pytest.raises(KeyturnError, match=f"{ID} on a; {OTHER} on b"):
        recovery.choose(
            "forward",
            {"a": opened("staged"), "b": opened("staged", rotation_id=OTHER)},
            CATALOGUE,
            known={ID: "jwt", OTHER: "jwt"},
        )


@pytest.mark.parametrize(
    ("wish", "hosts", "way"),
    [
        # the canary has committed with its own value: the batch in work may still go either way
        ("back", [closed("committed", "db_key"), opened("proved", secret="db_key")], "back"),
        ("forward", [closed("committed", "db_key"), opened("proved", secret="db_key")], "forward"),
        ("forward", [closed("rolled_back", "db_key"), opened("staged", secret="db_key")], "back"),
    ],
)
def test_a_batch_that_has_committed_binds_no_other(wish: str, hosts: list[dict[str, Any]], way: str) -> None:
    assert recovery.choose(wish, dict(zip("ab", hosts, strict=True)), CATALOGUE)["way"] == way


@pytest.mark.parametrize(
    ("ends", "way"),
    [(["committed"] * 2, "forward"), (["rolled_back"] * 2, "back"), (["committed", "rolled_back"], "back")],
)
def test_an_end_without_a_report_is_reported(ends: list[str], way: str) -> None:
    hosts = {str(number): closed(outcome, "db_key") for number, outcome in enumerate(ends)}
    chosen = recovery.choose("forward", hosts, CATALOGUE, [OTHER, ID])
    assert (chosen["way"], chosen["rotation_id"], chosen["secret"]) == (way, ID, "db_key")
    assert "lacks its report" in chosen["message"]
    assert recovery.choose("forward", hosts, CATALOGUE, [OTHER])["way"] == "none"


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
