"""Files that somebody else may have put there: regular ones only, opened without waiting, and read up to a size."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from . import procfs
from .errors import KeyturnError

MOST_BYTES = 1 << 24
MOST_SECRET_BYTES = 1 << 16
_FLAGS = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class _Patience:
    """How long all openings of this process may wait for who holds a lease; the kernel would wait for each by itself."""

    seconds = 10.0
    pause = 0.05

    def wait(self, path: Path) -> None:
        """Wait a moment; KeyturnError when there is none left."""
        if self.seconds <= 0:
            named = ", ".join(f"{procfs.command_name(pid)} (pid {pid})" for pid in procfs.lockers([path]))
            raise KeyturnError(
                f"{path} is under a lease of {named or 'another process'}, which does not let go of it: end that process"
            )
        self.seconds -= self.pause
        time.sleep(self.pause)


_patience = _Patience()


def descriptor(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open what is there without waiting for it; KeyturnError where somebody holds a lease on it for too long."""
    while True:
        try:
            return os.open(path, _FLAGS | flags)
        except BlockingIOError:
            _patience.wait(path)


@contextlib.contextmanager
def kept_open(paths: Iterable[Path]) -> Iterator[None]:
    """Keep files open, as far as they are there: others hold no lease on them then, and can get none before the end.

    For what opens them by itself, and would wait for a lease. When it ends, this process loses its locks on them.
    """
    with contextlib.ExitStack() as stack:
        for path in paths:
            for flags in (os.O_RDWR, os.O_RDONLY):
                with contextlib.suppress(OSError):
                    stack.callback(os.close, descriptor(path, flags))
                    break
        yield


def opened(path: Path, flags: int = 0) -> IO[bytes]:
    """Open a regular file to read it; KeyturnError for anything else, such as a pipe, which would never end."""
    opening = descriptor(path, os.O_RDONLY | flags)
    if not stat.S_ISREG(os.fstat(opening).st_mode):
        os.close(opening)
        raise KeyturnError(f"{path} is not a regular file: put a file in its place")
    return open(opening, "rb")  # noqa: PTH123 - of a descriptor


def read(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return the content of a regular file; KeyturnError for one of more than ``most`` bytes."""
    with opened(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise KeyturnError(f"{path} is larger than {most} bytes, which no such file is: make it shorter")
    return content


def secret(path: Path) -> str:
    """Return the secret that a file is there for, without the end of its line; KeyturnError where it is empty, or open to others."""
    with opened(path) as file:
        mode = os.fstat(file.fileno()).st_mode
        content = file.read(MOST_SECRET_BYTES + 1)
    if stat.S_IMODE(mode) & 0o077:
        raise KeyturnError(f"{path} is open to other users: chmod 600 {path}")
    found = text(content, f"put the secret alone into {path}").rstrip("\r\n")
    if not found.strip():
        raise KeyturnError(f"{path} is empty: put the secret into it")
    if len(content) > MOST_SECRET_BYTES:
        raise KeyturnError(
            f"{path} is larger than {MOST_SECRET_BYTES} bytes, which no secret is: put the secret alone into it"
        )
    return found


def text(content: bytes, remedy: str = "mend it") -> str:
    """Return the content of a file as text; KeyturnError for what is none."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise KeyturnError(f"this is no text in UTF-8: {remedy}") from None
