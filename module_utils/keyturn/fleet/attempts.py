"""Which run of ansible-playbook this is, and whether another one is still at work: the log ends those that were killed."""

from __future__ import annotations

import os
import secrets
import socket

from ..base import procfs
from ..base.errors import KeyturnError
from ..records.rotation_log import Attempt


def mine() -> Attempt:
    """Return this attempt. Called in a worker of ansible-playbook, whose parent is the run itself."""
    pid = os.getppid()
    return {"id": secrets.token_hex(8), "controller": socket.gethostname(), "pid": pid, "process": _process(pid)}


def alive(attempt: Attempt) -> bool:
    """Tell whether the run of an attempt of this controller still lives: its pid may belong to somebody else by now."""
    return attempt.get("process") is not None and _process(attempt["pid"]) == attempt["process"]


def _process(pid: int) -> list[str | float] | None:
    try:
        started = procfs.started_at(pid)
    except (KeyturnError, OSError):
        return None
    return [started.boot_id, started.seconds] if started else None
