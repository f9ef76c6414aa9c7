"""What Linux says of processes: who has a file open, who listens on a port, when a process started."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
LISTEN = "0A"
KERNEL_THREAD = 0x00200000


class Moment(NamedTuple):
    """A point in time that a clock change cannot move: seconds since the boot with this id."""

    boot_id: str
    seconds: float


class Credentials(NamedTuple):
    """As whom a process opens files."""

    user: int
    groups: frozenset[int]


def now() -> Moment:
    """Return the present moment."""
    return Moment(_boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME))


def moment_of(wall_seconds: float) -> Moment:
    """Return the moment of a time of the wall clock (seconds since 1970), such as a file's."""
    present = now()
    return Moment(present.boot_id, present.seconds - (time.time() - wall_seconds))


def started_at(pid: int) -> Moment | None:
    """Return when the process started (resolution: one clock tick, 10 ms), None where it is gone."""
    fields = _fields(pid)
    if fields is None:
        return None
    return Moment(_boot_id(), int(fields[19]) / os.sysconf("SC_CLK_TCK"))


def _fields(pid: int) -> list[str] | None:
    """Return what proc(5) counts from field 3 on in the process's stat, None where it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # the name in parentheses may hold spaces: fields are counted from the last one
    fields = text.rpartition(")")[2].split()
    # one that has ended only waits for its parent (which a container's first process may never be)
    return None if fields[0] in ("Z", "X") else fields


def started_after(pid: int, change: Moment) -> bool:
    """Tell whether the process started after ``change``; a process of a later boot did."""
    start = started_at(pid)
    if start is None:
        return False
    tick = 1 / os.sysconf("SC_CLK_TCK")
    return start.boot_id != change.boot_id or start.seconds >= change.seconds - tick


def credentials(pid: int) -> Credentials | None:
    """Return as whom the process opens files, None where it is gone."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    return Credentials(int(fields["Uid"][3]), frozenset(map(int, [fields["Gid"][3], *fields["Groups"]])))


def command_name(pid: int) -> str:
    """Return the short name of the process. Never its command line, which may hold a secret."""
    try:
        return (PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return "?"


def environment(pid: int) -> dict[str, str]:
    """Return the environment that the process was started with; it may hold secrets. Empty where it is not ours to see."""
    try:
        content = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (line.decode(errors="replace").partition("=") for line in content.split(b"\0") if line)
    return {name: value for name, _, value in pairs}


def holders(files: Iterable[Path]) -> list[int]:
    """Return the other processes that have one of ``files`` open, as far as this user may look."""
    wanted = set()
    for path in files:
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        wanted.add((status.st_dev, status.st_ino))
    return [pid for pid, descriptors in _open_files() if pid != os.getpid() and wanted & set(_identities(descriptors))]


def unseen() -> int:
    """Return how many processes this user may not look into, so that ``holders`` says nothing of them."""
    count = 0
    for process in PROC.iterdir():
        if process.name.isdigit():
            try:
                os.listdir(process / "fd")  # noqa: PTH208 - a look, not its entries
            except PermissionError:
                fields = _fields(int(process.name))
                count += fields is not None and not int(fields[6]) & KERNEL_THREAD
            except OSError:
                continue
    return count


def listens(port: int) -> bool:
    """Tell whether any process of this host listens on the TCP port."""
    return any(_listening_inodes(port))


def listener(port: int) -> int | None:
    """Return the process that listens on the TCP port of this host, None where nobody does or it is not ours to see."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return None
    owners = [pid for pid, descriptors in _open_files() if any(_target(link) in sockets for link in descriptors)]
    return min(owners, default=None)


def _boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def _open_files() -> Iterator[tuple[int, list[Path]]]:
    for process in PROC.iterdir():
        if process.name.isdigit():
            try:
                yield int(process.name), list((process / "fd").iterdir())
            except OSError:
                continue


def _identities(links: Iterable[Path]) -> Iterator[tuple[int, int]]:
    for link in links:
        try:
            status = link.stat()
        except OSError:
            continue
        yield status.st_dev, status.st_ino


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (PROC / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]
