"""Processes that a test has started, found by a mark in their environment: Ansible's workers leave group and session."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path

Commands = dict[int, list[str]]


def new_mark() -> dict[str, str]:
    """Return an environment variable that no other process has."""
    return {"KEYTURN_TEST_MARK": str(uuid.uuid4())}


def marked(mark: dict[str, str]) -> Commands:
    """Return the command lines of all living processes with the mark, by pid."""
    ((name, value),) = mark.items()
    wanted = f"{name}={value}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    return found


def running(script: str, folder: Path) -> bool:
    """Tell whether a script still runs in a folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if script in words[:2] and (process / "cwd").readlink() == folder:
                return True
    return False


def kill(find: Callable[[], Commands]) -> None:
    """SIGKILL all that ``find`` finds, and wait until they are gone; none may start another one meanwhile."""
    while victims := find():
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        time.sleep(0.01)
