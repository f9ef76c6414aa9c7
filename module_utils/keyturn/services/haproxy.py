"""Takes a server out of HAProxy's traffic and puts it back, by the balancer's socket. What the balancer says it has done counts.

Whatever the socket is asked, its exit code and a program's in between say nothing: an order that is refused is a text.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable

from ..base import shown
from ..base.errors import KeyturnError

ASK_SECONDS = 10
ANSWER_BYTES = 1 << 20
POLL_SECONDS = 0.2
# srv_op_state and bits of srv_admin_state of HAProxy's management guide ("show servers state"): what was ordered here, and what keeps a
# server out for another reason, such as a person. That its configuration once said `disabled` (0x04) stays set while it serves.
RUNNING = 2
DRAINED = 0x08
KEPT_OUT = 0x01 | 0x02 | 0x10 | 0x20


class Server:
    """One server of one backend. KeyturnError names socket, server and the remedy."""

    def __init__(self, path: str, backend: str, name: str) -> None:
        self.path, self.backend, self.name = path, backend, name
        for word in (backend, name):
            if not re.fullmatch(r"[A-Za-z0-9_.:-]+", word):
                raise KeyturnError(
                    f"{shown.name(word)} is no name that HAProxy has for a backend or a server: correct keyturn_haproxy"
                )

    def kept_out(self) -> bool:
        """Tell whether something else than ``drain`` keeps it out, such as a person's `maint`: then it stays so."""
        return bool(self._admin_state() & KEPT_OUT)

    def drain(self, seconds: float, change: bool = True) -> bool:
        """Let it get nothing new, and wait until it has no connection; tell whether that was to be ordered."""
        ordered = not self._admin_state() & (KEPT_OUT | DRAINED)
        if ordered and change:
            self._order("drain")
            if not self._admin_state() & DRAINED:
                raise self._error("was told to drain, and does not: look at `show servers state`")
        if change:
            self._wait(
                seconds, lambda: self._connections() == 0, lambda: f"still has {self._connections()} connections"
            )
        return ordered

    def put_back(self, seconds: float, change: bool = True) -> bool:
        """Let it get requests again, and wait until it is found healthy; tell whether that was to be ordered."""
        if self.kept_out():
            return False
        ordered = bool(self._admin_state() & DRAINED)
        if ordered and change:
            self._order("ready")
        if change:
            self._wait(seconds, self._serves, lambda: "is not running")
        return ordered

    def _order(self, state: str) -> None:
        answer = self._ask(f"set server {self.backend}/{self.name} state {state}").strip()
        if answer:
            raise self._error(
                f"cannot be set to {state}, the socket answers {shown.name(answer)}: HAProxy's `stats socket` needs `level admin`"
            )

    def _wait(self, seconds: float, done: Callable[[], bool], what: Callable[[], str]) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise self._error(f"{what()} after {seconds:g} s: end that, or set keyturn_haproxy.seconds")
            time.sleep(POLL_SECONDS)

    def _admin_state(self) -> int:
        return int(self._fields("state", "srv_name", self.name)["srv_admin_state"])

    def _serves(self) -> bool:
        said = self._fields("state", "srv_name", self.name)
        return int(said["srv_op_state"]) == RUNNING and not int(said["srv_admin_state"]) & (KEPT_OUT | DRAINED)

    def _connections(self) -> int:
        return int(self._fields("conn", "bkname/svname", f"{self.backend}/{self.name}")["used_cur"])

    def _fields(self, what: str, column: str, value: str) -> dict[str, str]:
        """Return the line of the server in one of the balancer's tables, by the names of its columns."""
        lines = self._ask(f"show servers {what} {self.backend}").splitlines()
        names = next((line[1:].split() for line in lines if line.startswith("#")), [])
        rows = (dict(zip(names, line.split(), strict=False)) for line in lines if not line.startswith("#"))
        found = next((row for row in rows if row.get(column) == value), None)
        if found is None:
            answer = shown.name(lines[0]) if lines and not names else "has no such line"
            raise self._error(
                f"is not found ({answer}): keyturn_haproxy.backend names it, and its servers are called as hosts of the inventory"
            )
        return found

    def _ask(self, command: str) -> str:
        try:
            with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
                connection.settimeout(ASK_SECONDS)
                connection.connect(self.path)
                connection.sendall(f"{command}\n".encode())
                return _received(connection).decode(errors="replace")
        except OSError as error:
            raise KeyturnError(
                f"{self.path}: {error.strerror or 'no answer'}: keyturn_haproxy.socket names HAProxy's `stats socket`, and this user "
                "must be one that may write to it"
            ) from None

    def _error(self, what: str) -> KeyturnError:
        return KeyturnError(f"{self.path}: the server {self.backend}/{self.name} {what}")


def _received(connection: socket.socket) -> bytes:
    """Return all of an answer, which has as long as a piece of it would have, and a size."""
    answer, end = b"", time.monotonic() + ASK_SECONDS
    while (left := end - time.monotonic()) > 0 and len(answer) < ANSWER_BYTES:
        connection.settimeout(left)
        part = connection.recv(65536)
        if not part:
            return answer
        answer += part
    raise TimeoutError
