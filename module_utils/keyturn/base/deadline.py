"""One deadline for a whole exchange. Libraries have a timeout for each piece of an answer, and none for the whole."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
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


def connection(host: str, port: int, ends: float) -> socket.socket:
    """Connect to one of the addresses of a name before ``ends`` (of the monotonic clock), however many it has; OSError as of the last."""
    failure = OSError("a name without an address")
    for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(left)
            sock.connect(place)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _over(*_: object) -> None:
    raise TimeoutError
