"""The mount that a path lies on, and whether what is written there survives a boot."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

MOUNTS = Path("/proc/self/mountinfo")
IN_MEMORY = {"devtmpfs", "ramfs", "rootfs", "tmpfs"}
RAM_DISK = re.compile(r"z?ram\d+")


class Mount(NamedTuple):
    """A line of proc(5)'s mountinfo; ``device`` is the numbers of its block device, ``options`` those of the file system."""

    device: str
    point: Path
    kind: str
    options: dict[str, str]


def mounts() -> dict[str, Mount]:
    """Return what is mounted, by the number that the kernel gives a mount."""
    found = {}
    for line in MOUNTS.read_text(errors="surrogateescape").splitlines():
        number, _, device, _, point, *more = line.split(" ")
        kind, _, options = more[more.index("-") + 1 :]
        pairs = (_plain(option).partition("=") for option in options.split(","))
        found[number] = Mount(device, Path(_plain(point)), kind, {name: value for name, _, value in pairs})
    return found


def _plain(text: str) -> str:
    """As proc(5) writes them, blanks are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def in_memory(path: Path) -> str:
    """Say which file system that does not outlive a boot has ``path``, or will have it; empty where none has, as far as this host sees.

    A layer and a loop device are as durable as what they lie on; below a container that may not be seen. OSError where the path
    cannot be reached.
    """
    known, seen = mounts(), set()
    while True:
        number = _mount_of(path)
        mount = known.get(number)
        if mount is None or number in seen:
            return ""
        seen.add(number)
        block = Path("/sys/dev/block", mount.device)
        if mount.kind in IN_MEMORY or RAM_DISK.fullmatch(block.resolve().name):
            return f"{mount.kind} in memory ({mount.point})"
        if "volatile" in (*mount.options, mount.options.get("fsync")):
            return f"{mount.kind} that never syncs ({mount.point})"
        if "upperdir" in mount.options:
            path = Path(mount.options["upperdir"])
        elif (block / "loop/backing_file").exists():
            path = Path((block / "loop/backing_file").read_text().rstrip("\n"))
        else:
            return ""


def _mount_of(path: Path) -> str:
    """Return the number of the mount that ``path`` is in, or will be: the path alone does not tell which of two on one place it is."""
    path = Path(os.path.realpath(path))  # which takes a loop of links as it is
    while not path.exists():
        path = path.parent
    fd = os.open(path, os.O_PATH)
    try:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines())
        return fields["mnt_id"].strip()
    finally:
        os.close(fd)
