"""What is not to be seen of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from keyturn import procfs

AS_NOBODY = """
import os
from keyturn import procfs
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print(procfs.unseen(), os.getppid() in [pid for pid, _ in procfs._open_files()])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_processes_of_other_users_are_counted() -> None:
    modules = Path(procfs.__file__).parents[1]
    command = [sys.executable, "-B", "-c", AS_NOBODY]
    done = subprocess.run(command, env={"PYTHONPATH": str(modules)}, capture_output=True, text=True, check=True)
    count, parent_seen = done.stdout.split()
    assert parent_seen == "False"
    assert int(count) >= 1
    assert procfs.unseen() == 0
