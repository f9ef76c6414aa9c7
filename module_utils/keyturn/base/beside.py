"""Reads that may never end, made by a process beside this one: it can be killed where it waits, and this one goes on.

What proc(5) says of the memory of a process waits for a lock that the process may hold for ever (one way is a file system of its user's
that gives no answer), and nothing but SIGKILL ends that wait.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from pathlib import Path
from typing import NamedTuple

_REQUEST, _ANSWER = struct.Struct("=II"), struct.Struct("=iI")


class _Reader(NamedTuple):
    """The process that reads, and for which one: a fork of that has to begin its own."""

    asks: int
    pid: int
    socket: socket.socket


_readers: list[_Reader] = []


def read(path: Path, size: int, seconds: float) -> bytes:
    """Return at most ``size`` bytes of a file as the real user of this process; OSError as of ``open``, TimeoutError after ``seconds``."""
    if not _readers or _readers[-1].asks != os.getpid():
        _readers[:] = [_begun()]
    reader = _readers[-1]
    name = os.fsencode(path)
    reader.socket.settimeout(seconds)
    try:
        reader.socket.sendall(_REQUEST.pack(size, len(name)) + name)
        error, length = _ANSWER.unpack(_exactly(reader.socket, _ANSWER.size))
        content = _exactly(reader.socket, length)
    except OSError:
        _end(reader)
        raise
    if error:
        raise OSError(error, os.strerror(error), str(path))
    return content


def processes() -> set[int]:
    """Return the process that reads for this one, if there is one."""
    return {reader.pid for reader in _readers if reader.asks == os.getpid()}


def _begun() -> _Reader:
    ours, theirs = socket.socketpair()
    if pid := os.fork():
        theirs.close()
        return _Reader(os.getpid(), pid, ours)
    try:
        _serve(theirs)
    finally:
        os._exit(0)


def _end(reader: _Reader) -> None:
    _readers.clear()
    reader.socket.close()
    os.kill(reader.pid, signal.SIGKILL)
    os.waitpid(reader.pid, os.WNOHANG)


def _serve(asked: socket.socket) -> None:
    """Read what is asked for until the other end is gone; hold nothing else open, so that nobody takes this one for the other."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(nothing, fd)
    os.closerange(3, asked.fileno())
    os.closerange(asked.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    os.chdir("/")
    os.seteuid(os.getuid())
    while True:
        size, length = _REQUEST.unpack(_exactly(asked, _REQUEST.size))
        error, content = 0, b""
        try:
            with open(_exactly(asked, length), "rb") as file:  # noqa: PTH123 - bytes
                content = file.read(size)
        except OSError as failed:
            error = failed.errno or 1
        asked.sendall(_ANSWER.pack(error, len(content)) + content)


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        if not (part := sock.recv(size)):
            raise OSError("the other end is gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
