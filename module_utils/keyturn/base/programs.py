"""Programs in which others may have a say: their start and their end are waited for up to a time, and what they print has a size."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple, TypedDict, Unpack, cast

from .deadline import within

PIECE_BYTES = 1 << 16
# what a start takes at most, which a lease on the program delays by 45 s, and an end by a kill
START_SECONDS, KILL_SECONDS = 60, 10


class User(TypedDict, total=False):
    """As whom a process starts."""

    user: int
    group: int
    extra_groups: Sequence[int]


class Started(User, total=False):
    """In which environment it starts besides."""

    env: dict[str, str]


class Opened(Started, total=False):
    """Where it starts besides, and what it has open."""

    cwd: str
    stdin: int
    stdout: int
    stderr: int
    start_new_session: bool
    pass_fds: Sequence[int]


class Process(subprocess.Popen[bytes]):
    """A process that has begun; TimeoutExpired for one that does not, which is killed.

    Python waits until the program is there. Until then it is the process of its user already, who may stop it, or have put the program
    where no file system answers.
    """

    def __init__(self, command: Sequence[str], **opened: Unpack[Opened]) -> None:
        try:
            with within(START_SECONDS):
                super().__init__(command, **opened)
        except TimeoutError:
            self.kill()
            ends(self)
            raise subprocess.TimeoutExpired(command, START_SECONDS) from None


def ends(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process that is killed ends; one that waits for a file system may never."""
    try:
        process.wait(KILL_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


class Said(NamedTuple):
    """What a program has printed, and its exit code; None where it was ended since it had printed ``most`` bytes."""

    content: bytes
    code: int | None


def printed(process: Process, seconds: float) -> Iterator[bytes]:
    """Yield what a process prints, piece by piece, to the end; TimeoutExpired where that takes longer than ``seconds``."""
    end = time.monotonic() + seconds
    with cast(IO[bytes], process.stdout) as output, selectors.DefaultSelector() as ready:
        ready.register(output, selectors.EVENT_READ)
        while ready.select(max(0.0, end - time.monotonic())):
            if not (part := os.read(output.fileno(), PIECE_BYTES)):
                return
            yield part
        raise subprocess.TimeoutExpired(process.args, seconds)


def said(command: Sequence[str], most: int, seconds: float, **started: Unpack[Started]) -> Said:
    """Run a program without any input; ``started`` is how its process starts. Errors as of ``subprocess.run``."""
    end = time.monotonic() + seconds
    content, quiet = bytearray(), subprocess.DEVNULL
    process = Process(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, **started)
    try:
        for part in printed(process, seconds):
            content += part[: most - len(content)]
            if len(content) == most:
                return Said(bytes(content), None)
        return Said(bytes(content), process.wait(max(0.0, end - time.monotonic())))
    finally:
        process.kill()
        ends(process)
