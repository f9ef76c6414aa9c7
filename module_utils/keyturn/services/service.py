"""Services: stop, start, wait until healthy, and which process serves. One class for each manager."""

from __future__ import annotations

import contextlib
import re
import socket
import time
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..base import files, procfs
from ..base.errors import KeyturnError
from ..base.listening import Listening
from ..ground import owner

if TYPE_CHECKING:
    from ..inputs.catalogue import ServiceSpec

HEALTH_TIMEOUT = 2
POLL_SECONDS = 0.05
# A pause is this many times as long as the look before it: what asks systemd starts processes, on the cores that the service starts on.
POLL_PAUSE = 3
POLL_LONGEST = 0.3
PID_BYTES = 64
UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
# how much of a health_line, which is a pattern, a message shows
LINE_SHOWN = 60
# how much of a log is read behind its mark
LOG_BYTES = 1 << 26


class Seen(NamedTuple):
    """One look at a service: its processes, and those behind each address of its health URL that one of them listens on."""

    pids: list[int]
    taking: list[set[int]]


class Service(ABC):
    """One service of the application, as ``keyturn_services`` of the inventory describes it.

    ``state`` is keyturn's own folder of the application.
    """

    def __init__(self, name: str, spec: ServiceSpec, app_root: Path, app_user: str | None, state: Path) -> None:
        self.name = name
        self.spec = spec
        self.app_root = app_root
        self.app_user = app_user
        self.state = state
        self._own_sockets: set[str] = set()

    @abstractmethod
    def stop(self) -> None:
        """Stop the service and wait until its process is gone. Nothing happens where it does not run."""

    @abstractmethod
    def start(self) -> None:
        """Start the service. It need not be healthy yet."""

    @abstractmethod
    def reread(self) -> None:
        """Let the running service read its files anew; one that does not run is started. It need not have read them yet."""

    def check(self) -> None:  # noqa: B027 - a manager without this has nothing to refuse
        """Refuse a service that the host does not know. Changes nothing."""

    def danger(self) -> str:
        """Say what of the service root would run, and another user may change; empty where nothing is."""
        return ""

    def failed(self) -> bool:
        """Tell whether the service has ended for good, so that waiting is of no use."""
        return False

    def reads(self, path: Path) -> bool:
        """Tell whether the service's own process reads ``path``, as far as its manager knows."""
        return True

    def is_launched_with(self, systemd_credential: Path) -> bool:
        """Tell whether a launcher of keyturn's gives the service the values of ``systemd_credential``, with the command of today."""
        return False

    def log_lines(self) -> Iterator[str] | None:
        """Return what the service has logged since it started, None where nobody knows that."""
        return None

    def logged(self) -> Iterator[str]:
        """Return every line of its log that is there, also those of before its start."""
        yield from self.log_lines() or ()

    def definitions(self) -> list[Path]:
        """Return the files that say how the service is started."""
        return []

    def definition_texts(self) -> Iterator[tuple[Path, str]]:
        """Yield what stands in the files of ``definitions``."""
        for path in self.definitions():
            with owner.looking(path, self.app_user):
                content = files.read(path)
            yield path, content.decode(errors="replace")

    def page(self) -> str:
        """Return what the manager says of the service, for a person."""
        return f"manager {self.spec['manager']}: what stops with it, or outlives its stop, is not known"

    def note_companions(self) -> None:  # noqa: B027 - a manager without any
        """Note on disk which units that stop with the service run now, so that none is forgotten, whatever comes."""

    def start_companions(self) -> str:
        """Start again what stopped with the service; return what does not come up, as a sentence, empty where all runs."""
        return ""

    def forget_companions(self) -> None:  # noqa: B027 - a manager without any
        """Forget what was noted: all of it runs."""

    def fit_start_gate(self, gate: Path) -> None:  # noqa: B027 - a manager without a gate
        """Let nothing start the service while the file ``gate`` exists, where the manager can do that."""

    @property
    def health(self) -> str:
        """Where the service says that it is up: its health URL, without a query, which may hold a value; or a line in its log."""
        if url := self.spec.get("health_url"):
            return str(url).partition("?")[0]
        line = str(self.spec["health_line"])
        return f"its health_line `{line[:LINE_SHOWN]}{'...' if len(line) > LINE_SHOWN else ''}` in {self.log_place}"

    @property
    @abstractmethod
    def log_place(self) -> str:
        """Where a person reads its log."""

    @property
    @abstractmethod
    def start_command(self) -> str:
        """What a person types to start it."""

    @property
    def base_url(self) -> str:
        """The origin for proofs: ``base_url``, or that of the health URL; empty for a service without HTTP."""
        parts = urllib.parse.urlsplit(self.spec.get("health_url") or "")
        return str(self.spec.get("base_url") or (f"{parts.scheme}://{parts.netloc}" if parts.scheme else "")).rstrip(
            "/"
        )

    @property
    def missing(self) -> str:
        """What is missing of a service that is not healthy, and the remedy."""
        pid = self.pid()
        if pid is None or not self._lives():
            return f"start it (`{self.start_command}`)"
        if not self.spec.get("health_url"):
            return (
                f"its process {pid} lives and has not said so since its start: look at {self.log_place} and restart it"
            )
        status = self._status()
        if status is None:
            return f"its process {pid} lives and gives no answer there: look at {self.log_place} and restart it"
        return (
            f"its process {pid} lives and answers HTTP {status} there: correct `health_url` of keyturn_services.{self.name}, or look at "
            f"{self.log_place}"
        )

    @property
    def port(self) -> int:
        """The port of the health URL."""
        parts = urllib.parse.urlsplit(self.spec.get("health_url") or "")
        return parts.port or (443 if parts.scheme == "https" else 80)

    def healthy(self) -> bool:
        """Tell whether the health URL answers with 2xx, or the process lives and has logged its health line.

        What a process has logged that something else started may not be known; it is up as long as it lives.
        """
        line = self.spec.get("health_line")
        if line is None:
            from ..base import http  # with ssl and email, the dearest of all imports

            return http.good(self._status())
        if not self._lives():
            return False
        lines = self.log_lines()
        return lines is None or any(re.search(line, said) for said in lines)

    def _status(self) -> int | None:
        from ..base import http

        return http.get(self.spec["health_url"], HEALTH_TIMEOUT)

    def _lives(self) -> bool:
        pid = self.pid()
        return pid is not None and procfs.started_at(pid) is not None

    def wait_healthy(self) -> None:
        """Wait until the service is healthy; KeyturnError after ``health_timeout_seconds``."""
        limit = self.spec["health_timeout_seconds"]
        deadline = time.monotonic() + limit
        while True:
            began = time.monotonic()
            if self.healthy():
                return
            if self.failed():
                raise KeyturnError(f"service {self.name} ended while it started: {self.log_place} says why")
            now = time.monotonic()
            if now > deadline:
                raise KeyturnError(
                    f"service {self.name} did not become healthy at {self.health} within {limit} s: {self.missing}"
                )
            time.sleep(min(max(POLL_SECONDS, POLL_PAUSE * (now - began)), POLL_LONGEST))

    def pid(self) -> int | None:
        """The process that serves: of ``pid_file``, or the owner of the health port's listening socket."""
        return self._main([] if self.spec.get("pid_file") else procfs.listeners(self.port))

    def _main(self, listening: Sequence[set[int]]) -> int | None:
        """The same, where ``listening`` are those at each address of the health port."""
        if not self.spec.get("pid_file"):
            return min(set().union(*listening), default=None)
        path = self.app_root / self.spec["pid_file"]
        try:
            with owner.looking(path, self.app_user):
                return int(files.read(path, PID_BYTES))
        except (KeyturnError, OSError, ValueError):
            return None

    def processes(self) -> list[int]:
        """Return the processes of the service as far as they are known: the one that serves, and who listens where it does."""
        return self.look().pids

    def look(self) -> Seen:
        """See at once which processes it has and who takes its connections: a look goes through all that a host has open."""
        listening = procfs.listeners(self.port) if self.spec.get("health_url") else []
        own = self._own(listening)
        return Seen(sorted(own), [found for found in listening if found & own])

    def _own(self, listening: Sequence[set[int]]) -> set[int]:
        pid = self._main(listening)
        return set() if pid is None else {pid}.union(*(found for found in listening if pid in found))

    def sockets(self, url: str, connection: socket.socket | None = None) -> set[str] | None:
        """Return the sockets that take a connection to ``url``, all of them the service's own; None where that is not on this host.

        A ``connection`` leads to one of its addresses: a name may have several, and the service listen on one. Who has taken it is looked
        at as well.

        Root's own are taken as well, and what takes a port that only root can. KeyturnError for one of somebody else: a token must not
        be shown to it, nor its answer believed.
        """
        parts = urllib.parse.urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        addresses = (
            [connection.getpeername()[0]] if connection else _here(parts.hostname, port) if parts.hostname else []
        )
        if not addresses or port < int(UNPRIVILEGED.read_text()):
            return None
        found = procfs.listening(addresses, port)
        for one in found:
            self._check_own(one, f"port {port} is listened on")
        if connection and (taken := procfs.taker(connection)):
            self._check_own(taken, f"a connection to port {port} was taken", found)
        return {one.inode for one in found}

    def _check_own(self, one: Listening, what: str, listening: Sequence[Listening] = ()) -> None:
        """Refuse a socket of somebody else's; who has one of those that listen, which are the service's, may have any."""
        own = one.inode in self._own_sockets or one.user == 0 or self._is_own(one)
        if not own and not procfs.takes_of(one, listening):
            named = ", ".join(f"{pid} ({procfs.command_name(pid)})" for pid in procfs.holders_of(one.inode))
            raise KeyturnError(
                f"service {self.name}: {what} by process {named or '?'} of the user {one.user}, which is not the service's: end it, or "
                "correct base_url, the health URL or keyturn_app_user"
            )
        self._own_sockets.add(one.inode)

    @abstractmethod
    def _is_own(self, one: Listening) -> bool:
        """Tell whether a socket is one of the service's processes'."""

    def foreign(self) -> str:
        """Say who listens at the health URL in the place of the service, so that its health would be somebody else's; empty for nobody."""
        try:
            self.sockets(self.spec.get("health_url") or "")
        except KeyturnError as error:
            return str(error)
        return ""


def _here(host: str, port: int) -> list[str]:
    """Return the addresses of a name that are this host's; what nobody can find is none."""
    found = []
    with contextlib.suppress(OSError):
        for family, _, _, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
            with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(place)  # which sends nothing: the address that it would be sent from tells
                there, mine = str(place[0]), str(probe.getsockname()[0])
                if mine == there or mine.startswith("127.") or mine == "::1":
                    found += [there, mine]
    return found


def strangers(seen: Mapping[str, Seen]) -> dict[str, list[int]]:
    """Return by service who takes connections where it does and is of none of them; what systemd itself holds it hands over."""
    own = {1}.union(*(one.pids for one in seen.values()))
    found = {name: sorted(set().union(*one.taking) - own) for name, one in seen.items()}
    return {name: pids for name, pids in found.items() if pids}
