"""Values on their way from one action to the next. They stay in memory: what Ansible knows, it prints, caches and hands to callbacks.

Ansible's workers are forks of its process, and inherit this file without a name that is gone with the last of them. Programs that
they start do not. Each value is one appended line, so that hosts which work at the same time do not get into each other's way.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping


def opened() -> int:
    """Return a new memory."""
    fd = os.memfd_create("keyturn")
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    return fd


_FD = opened()


def keep(rotation_id: str, host: str, values: Mapping[str, str]) -> None:
    """Keep the new values of a rotation, by variable; ``host`` is empty where all hosts share them."""
    os.write(_FD, json.dumps([rotation_id, host, values]).encode() + b"\n")


def kept(rotation_id: str, host: str = "") -> dict[str, str] | None:
    """Return what was kept last for the host or, where there is nothing, for all; None where this run has no value."""
    lines = os.pread(_FD, os.fstat(_FD).st_size, 0).splitlines()
    values = {(whose, owner): one for whose, owner, one in map(json.loads, lines)}
    return values.get((rotation_id, host), values.get((rotation_id, "")))
