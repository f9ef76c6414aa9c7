"""What is not to be seen of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from keyturn.base import beside, procfs
from keyturn.base.errors import KeyturnError

AS_NOBODY = """
import os
from keyturn.base import procfs
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print(procfs.unseen(), os.getppid() in [pid for pid, _ in procfs._open_files()])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_processes_of_other_users_are_counted() -> None:
    modules = Path(procfs.__file__).parents[2]
    command = [sys.executable, "-B", "-c", AS_NOBODY]
    done = subprocess.run(command, env={"PYTHONPATH": str(modules)}, capture_output=True, text=True, check=True)
    count, parent_seen = done.stdout.split()
    assert parent_seen == "False"
    assert int(count) >= 1
    assert procfs.unseen() == 0


def test_a_name_that_a_process_has_chosen_does_nothing_to_a_terminal() -> None:
    program = "open('/proc/self/comm', 'w').write('a\\x1b[2J\\n::x'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        assert procfs.command_name(running.pid) == "a\\x1b[2J\\n::x"
        running.communicate(b"\n")


def test_who_has_locked_a_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database, other = tmp_path / "app.db", tmp_path / "other.db"
    database.touch()
    other.touch()
    names = {
        path: f"{os.major(path.stat().st_dev):02x}:{os.minor(path.stat().st_dev):02x}:{path.stat().st_ino}"
        for path in (database, other)
    }
    (tmp_path / "locks").write_text(
        f"1: POSIX  ADVISORY  WRITE 4711 {names[database]} 1073741824 1073742335\n"
        f"1: -> POSIX  ADVISORY  WRITE 12 {names[database]} 1073741824 1073742335\n"
        f"2: FLOCK  ADVISORY  WRITE 13 {names[other]} 0 EOF\n"
        f"3: OFDLCK ADVISORY  READ -1 {names[database]} 0 EOF\n"
        f"4: POSIX  ADVISORY  READ {os.getpid()} {names[database]} 0 EOF\n"
    )
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    assert procfs.lockers([database, tmp_path / "app.db-wal"]) == [4711]
    (tmp_path / "locks").unlink()
    assert procfs.lockers([database]) == []


@pytest.mark.timeout(60)
def test_a_process_that_keeps_its_memory_locked_is_named_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No signal but SIGKILL ends the wait for such a lock, which any user's file system (FUSE) can hold. Here a pipe stands for it."""
    for pid in (41, 42):
        (tmp_path / str(pid)).mkdir()
    os.mkfifo(tmp_path / "41/environ")
    (tmp_path / "41/comm").write_text("worker\n")
    (tmp_path / "42/environ").write_bytes(b"KEY=value\0")
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    monkeypatch.setattr(procfs, "MEMORY_SECONDS", 0.2, raising=False)
    with pytest.raises(KeyturnError, match=r"process 41 \(worker\) of the user \d+ keeps its memory locked"):
        procfs.environment(41, ["KEY"])
    monkeypatch.setattr(procfs, "MEMORY_SECONDS", 60.0)
    assert procfs.environment(42, ["KEY"]) == {"KEY": "value"}
    assert procfs.environment(43, ["KEY"]) == {}


def test_the_process_that_reads_beside_holds_nothing_and_is_none_of_all(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w"):
        assert procfs.environment(os.getpid(), ["PATH"])
        (reader,) = beside.processes()
        assert Path(f"/proc/{reader}/cwd").readlink() == Path("/")
        assert reader not in procfs.processes()
        assert reader not in procfs.holders([tmp_path / "lock"])
        held = {fd.readlink().name.split(":")[0] for fd in Path(f"/proc/{reader}/fd").iterdir()}
    assert held <= {"null", "socket"}
