"""Which TCP sockets of this host listen, asked of the kernel by sock_diag(7).

proc(5) says the same and walks the table of all connections for it, which takes ten milliseconds where memory is large, at each of the
some thirty looks of a rotation. It is read where the kernel does not answer: without the module of sock_diag, or where a container or a
unit may not use netlink.
"""

from __future__ import annotations

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
# inet_diag_msg: family, state, timer, retransmissions, port, the other's port, address, the other's address, interface, cookie, expiry,
# two queues, user, inode
ANSWER = struct.Struct("=4s2s2s16s16sIQIIIII")
LARGEST = 1 << 16
# the kernel answers at once
SECONDS = 10.0


class Listening(NamedTuple):
    """A socket that listens: its address as proc(5) writes it, its TCP port, its number, and the user who made it."""

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


def _asked(family: int, size: int) -> list[Listening]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(SECONDS)
        question = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << TCP_LISTEN)
        flags = NLM_F_REQUEST | NLM_F_DUMP
        kernel.send(HEADER.pack(HEADER.size + len(question), SOCK_DIAG_BY_FAMILY, flags, 0, 0) + question)
        found: list[Listening] = []
        while True:
            for kind, answer in _messages(kernel.recv(LARGEST)):
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    raise OSError("the kernel says nothing of sockets")
                _, port, _, address, *_, user, inode = ANSWER.unpack_from(answer)
                found.append(Listening(hexadecimal(address[:size]), int.from_bytes(port, "big"), str(inode), user))


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length, kind, *_ = HEADER.unpack_from(data)
        yield kind, data[HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _read(table: Path) -> list[Listening]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    found = []
    for row in rows:
        address, _, port = row[1].partition(":")
        if int(row[3], 16) == TCP_LISTEN:
            found.append(Listening(address, int(port, 16), row[9], int(row[7])))
    return found
