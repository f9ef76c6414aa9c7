"""Files that somebody else may have put there: regular ones only, opened without waiting, and read up to a size."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

from .errors import KeyturnError

MOST_BYTES = 1 << 24
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def opened(path: Path, flags: int = 0) -> IO[bytes]:
    """Open a regular file to read it; KeyturnError for anything else, such as a pipe, which would never end."""
    descriptor = os.open(path, _FLAGS | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise KeyturnError(f"{path} is not a regular file: put a file in its place")
    return open(descriptor, "rb")  # noqa: PTH123 - of a descriptor


def read(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return the content of a regular file; KeyturnError for one of more than ``most`` bytes."""
    with opened(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise KeyturnError(f"{path} is larger than {most} bytes, which no such file is: make it shorter")
    return content


def text(content: bytes, remedy: str = "mend it") -> str:
    """Return the content of a file as text; KeyturnError for what is none."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise KeyturnError(f"this is no text in UTF-8: {remedy}") from None
