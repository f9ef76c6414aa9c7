"""One deadline for a whole exchange. Libraries have a timeout for each piece of an answer, and none for the whole."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

# a library may take the first for a reason to try again
AGAIN_SECONDS = 0.5


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError, by a signal, in what takes longer than ``seconds``; beside the main thread there is none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGALRM, _over)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def _over(*_: object) -> None:
    raise TimeoutError
