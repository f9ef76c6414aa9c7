"""A replacement of access tokens stands in the rotation log, whatever it has come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from keyturn.inputs import persons
from keyturn.records import rotation_log
from support.lab import Lab

WHOLE = {"total": 3, "proven": 3, "relink_required": [], "ended": True}


def replaced(folder: Path, hosts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return Lab.action(
        "log_replacement",
        issuer="plaid",
        environment="test",
        reason="a leak",
        operator="tester",
        hosts=hosts,
        folder=str(folder),
        **more,
    )


@pytest.mark.parametrize(
    ("hosts", "more", "outcome", "failure"),
    [
        ({"a": WHOLE, "b": WHOLE}, {}, "replaced", None),
        ({"a": WHOLE, "b": {}}, {"excluded": {"b": "its board is broken"}}, "replaced", None),
        ({"a": WHOLE | {"proven": 2, "relink_required": ["x"]}}, {}, "relink_required", "relink_required: a: x"),
        ({"a": {"failed": True, "msg": "no"}, "b": {}}, {"failure": "a: no"}, "failed", "a: no"),
    ],
    ids=["all", "without one", "one lost", "failed"],
)
def test_every_end_has_a_record(
    tmp_path: Path, hosts: dict[str, Any], more: dict[str, Any], outcome: str, failure: str | None
) -> None:
    assert replaced(tmp_path, hosts, **more)["outcome"] == outcome
    (entry,) = rotation_log.read(tmp_path)
    assert (entry["event"], entry["outcome"], entry["failure"]) == ("tokens_replaced", outcome, failure)
    assert entry["hosts"] == sorted(host for host, found in hosts.items() if found)
    assert rotation_log.verify(tmp_path, {})["records"] == 1
    total, proven = (sum(found.get(name, 0) for found in hosts.values()) for name in ("total", "proven"))
    (row,) = (tmp_path / rotation_log.TABLE).read_text().splitlines()[2:]
    assert "| access tokens of plaid | a leak (" in row
    assert (
        f"| tester (login {persons.real(persons.login({}))}) | keyturn, {proven} of {total} tokens work at their provider |"
        in row
    )
    assert ("without b: its board is broken" in row) == ("excluded" in more)


def test_each_run_is_an_event_of_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        replaced(tmp_path, {"a": WHOLE})
    assert len(rotation_log.read(tmp_path)) == 2
