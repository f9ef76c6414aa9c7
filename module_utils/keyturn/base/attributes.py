"""What a file has beyond owner and mode: its access list, other extended attributes such as labels, and its flags."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from . import files
from .errors import KeyturnError

ACCESS_LIST = "system.posix_acl_access"
READ, WRITE = 4, 2
# the flags of ioctl_iflags(2): those that keep a file from being replaced, and all that a person may set
FIXED = {0x10: ("immutable", "i"), 0x20: ("append-only", "a")}
SETTABLE = 0x000380FF
_LONG = struct.calcsize("l")
_GET_FLAGS, _SET_FLAGS = 2 << 30 | _LONG << 16 | 0x6601, 1 << 30 | _LONG << 16 | 0x6602
# acl(5): whom an entry is for; only those of a named user or group have a number
OWNER, USER, GROUP, NAMED_GROUP, MASK, OTHERS = 1, 2, 4, 8, 16, 32
_ENTRY = struct.Struct("<HHI")


class Entry(NamedTuple):
    """An entry of an access list."""

    tag: int
    allowed: int
    number: int


class Attributes(NamedTuple):
    """What ``put`` gives another file. In ``mode`` stands what the owning group may, also where the file's own shows a mask there."""

    mode: int
    extended: Mapping[str, bytes]
    flags: int


def of(path: Path) -> Attributes:
    """Return what the file has. OSError where it cannot be opened."""
    with _opened(path) as fd:
        extended, mode = _extended(fd), stat.S_IMODE(os.fstat(fd).st_mode)
        for entry in _entries(extended.get(ACCESS_LIST, b"")):
            if entry.tag == GROUP:
                mode = mode & ~0o070 | entry.allowed << 3
        return Attributes(mode, extended, _flags(fd))


def put(fd: int, had: Attributes, mode: int) -> None:
    """Give an open file these attributes with another mode. OSError where this user or the file system cannot.

    An access list that the file has from its folder goes first: no mode may make it count.
    """
    mine = _extended(fd)
    if ACCESS_LIST in mine and ACCESS_LIST not in had.extended:
        os.removexattr(fd, ACCESS_LIST)
    os.fchmod(fd, mode)
    for name, value in had.extended.items():
        wanted = _with_mode(value, mode) if name == ACCESS_LIST else value
        if mine.get(name) != wanted:
            os.setxattr(fd, name, wanted)
    flags = _flags(fd)
    wanted_flags = flags & ~SETTABLE | had.flags & SETTABLE
    if flags != wanted_flags:
        fcntl.ioctl(fd, _SET_FLAGS, struct.pack("l", wanted_flags))


def check_changeable(path: Path) -> None:
    """Raise KeyturnError when a flag of the file or its folder keeps it from being written or replaced. Changes nothing."""
    for place in (path, path.parent):
        flags = 0
        # what is not there, or may not be looked at, is told by trying
        with contextlib.suppress(FileNotFoundError, PermissionError), _opened(place) as fd:
            flags = _flags(fd)
        for flag, (name, letter) in FIXED.items():
            if flags & flag:
                raise KeyturnError(f"{place} is {name}, so no new value can come there: chattr -{letter} {place}")


def readers(path: Path) -> list[Entry]:
    """Return the entries of the access list that let another user or group read the file."""
    return _letting(of(path).extended.get(ACCESS_LIST, b""), READ)


def writers(path: Path) -> list[Entry]:
    """Return the entries of the access list that let another user or group write the file or folder, which is not opened."""
    try:
        return _letting(os.getxattr(path, ACCESS_LIST), WRITE)
    except OSError:
        return []  # it has none, or its file system knows of none


def _letting(access_list: bytes, right: int) -> list[Entry]:
    entries = _entries(access_list)
    mask = next((entry.allowed for entry in entries if entry.tag == MASK), right)
    return [entry for entry in entries if entry.tag in (USER, NAMED_GROUP) and entry.allowed & mask & right]


def _extended(fd: int) -> dict[str, bytes]:
    try:
        return {name: os.getxattr(fd, name) for name in os.listxattr(fd)}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise


def _flags(fd: int) -> int:
    """Return the flags; those of a file system without any are none."""
    try:
        return int(struct.unpack("I", fcntl.ioctl(fd, _GET_FLAGS, bytes(_LONG))[:4])[0])
    except OSError:
        return 0


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = files.descriptor(path)
    try:
        yield fd
    finally:
        os.close(fd)


def _entries(access_list: bytes) -> list[Entry]:
    """Of the attribute's value: a version, then the entries; none of an empty one."""
    return [Entry(*fields) for fields in _ENTRY.iter_unpack(access_list[4:])]


def _with_mode(access_list: bytes, mode: int) -> bytes:
    """Return the access list with what a mode lets owner, owning group and others do."""
    shifts = {OWNER: 6, GROUP: 3, OTHERS: 0}
    entries = [
        entry._replace(allowed=mode >> shifts[entry.tag] & 7) if entry.tag in shifts else entry
        for entry in _entries(access_list)
    ]
    return access_list[:4] + b"".join(_ENTRY.pack(*entry) for entry in entries)
