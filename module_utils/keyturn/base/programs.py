"""What a program prints, up to a size. Others may have a say in that, and could have it print without end."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from typing import IO, NamedTuple, TypedDict, Unpack, cast

PIECE_BYTES = 1 << 16


class Started(TypedDict, total=False):
    """In which environment a process starts, and as whom."""

    env: dict[str, str]
    user: int
    group: int
    extra_groups: Sequence[int]


class Said(NamedTuple):
    """What a program has printed, and its exit code; None where it was ended since it had printed ``most`` bytes."""

    content: bytes
    code: int | None


def said(command: Sequence[str], most: int, seconds: float, **started: Unpack[Started]) -> Said:
    """Run a program without any input; ``started`` is how its process starts. Errors as of ``subprocess.run``."""
    end = time.monotonic() + seconds
    parts: list[bytes] = []
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **started
    )
    with process, selectors.DefaultSelector() as ready:
        output = cast(IO[bytes], process.stdout).fileno()
        ready.register(output, selectors.EVENT_READ)
        try:
            left = most
            while left:
                if not ready.select(max(0.0, end - time.monotonic())):
                    raise subprocess.TimeoutExpired(command, seconds)
                if not (part := os.read(output, min(PIECE_BYTES, left))):
                    return Said(b"".join(parts), process.wait(max(0.0, end - time.monotonic())))
                parts.append(part)
                left -= len(part)
            return Said(b"".join(parts), None)
        finally:
            process.kill()
