"""Prepare in calls of some seconds: what the controller prints, and what a call finds of the one before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from keyturn import sqlite_file
from keyturn.lifecycle import prepare
from support.faults import Host


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host whose calls prepare one page of five rows each."""
    monkeypatch.setattr(prepare, "SECONDS", 0)
    monkeypatch.setattr(sqlite_file.pages, "__defaults__", ((), 5))
    made = Host(tmp_path / "host")
    made.go_to("staged")
    yield made
    made.stop()


def test_calls_go_on_and_say_how_far_they_are(host: Host) -> None:
    said = []
    while "progress" in (result := prepare.run(host.rotation())):
        assert result["rotation"]["phase"] == "preparing"
        said.append(re.sub(r"[\d,]+ rows/s, \d+ s", "RATE rows/s, N s", result["progress"]))
    assert said == [f"{read} of 12 rows prepared, RATE rows/s, N s left" for read in (5, 10)]
    assert result["rotation"]["phase"] == "prepared"
    assert [step["phase"] for step in result["rotation"]["history"]].count("preparing") == 1
    assert result["rotation"]["prepared"]["read"] == 12
    host.go_forward()
    host.check_ended("committed")


@pytest.mark.parametrize("damage", ["changed", "cut", "nonsense", "gone"])
def test_a_side_file_that_does_not_match_is_thrown_away(host: Host, damage: str) -> None:
    prepare.run(host.rotation())
    side = host.state_file("prepared.db")
    content = side.read_bytes()
    if damage == "gone":
        side.unlink()
    else:
        bad = {"changed": content[:-9] + b"damaged!!", "cut": content[:4096], "nonsense": b"nonsense" * 500}
        side.write_bytes(bad[damage])
    assert prepare.run(host.rotation())["rotation"]["prepared"]["read"] == 5
    host.go_forward()
    host.check_ended("committed")


def test_what_a_killed_call_has_written_is_taken_back(host: Host) -> None:
    prepare.run(host.rotation())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare.SideFile, "checksum", lambda side: 1 / 0)
        patch.setattr(prepare, "side_file", lambda journal: prepare.SideFile(journal.path("prepared.db")))
        with pytest.raises(ZeroDivisionError):
            prepare.run(host.rotation())
    # the file has come further than the journal: it does not match, and is made anew
    assert prepare.run(host.rotation())["rotation"]["prepared"]["read"] == 5
    host.go_back()
    host.check_ended("rolled_back")
