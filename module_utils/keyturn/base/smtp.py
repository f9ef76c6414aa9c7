"""A connection to a mail server whose answers have an end: the library reads lines for as long as there are some."""

from __future__ import annotations

import smtplib
import ssl
from typing import BinaryIO

# of all that a server says: some hundred recipients are answered one by one
MOST_BYTES = 1 << 18


def connected(host: str, port: int, seconds: float, implicit: ssl.SSLContext | None = None) -> smtplib.SMTP:
    """Connect, by TLS from the first byte on with a context for it. Errors as of ``smtplib``; what is too long is no answer.

    ``seconds`` is for each piece of an answer.
    """
    if implicit:
        return _Tls(host, port, timeout=seconds, context=implicit)
    return _Plain(host, port, timeout=seconds)


class _Few:
    """What a server says, a line at a time."""

    def __init__(self, said: BinaryIO) -> None:
        self._said, self._left = said, MOST_BYTES

    def readline(self, size: int) -> bytes:
        line = self._said.readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise OSError("too long")
        return line

    def close(self) -> None:
        self._said.close()


class _Plain(smtplib.SMTP):
    def getreply(self) -> tuple[int, bytes]:
        self.file = self.file or _Few(self.sock.makefile("rb"))  # type: ignore[union-attr]
        return super().getreply()


class _Tls(_Plain, smtplib.SMTP_SSL):
    pass
