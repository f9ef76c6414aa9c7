"""What Linux says of processes: who has a file open, who listens on a port, when a process started."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from . import beside, shown
from .errors import KeyturnError
from .listening import MAPPED, Listening, hexadecimal, other_end, sockets

PROC = Path("/proc")
# Of another user's process: it may say that its environment is as large as its address space, and have half a million files open, as all
# processes that share its table do. A real environment has some kilobytes, and a look at every open file of a host takes some seconds.
ENVIRONMENT_BYTES, COMMAND_BYTES = 1 << 22, 1 << 16
LOOK_SECONDS = 60.0
MEMORY_SECONDS = 10.0
KERNEL_THREAD = 0x00200000


class Moment(NamedTuple):
    """A point in time that a clock change cannot move: seconds since the boot with this id."""

    boot_id: str
    seconds: float


class UserAndGroups(NamedTuple):
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


def older(pids: Iterable[int], change: Moment) -> list[int]:
    """Return those of the processes that live and have started before ``change``."""
    return [pid for pid in pids if started_at(pid) is not None and not started_after(pid, change)]


def processes() -> list[int]:
    """Return all processes but the one that reads for this one."""
    found = (int(process.name) for process in PROC.iterdir() if process.name.isdigit())
    return [pid for pid in found if pid not in beside.processes()]


def parent(pid: int) -> int:
    """Return the process that has started it, 0 where it is gone or has none."""
    fields = _fields(pid)
    return int(fields[1]) if fields else 0


def parents() -> dict[int, int]:
    """Return what ``parent`` does for all processes at once."""
    return {pid: parent(pid) for pid in processes()}


def has_terminal(pid: int) -> bool:
    """Tell whether the process hangs on a terminal, so that a person sits before it."""
    fields = _fields(pid)
    return fields is not None and fields[4] != "0"


def folder_of(pid: int) -> Path | None:
    """Return the folder that the process runs in, None where it is not ours to see."""
    try:
        return (PROC / str(pid) / "cwd").readlink()
    except OSError:
        return None


def user_and_groups(pid: int) -> UserAndGroups | None:
    """Return as whom the process opens files, None where it is gone."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    return UserAndGroups(int(fields["Uid"][3]), frozenset(map(int, [fields["Gid"][3], *fields["Groups"]])))


def command_name(pid: int) -> str:
    """Return the short name of the process, which it may choose, for a terminal. Never its command line, which may hold a secret."""
    try:
        return shown.name((PROC / str(pid) / "comm").read_text(errors="replace").rstrip("\n"))
    except OSError:
        return "?"


def runs_script(pid: int, script: str) -> bool:
    """Tell whether the process is an interpreter that runs ``script``, by the name of its file."""
    try:
        arguments = _head(pid, "cmdline", COMMAND_BYTES).split(b"\0")
    except OSError:
        return False
    # the kernel puts the interpreter, at most one option of it and the script's path first
    return os.path.basename(script).encode() in map(os.path.basename, arguments[1:3])  # noqa: PTH119 - bytes, which may be none


def environment(pid: int, names: Iterable[str]) -> dict[str, str]:
    """Return what the process was started with under these names; it may hold secrets. Empty where it is not ours to see."""
    content = _environment(pid)
    found = {}
    for name in names:
        _, there, rest = content.rpartition(f"\0{name}=".encode())
        if there:
            found[name] = rest.partition(b"\0")[0].decode(errors="replace")
    return found


def given(pid: int, values: Iterable[str]) -> set[str]:
    """Return those of the values that the process was started with, under whatever name."""
    content = _environment(pid)
    return {value for value in values if f"={value}\0".encode() in content}


def all_given(pid: int) -> dict[str, str]:
    """Return all that the process was started with; it may hold secrets. Empty where it is not ours to see."""
    pairs = (one.decode(errors="replace").partition("=") for one in _environment(pid).split(b"\0"))
    return {name: value for name, there, value in pairs if there}


def _environment(pid: int) -> bytes:
    try:
        return b"\0" + _head(pid, "environ", ENVIRONMENT_BYTES) + b"\0"
    except OSError:
        return b""


def _head(pid: int, name: str, size: int) -> bytes:
    try:
        return beside.read(PROC / str(pid) / name, size, MEMORY_SECONDS)
    except TimeoutError:
        raise KeyturnError(
            f"process {pid} ({command_name(pid)}) of the user {user_of(pid)} keeps its memory locked, so that nobody reads what it was "
            "started with: end it"
        ) from None


def holders(files: Iterable[Path]) -> list[int]:
    """Return the other processes that have one of ``files`` open, as far as this user may look."""
    wanted = set(_identities(files))
    return [pid for pid, descriptors in _open_files() if pid != os.getpid() and wanted & set(_identities(descriptors))]


def lockers(files: Iterable[Path]) -> list[int]:
    """Return the other processes that hold a lock on one of ``files``; one of another container is missing."""
    wanted = {f"{os.major(device):02x}:{os.minor(device):02x}:{inode}" for device, inode in _identities(files)}
    try:
        with (PROC / "locks").open() as lines:
            # number, kind, how binding, for what, process, file; who waits for a lock has an arrow before the kind
            pids = {int(lock[4]) for lock in map(str.split, lines) if lock[1] != "->" and lock[5] in wanted}
    except OSError:
        return []
    return sorted(pid for pid in pids if pid > 0 and pid != os.getpid())


def unseen() -> int:
    """Return how many processes this user may not look into, so that ``holders`` says nothing of them."""
    count = 0
    for process in PROC.iterdir():
        if process.name.isdigit():
            try:
                with os.scandir(process / "fd") as listed:
                    next(listed, None)
            except PermissionError:
                fields = _fields(int(process.name))
                count += fields is not None and not int(fields[6]) & KERNEL_THREAD
            except OSError:
                continue
    return count


def listens(port: int) -> bool:
    """Tell whether any process of this host listens on the TCP port."""
    return bool(listening_on(port))


def ports(pid: int) -> set[int]:
    """Return the TCP ports on which a process listens, as far as this user may look."""
    folder = PROC / str(pid) / "fd"
    try:
        held = {_target(f"{folder}/{name}") for name in os.listdir(folder)}  # noqa: PTH208 - of very many
    except OSError:
        return set()
    return {one.port for one in sockets(PROC) if f"socket:[{one.inode}]" in held}


def listeners(port: int) -> list[set[int]]:
    """Return who listens on the TCP port of this host, for each address: those of one share its connections.

    A process that is not ours to see is missing.
    """
    addresses: dict[str, set[str]] = {}
    for one in listening_on(port):
        addresses.setdefault(one.address, set()).add(f"socket:[{one.inode}]")
    if not addresses:
        return []
    wanted = set().union(*addresses.values())
    held = [(pid, wanted.intersection(map(_target, descriptors))) for pid, descriptors in _open_files()]
    return [{pid for pid, links in held if links & its} for its in addresses.values()]


def listening_users(port: int) -> set[int]:
    """Return the users of all sockets that listen on the TCP port, also of processes that are not ours to see."""
    return {one.user for one in listening_on(port)}


def listening(addresses: Iterable[str], port: int) -> list[Listening]:
    """Return the sockets that take a connection to the TCP port at one of the numeric addresses."""
    # a socket of IPv6 may take connections of both, one of IPv4 takes its own alone
    wanted = {"0" * 32}
    for address in addresses:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address.partition("%")[0])
        packed = packed.removeprefix(MAPPED)
        wanted |= (
            {hexadecimal(packed)} if len(packed) > 4 else {"0" * 8, hexadecimal(packed), hexadecimal(MAPPED + packed)}
        )
    return [one for one in listening_on(port) if one.address in wanted]


def taker(connection: socket.socket) -> Listening | None:
    """Return the socket of this host that a TCP connection leads to, None where no process has it yet, and for another host.

    It need not be one that a socket has taken which listens: of two that connect to each other at a time (RFC 9293, 3.5) each may be
    anybody's, and whoever had the port before a server listened on it may wait so for all who connect to that.
    """
    return other_end(PROC, connection)


def takes_of(taken: Listening, listening: Iterable[Listening]) -> bool:
    """Tell whether a process that has the connection has one of the sockets that listen as well."""
    holders = set(holders_of(taken.inode))
    return any(holders.intersection(holders_of(one.inode)) for one in listening)


def holders_of(inode: str) -> list[int]:
    """Return the processes that have the socket with this number, as far as this user may look."""
    return [pid for pid, links in _open_files() if any(_target(link) == f"socket:[{inode}]" for link in links)]


def user_of(pid: int) -> int | None:
    """Return the user as whom a process runs, None when it is gone."""
    try:
        return (PROC / str(pid)).stat().st_uid
    except OSError:
        return None


def in_cgroup(path: str) -> list[int]:
    """Return the processes of a control group (its path as systemd names it) and of those below it."""
    alive = (pid for pid in processes() if path and started_at(pid) is not None)
    return sorted(pid for pid in alive if any(f"{group}/".startswith(f"{path}/") for group in cgroups(pid)))


def cgroups(pid: int) -> list[str]:
    """Return the paths of the process's control groups, one for each hierarchy."""
    try:
        lines = (PROC / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return []
    return [line.split(":", 2)[2] for line in lines]


def _boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def _open_files() -> Iterator[tuple[int, Iterator[str]]]:
    """The descriptors of all processes; KeyturnError where somebody has so many that there is no end of looking."""
    end, most = time.monotonic() + LOOK_SECONDS, (0, 0)
    for pid in processes():
        folder = f"{PROC}/{pid}/fd"
        try:
            names = os.listdir(folder)  # noqa: PTH208 - a path for each of very many costs
        except OSError:
            continue
        most = max(most, (len(names), pid))
        yield pid, map(f"{folder}/".__add__, names)
        if time.monotonic() > end:
            count, pid = most
            raise KeyturnError(
                f"who has a file or a port open could not be seen within {LOOK_SECONDS:g} s: process {pid} ({command_name(pid)}) of the "
                f"user {user_of(pid)} has {count} open, and others may have as many: end what does not belong here"
            )


def _identities(links: Iterable[Path | str]) -> Iterator[tuple[int, int]]:
    for link in links:
        try:
            status = os.stat(link)  # noqa: PTH116 - of very many
        except OSError:
            continue
        yield status.st_dev, status.st_ino


def _target(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115 - of very many
    except OSError:
        return ""


def listening_on(port: int) -> list[Listening]:
    """Return the sockets that listen on the TCP port."""
    return [one for one in sockets(PROC) if one.port == port]
