"""Prepare in calls of some seconds: what the controller prints, and what a call finds of the one before."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from keyturn.base import procfs
from keyturn.ground.rows import sqlite_file
from keyturn.ground.rows.side_file import SideFile
from keyturn.ground.rows.sqlite_file import Database, RestartedTooOften
from keyturn.host.journal import Journal
from keyturn.host.phases import evidence, prepare, turn
from support.faults import ROTATION_ID, Host
from support.lab import KEY


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
    while "progress" in (result := turn.run(host.rotation(), "prepared")):
        assert result["rotation"]["phase"] == "preparing"
        said.append((result["progress"]["done"], result["progress"]["total"]))
    assert said == [(5, 12), (10, 12)]
    assert result["rotation"]["phase"] == "prepared"
    assert [step["phase"] for step in result["rotation"]["history"]].count("preparing") == 1
    assert result["rotation"]["prepared"]["read"] == 12
    host.go_forward()
    host.check_ended("committed")


@pytest.mark.parametrize("damage", ["changed", "cut", "nonsense", "gone"])
def test_a_side_file_that_does_not_match_is_thrown_away(host: Host, damage: str) -> None:
    turn.run(host.rotation(), "prepared")
    side = host.state_file("prepared.db")
    content = side.read_bytes()
    if damage == "gone":
        side.unlink()
    else:
        bad = {"changed": content[:-9] + b"damaged!!", "cut": content[:4096], "nonsense": b"nonsense" * 500}
        side.write_bytes(bad[damage])
    assert turn.run(host.rotation(), "prepared")["rotation"]["prepared"]["read"] == 5
    host.go_forward()
    host.check_ended("committed")


def test_what_a_killed_call_has_written_is_taken_back(host: Host) -> None:
    turn.run(host.rotation(), "prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SideFile, "mark", lambda side: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            turn.run(host.rotation(), "prepared")
    # the file has come further than the journal: it does not match, and is made anew
    assert turn.run(host.rotation(), "prepared")["rotation"]["prepared"]["read"] == 5
    host.go_back()
    host.check_ended("rolled_back")


def test_the_file_is_read_for_its_checksum_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    sums: list[str] = []
    ordinary = SideFile.checksum
    monkeypatch.setattr(SideFile, "checksum", lambda side: sums.append(ordinary(side)) or sums[-1])
    while "progress" in (result := turn.run(host.rotation(), "prepared")):
        assert "sha256" not in result["rotation"]["prepared"]
    turn.run(host.rotation(), "switched")
    assert sums == [result["rotation"]["prepared"]["sha256"]]
    host.learn()
    host.go_forward()
    host.check_ended("committed")


def test_a_call_that_is_killed_loses_its_own_work_alone(host: Host) -> None:
    """What the kill leaves is real: a page in the file that SQLite takes back by its journal."""
    turn.run(host.rotation(), "prepared")
    with contextlib.closing(sqlite3.connect(host.state_file("prepared.db"), isolation_level=None)) as killed:
        for sql in ("PRAGMA cache_size=1", "BEGIN", "UPDATE staged_0 SET new = 'not to be believed'"):
            killed.execute(sql)
        killed.execute("CREATE TABLE more AS SELECT hex(zeroblob(50000))")
        for end in ("", "-journal"):
            shutil.copyfile(host.state_file(f"prepared.db{end}"), host.lab.folder / f"killed{end}")
    for end in ("", "-journal"):
        (host.lab.folder / f"killed{end}").replace(host.state_file("prepared.db").with_name(f"prepared.db{end}"))
    assert b"not to be believed" in host.state_file("prepared.db").read_bytes()
    assert turn.run(host.rotation(), "prepared")["rotation"]["prepared"]["read"] == 10
    host.go_forward()
    host.check_ended("committed")


@pytest.mark.parametrize(("calls", "damaged", "kept"), [(1, False, False), (3, False, True), (3, True, False)])
def test_after_a_boot_the_content_counts(
    host: Host, monkeypatch: pytest.MonkeyPatch, calls: int, damaged: bool, kept: bool
) -> None:
    """A file that is not finished is made anew, a finished one is held against its checksum."""
    for _ in range(calls):
        result = turn.run(host.rotation(), "prepared")
    side = host.state_file("prepared.db")
    if damaged:
        status, content = side.stat(), side.read_bytes()
        with side.open("r+b") as file:
            file.write(content[:-9] + b"damaged!!")
        os.utime(side, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert [side.stat().st_size, side.stat().st_mtime_ns] == [status.st_size, status.st_mtime_ns]
    monkeypatch.setattr(procfs, "_boot_id", lambda: "another boot")
    journal = host.rotation().application.get(ROTATION_ID)
    assert isinstance(journal, Journal)
    store = host.rotation().migration({KEY: host.old}, {KEY: host.new})
    assert store is not None and store.recall(journal.folder, journal.record["prepared"]) == kept
    assert ("progress" in result) == (calls == 1)


def test_a_backup_that_writes_keep_from_ending_is_made_under_the_stop(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[bool, int, set[str], bool]] = []
    ordinary = Database.backup

    def backup(database: Database, target: Path, online: bool) -> None:
        sides, whole = host.forms_under()[1], host.side_of(host.lab.env) == "old"
        made.append((online, host.lab.get("/health"), sides, whole))
        if online:
            raise RestartedTooOften
        ordinary(database, target, online)

    monkeypatch.setattr(Database, "backup", backup)
    while "progress" in (result := turn.run(host.rotation(), "prepared")):
        pass
    assert "made under the stop" in result["rotation"]["backup_deferred"]
    assert "backup" not in result["rotation"]
    assert not host.state_file("backup.db").exists()
    turn.run(host.rotation(), "switched")
    # tried online once, then made with the service down, before a row or a file has changed
    assert made == [(True, 200, {"old"}, True), (False, 0, {"old"}, True)]
    journal = host.rotation().application.get(ROTATION_ID)
    assert isinstance(journal, Journal)
    assert evidence.restore_drill(host.rotation(), journal) == {"ok": True, "rows": 12}
    host.learn()
    host.go_forward()
    host.check_ended("committed")
