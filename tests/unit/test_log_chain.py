"""The chain of the rotation log: what was written cannot be changed, taken out, moved or cut off unseen."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.records import rotation_log
from unit.test_report_and_log import begun, entry, identity

Lines = list[bytes]


@pytest.fixture
def five(tmp_path: Path) -> Path:
    for number in range(5):
        rotation_log.append(tmp_path, entry(number))
    return tmp_path


def rewrite(folder: Path, change: Callable[[Lines], Lines]) -> None:
    path = folder / rotation_log.LINES
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def forged(line: bytes, **changes: Any) -> bytes:
    """A record as somebody writes it who knows how the hash is made."""
    record = json.loads(line) | changes
    return json.dumps(record | {"hash": rotation_log.digest_of(record)}, sort_keys=True).encode() + b"\n"


def test_an_untouched_log_verifies_and_tells_its_head(five: Path) -> None:
    heads = {
        "a report": rotation_log.head(rotation_log.read(five)[:3]),
        "a person": {"hash": rotation_log.read(five)[4]["hash"]},
    }
    found = rotation_log.verify(five, heads)
    assert (found["records"], found["sealed"]) == (5, 0)
    assert found["head"] == rotation_log.head(rotation_log.read(five)) and found["head"]["number"] == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda old: [old[0], old[1].replace(b"somebody", b"nobody!!"), *old[2:]], "record 2 was changed"),
        (lambda old: [old[0], forged(old[1], rotated_by="x"), *old[2:]], "record 3 does not follow"),
        (lambda old: [old[0], *old[2:]], "record 2 bears the number 3"),
        (lambda old: old[1:], "record 1 bears the number 2"),
        (lambda old: [forged(old[1], number=1), *old[2:]], "record 1 does not follow"),
        (lambda old: [old[0], old[2], old[1], *old[3:]], "record 2 bears the number 3"),
        (lambda old: [*old[:2], old[1], *old[2:]], "record 3 bears the number 2"),
        (lambda old: [*old[:2], b"\n", *old[2:]], "record 3 is no record"),
        (lambda old: [*old[:4], old[4][:-30]], "record 5 is no record"),
    ],
    ids=["edit", "edit with its hash", "deletion", "first", "renumbered", "reordering", "twice", "empty line", "torn"],
)
def test_the_first_broken_record_is_named(five: Path, change: Callable[[Lines], Lines], said: str) -> None:
    rewrite(five, change)
    with pytest.raises(KeyturnError, match=re.escape(f"{rotation_log.LINES}, {said}")):
        rotation_log.verify(five, {})


@pytest.mark.parametrize("left", [0, 3, 4])
def test_a_tail_that_was_cut_off_is_missed_by_a_report(five: Path, left: int) -> None:
    head = rotation_log.head(rotation_log.read(five))
    rewrite(five, lambda old: old[:left])
    assert rotation_log.verify(five, {})["records"] == left
    for said in (head, {"hash": head["hash"]}):
        with pytest.raises(
            KeyturnError, match=r"was the head of the log for 2026\.json, and is missing: the end of the log"
        ):
            rotation_log.verify(five, {"2026.json": said})


def test_a_tail_that_was_written_anew_is_another(five: Path) -> None:
    head = rotation_log.head(rotation_log.read(five))
    rewrite(five, lambda old: [*old[:4], forged(old[4], rotated_by="x")])
    with pytest.raises(KeyturnError, match=r"record 5 with the hash .* and is another"):
        rotation_log.verify(five, {"2026.json": head})


def test_a_log_of_before_the_chain_is_read_and_sealed_by_the_next_record(tmp_path: Path) -> None:
    old = {key: value for key, value in entry(0).items() if key not in ("event", "attempt", "at")} | {"schema": 1}
    path = tmp_path / rotation_log.LINES
    path.write_text(
        json.dumps(old) + '\n{"a line that a kill cut off\n' + json.dumps(old | {"rotation_id": identity(2)}) + "\n"
    )
    assert rotation_log.verify(tmp_path, {}) == {"records": 0, "sealed": 3, "head": {}}
    rotation_log.append(tmp_path, entry(7))
    assert rotation_log.verify(tmp_path, {})["sealed"] == 3
    assert [record["rotation_id"] for record in rotation_log.read(tmp_path)] == [identity(0), identity(2), identity(7)]
    assert (tmp_path / rotation_log.TABLE).read_text().count("\n") == 2 + 3
    rewrite(tmp_path, lambda lines: [lines[0].replace(b"somebody", b"nobody!!"), *lines[1:]])
    with pytest.raises(KeyturnError, match="record 4 does not follow"):
        rotation_log.verify(tmp_path, {})


@pytest.mark.parametrize("cut", [1, 2, 30, 200])
def test_a_record_that_a_kill_cut_off_is_told_and_keeps_nobody_out(tmp_path: Path, cut: int) -> None:
    for number in (0, 1):
        rotation_log.append(tmp_path, entry(number))
    path = tmp_path / rotation_log.LINES
    path.write_bytes(path.read_bytes()[:-cut])
    rotation_log.append(tmp_path, entry(1))
    whole = rotation_log.read(tmp_path)
    assert [record.get("event") for record in whole] == ["ended", "cut off", "ended"]
    assert rotation_log.verify(tmp_path, {})["records"] == 3


def test_a_full_disk_leaves_the_log_as_it_was(five: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (five / rotation_log.LINES).read_bytes()
    write = rotation_log.os.write
    monkeypatch.setattr(rotation_log.os, "write", lambda fd, data: write(fd, data[:40]))
    with pytest.raises(OSError, match="not written whole"):
        rotation_log.append(five, entry(9))
    assert (five / rotation_log.LINES).read_bytes() == before


def test_a_record_is_durable_when_it_is_told(tmp_path: Path, synced: dict[Path, Any]) -> None:
    path = tmp_path / rotation_log.LINES
    for write in (
        lambda: rotation_log.append(tmp_path, entry(0)),
        lambda: rotation_log.append(tmp_path, entry(1)),
        lambda: rotation_log.begin(tmp_path, begun(2), alive=lambda attempt: False),
    ):
        before = len(path.read_bytes()) if path.exists() else 0
        write()
        assert synced[path] == path.read_bytes() and len(synced[path]) > before
        assert path.name in synced[tmp_path]


def events(folder: Path) -> list[tuple[str, str]]:
    return [(record["rotation_id"], record.get("outcome", record["event"])) for record in rotation_log.read(folder)]


def test_a_killed_attempt_is_found_and_ended_by_the_next(tmp_path: Path) -> None:
    rotation_log.begin(tmp_path, begun(1), alive=lambda attempt: False)
    rotation_log.begin(tmp_path, begun(2), alive=lambda attempt: False)
    assert events(tmp_path) == [(identity(1), "started"), (identity(1), "killed"), (identity(2), "started")]
    assert "found by attempt attempt-2" in rotation_log.read(tmp_path)[1]["failure"]
    assert "scheduled (killed)" in (tmp_path / rotation_log.TABLE).read_text()


def test_an_attempt_that_is_at_work_is_left_alone(tmp_path: Path) -> None:
    rotation_log.begin(tmp_path, begun(1), alive=lambda attempt: False)
    rotation_log.begin(tmp_path, begun(2), alive=lambda attempt: attempt["pid"] == 1)
    rotation_log.append(tmp_path, entry(1))
    rotation_log.begin(tmp_path, begun(3), alive=lambda attempt: attempt["pid"] == 2)
    assert (identity(1), "killed") not in events(tmp_path) and (identity(2), "killed") not in events(tmp_path)
    assert [record["rotation_id"] for record in rotation_log.unended(rotation_log.read(tmp_path))] == [
        identity(2),
        identity(3),
    ]


def test_another_controllers_attempt_is_dead_when_its_rotation_is_taken_up(tmp_path: Path) -> None:
    rotation_log.begin(tmp_path, begun(1, controller="c2"), alive=lambda attempt: False)
    rotation_log.begin(tmp_path, begun(2), alive=lambda attempt: False)
    assert (identity(1), "killed") not in events(tmp_path)
    rotation_log.begin(tmp_path, begun(3, rotation=identity(1)), alive=lambda attempt: True)
    assert (identity(1), "killed") in events(tmp_path)


PROGRAM = """
import json, sys
from pathlib import Path
from keyturn.records import rotation_log
rotation_log.append(Path(sys.argv[1]), json.loads(sys.argv[2]))
"""


@pytest.mark.parametrize("call", ["write", "fsync", "renameat", "flock"])
def test_a_kill_at_each_write_leaves_a_log_that_the_next_writer_continues(tmp_path: Path, call: str) -> None:
    rotation_log.append(tmp_path, entry(0))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps(entry(1))]
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    fired = 0
    for when in range(1, 9):
        strace = [
            "strace",
            "-qq",
            "-f",
            "-e",
            f"trace={call}",
            "-e",
            f"inject={call}:signal=SIGKILL:when={when}",
        ]
        done = subprocess.run([*strace, *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        fired += 1
        after = rotation_log.read(tmp_path)
        assert after[0]["rotation_id"] == identity(0)
        rotation_log.append(tmp_path, entry(10 + when))
        assert rotation_log.read(tmp_path)[-1]["rotation_id"] == identity(10 + when)
        rotation_log.verify(tmp_path, {})
    assert fired > 0
    rotation_log.append(tmp_path, entry(1))
    ids = [record["rotation_id"] for record in rotation_log.read(tmp_path) if record.get("event") == "ended"]
    assert sorted(ids) == sorted({*ids}) and identity(1) in ids
