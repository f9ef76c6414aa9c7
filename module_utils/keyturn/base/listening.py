"""Which TCP sockets of this host listen, and which one a connection leads to, asked of the kernel by sock_diag(7).

proc(5) says the same and walks the table of all connections for it, which takes ten milliseconds where memory is large, at each of the
some thirty looks of a rotation. It is read where the kernel does not answer: without the module of sock_diag, or where a container or a
unit may not use netlink.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, NLM_F_DUMP, NLMSG_ERROR, NLMSG_DONE = 4, 20, 0x1, 0x300, 2, 3
TCP_LISTEN = 10
# nlmsghdr: length, type, flags, sequence, port of netlink
HEADER = struct.Struct("=IHHII")
# inet_diag_req_v2: family, protocol, extensions, padding, states, and which socket, left empty
REQUEST = struct.Struct("=BBBxI48x")
# the same for one socket in any state: its port, the other's port, its address, the other's address, interface, no cookie
ONE = struct.Struct("=BBBxI2s2s16s16s4x8s")
ANY_STATE, NO_COOKIE = 0xFFFFFFFF, bytes(8 * [0xFF])
# inet_diag_msg: family, state, timer, retransmissions, port, the other's port, address, the other's address, interface, cookie, expiry,
# two queues, user, inode
ANSWER = struct.Struct("=4s2s2s16s16sIQIIIII")
FAILURE = struct.Struct("=i")
LARGEST = 1 << 16
# the kernel answers at once
SECONDS = 10.0
# how IPv6 writes an address of IPv4: this, and that
MAPPED = bytes(10) + b"\xff\xff"


class Listening(NamedTuple):
    """A socket that listens, or has a connection: its address as proc(5) writes it, its TCP port, its number, and the user who made it."""

    address: str
    port: int
    inode: str
    user: int


def hexadecimal(packed: bytes) -> str:
    """Return an address as proc(5) does: in words of four bytes, each in the order of this machine."""
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


def sockets(proc: Path) -> list[Listening]:
    """Return all of them, of IPv4 first; ``proc`` is where proc(5) is."""
    found: list[Listening] = []
    for family, size, table in ((socket.AF_INET, 4, "net/tcp"), (socket.AF_INET6, 16, "net/tcp6")):
        try:
            found += _asked(family, size)
        except OSError:
            found += _read(proc / table)
    return found


def other_end(proc: Path, connection: socket.socket) -> Listening | None:
    """Return the socket to which a connection leads; None where no process has taken it yet, and for another host."""
    here, there = _end(connection.getsockname()), _end(connection.getpeername())
    try:
        found = _asked_for(connection.family, there, here)
    except OSError:
        found = _read_for(proc, there, here)
    return None if found is None or found.inode == "0" else found


def _end(name: tuple[str, int]) -> tuple[bytes, int]:
    address = name[0].partition("%")[0]
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address), name[1]


def _asked(family: int, size: int) -> list[Listening]:
    question = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << TCP_LISTEN)
    return [_listening(answer, size) for answer in _answers(question, NLM_F_REQUEST | NLM_F_DUMP)]


def _asked_for(family: int, its: tuple[bytes, int], other: tuple[bytes, int]) -> Listening | None:
    ports, addresses = [end[1].to_bytes(2, "big") for end in (its, other)], (its[0], other[0])
    question = ONE.pack(family, socket.IPPROTO_TCP, 0, ANY_STATE, *ports, *addresses, NO_COOKIE)
    for answer in _answers(question, NLM_F_REQUEST):
        # where no socket has the connection, it is the one that would take it
        return None if answer[1] == TCP_LISTEN else _listening(answer, len(its[0]))
    return None


def _listening(answer: bytes, size: int) -> Listening:
    _, port, _, address, *_, user, inode = ANSWER.unpack_from(answer)
    return Listening(hexadecimal(address[:size]), int.from_bytes(port, "big"), str(inode), user)


def _answers(question: bytes, flags: int) -> Iterator[bytes]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(SECONDS)
        kernel.send(HEADER.pack(HEADER.size + len(question), SOCK_DIAG_BY_FAMILY, flags, 0, 0) + question)
        while True:
            for kind, answer in _messages(kernel.recv(LARGEST)):
                if kind == NLMSG_DONE or (kind == NLMSG_ERROR and FAILURE.unpack_from(answer)[0] == -errno.ENOENT):
                    return
                if kind == NLMSG_ERROR:
                    raise OSError("the kernel says nothing of sockets")
                yield answer


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length, kind, *_ = HEADER.unpack_from(data)
        yield kind, data[HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _read(table: Path) -> list[Listening]:
    return [_of_row(row) for row in _rows(table) if int(row[3], 16) == TCP_LISTEN]


def _read_for(proc: Path, its: tuple[bytes, int], other: tuple[bytes, int]) -> Listening | None:
    ends = [{f"{hexadecimal(one)}:{port:04X}" for one in (packed, MAPPED + packed)} for packed, port in (its, other)]
    rows = (row for table in ("net/tcp", "net/tcp6") for row in _rows(proc / table))
    return next((_of_row(row) for row in rows if row[1] in ends[0] and row[2] in ends[1]), None)


def _rows(table: Path) -> list[list[str]]:
    try:
        return [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []


def _of_row(row: list[str]) -> Listening:
    address, _, port = row[1].partition(":")
    return Listening(address, int(port, 16), row[9], int(row[7]))
