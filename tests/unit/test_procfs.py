"""What is not to be seen of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from keyturn.base import procfs

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
