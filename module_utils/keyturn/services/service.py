"""Services: stop, start, wait until healthy, and which process serves. One class for each manager."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import heapq
import os
import re
import socket
import time
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypedDict

from ..base import durable, files, folders, log_lines, procfs
from ..base.errors import KeyturnError
from ..base.listening import Listening
from ..base.procfs import Moment
from ..ground import owner
from ..ground.scripts import REMEDY, Scripts

if TYPE_CHECKING:
    from ..inputs.catalogue import ServiceSpec

HEALTH_TIMEOUT = 2
POLL_SECONDS = 0.05
# A pause is this many times as long as the look before it: what asks systemd starts processes, on the cores that the service starts on.
POLL_PAUSE = 3
POLL_LONGEST = 0.3
# how much of a log before its end tells that it has gone on, and was not begun anew
TAIL_BYTES = 1024
PID_BYTES = 64
UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
# of a log: behind its mark, in all, and of a line; pieces of a longer one overlap by as much as a value may be long
LOG_BYTES, LOGGED_BYTES, LINE_BYTES, OVERLAP_BYTES = 1 << 26, 1 << 30, 1 << 13, 1 << 10
# of files beside a log that may have been the log
MOST_ROTATED = 100
# how much of a health_line, which is a pattern, a message shows
LINE_SHOWN = 60
MARK = {"moment": [str, float], "end": int, "file": [int], "tail": str}


class LogMark(TypedDict):
    """Which file a log is (device and inode), where it ended, and a digest of what stood before that."""

    end: int
    file: list[int]
    tail: str


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

    def sockets(self, url: str, peer: str = "") -> set[str] | None:
        """Return the sockets that take a connection to ``url``, all of them the service's own; None where that is not on this host.

        ``peer`` is the one of its addresses that a connection leads to: a name may have several, and the service listen on one.

        Root's own are taken as well, and what takes a port that only root can. KeyturnError for one of somebody else: a token must not
        be shown to it, nor its answer believed.
        """
        parts = urllib.parse.urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        addresses = [peer] if peer else _here(parts.hostname, port) if parts.hostname else []
        if not addresses or port < int(UNPRIVILEGED.read_text()):
            return None
        found = procfs.listening(addresses, port)
        for one in found:
            if one.inode not in self._own_sockets and one.user != 0 and not self._is_own(one):
                named = ", ".join(f"{pid} ({procfs.command_name(pid)})" for pid in procfs.holders_of(one.inode))
                raise KeyturnError(
                    f"service {self.name}: port {port} is listened on by process {named or '?'} of the user {one.user}, which is not "
                    "the service's: end it, or correct base_url, the health URL or keyturn_app_user"
                )
            self._own_sockets.add(one.inode)
        return {one.inode for one in found}

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


class ScriptService(Service):
    """A service with a start and a stop script, as the policy's stop_all and start_ui.

    It has no gate: after a reboot in the middle of a switch whatever starts the script starts the service. A start script may
    stay in the foreground: then it has started the service when the service is healthy.
    """

    @property
    def scripts(self) -> Scripts:
        """What runs them as the application's user."""
        return Scripts(self.app_root, self.app_user)

    @property
    def log_place(self) -> str:
        """Its log file, if the inventory names it."""
        return str(self._log) if self.spec.get("log_file") else "its log"

    @property
    def start_command(self) -> str:
        """The script, from the application's folder."""
        return f"cd {self.app_root} && {self.spec['start']}"

    def pid(self) -> int | None:
        """The process that serves: not while it is a shell of the start script, which has yet to become it."""
        pid = super().pid()
        return None if self._is_starting(pid) else pid

    def _own(self, listening: Sequence[set[int]]) -> set[int]:
        return set() if self._is_starting(self._main(listening)) else super()._own(listening)

    def _is_starting(self, pid: int | None) -> bool:
        return pid is not None and procfs.runs_script(pid, str(self.spec["start"]))

    def _is_own(self, one: Listening) -> bool:
        """The application's user's: that of the scripts, or where root runs them who may change the application's folder."""
        mine = None if self.app_user else owner.alone(self.app_root / "any file")
        return one.user in {self.scripts.user.pw_uid, *([mine.uid] if mine else [])}

    def stop(self) -> None:
        """Run the stop script; the process must be gone afterwards, and nobody may listen on its port.

        Behind a ``pid_file`` the port says nothing: it may be that of a proxy.
        """
        pid = super().pid()
        self._run("stop", self.spec["stop_timeout_seconds"])
        deadline = time.monotonic() + self.spec["stop_timeout_seconds"]
        while still := self._still(pid):
            if time.monotonic() > deadline:
                raise KeyturnError(
                    f"service {self.name} still runs {self.spec['stop_timeout_seconds']} s after {self.spec['stop']}: {still}"
                )
            time.sleep(POLL_SECONDS)

    def _still(self, pid: int | None) -> str:
        """Say by what the service, whose process was ``pid``, still shows itself; nothing where it is gone."""
        if pid is not None and procfs.started_at(pid) is not None:
            return f"its process {pid} lives"
        if not self.spec.get("pid_file") and procfs.listens(self.port):
            return f"port {self.port} is listened on"
        return f"{self.health} answers" if self.healthy() else ""

    def start(self) -> None:
        """Note where the log ends, then run the start script."""
        if self.spec.get("log_file"):
            durable.write_json(self._mark_path, {"moment": list(procfs.now()), **self._log_at(self._log, None)})
        self._run("start", self.spec["health_timeout_seconds"], self.healthy)

    def reread(self) -> None:
        """Run the reload script of a service that runs."""
        if self.pid() is None:
            self.start()
        else:
            self._run("reload", self.spec["health_timeout_seconds"])

    @property
    def _verbs(self) -> list[str]:
        return [verb for verb in ("start", "stop", "reload") if self.spec.get(verb)]

    def failed(self) -> bool:
        """Tell whether a service that is known by its process has ended."""
        pid = super().pid()
        return self.spec.get("health_line") is not None and (pid is None or procfs.started_at(pid) is None)

    def log_lines(self) -> Iterator[str] | None:
        """The lines of ``log_file`` behind its end before the start, with all of a file that was begun anew."""
        if not self.spec.get("log_file"):
            return None
        pid, mark = self.pid(), durable.read_json(self._mark_path, MARK)
        start = procfs.started_at(pid) if pid is not None else None
        if pid is None or start is None or mark is None:
            return None
        marked = Moment(*mark.pop("moment"))
        if start.boot_id != marked.boot_id or start.seconds > marked.seconds + self.spec["health_timeout_seconds"]:
            return None  # of a start that somebody has made since
        if not procfs.started_after(pid, marked):
            return iter(())  # not what was started: the pid file is old
        return log_lines.split(b"".join(self._behind(mark)))

    def logged(self) -> Iterator[str]:
        """Return every line of ``log_file``, of its last gigabyte; a very long one comes in pieces that overlap."""
        file = self._opened(self._log) if self.spec.get("log_file") else None
        if file is None:
            return
        with file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOGGED_BYTES))
            while line := file.readline(LINE_BYTES):
                yield line.decode(errors="replace")
                if len(line) == LINE_BYTES and not line.endswith(b"\n"):
                    file.seek(-OVERLAP_BYTES, os.SEEK_CUR)

    @property
    def _log(self) -> Path:
        return self.app_root / str(self.spec["log_file"])

    def _opened(self, path: Path) -> IO[bytes] | None:
        """Open a log as the application's user, None where there is none; KeyturnError for what is no file."""
        with owner.looking(path, self.app_user):
            try:
                return files.opened(path)
            except FileNotFoundError:
                return None

    def _behind(self, mark: LogMark) -> Iterator[bytes]:
        """What was logged behind the mark, as much as is read. Of a log that was rotated since, the first part stands beside it."""
        end, left = mark["end"], LOG_BYTES
        begun_anew = self._log_at(self._log, end) != mark
        for path in self._rotated() if begun_anew and end else ():
            with contextlib.suppress(KeyturnError, OSError):
                if self._log_at(path, end)["tail"] == mark["tail"]:
                    part = self._read(path, end, left)
                    left -= len(part)
                    yield part
        yield self._read(self._log, 0 if begun_anew else end, left)

    def _rotated(self) -> list[Path]:
        """The renamed files and copies beside the log."""
        with owner.looking(self._log, self.app_user):
            return heapq.nsmallest(MOST_ROTATED, folders.matching(f"{glob.escape(str(self._log))}?*"))

    def _read(self, path: Path, begin: int, most: int) -> bytes:
        file = self._opened(path)
        if file is None:
            return b""
        with file:
            file.seek(begin)
            return file.read(most)

    @property
    def _mark_path(self) -> Path:
        return self.state / f"{self.name}.start.json"

    def _log_at(self, path: Path, end: int | None) -> LogMark:
        """Say which file a log is and what stands in it before ``end`` (None: its present end)."""
        file = self._opened(path)
        if file is None:
            return {"end": 0, "file": [], "tail": ""}
        with file:
            status = os.fstat(file.fileno())
            end = status.st_size if end is None else end
            begin = max(0, end - TAIL_BYTES)
            file.seek(begin)
            tail = hashlib.sha256(file.read(end - begin)).hexdigest()
            return {"end": end, "file": [status.st_dev, status.st_ino], "tail": tail}

    def definitions(self) -> list[Path]:
        """The scripts that lie in the application's folder."""
        named = [self.app_root / self.spec[verb] for verb in self._verbs if "/" in self.spec[verb]]
        return [path for path in named if path.is_file()]

    def danger(self) -> str:
        """Say which of its scripts root would run, and another user may change."""
        return next(filter(None, (self.scripts.danger([self.spec[verb]]) for verb in self._verbs)), "")

    def check(self) -> None:
        """Refuse what would fail only when the service is down: a script that cannot be run, a user that is not there."""
        if danger := self.danger():
            raise KeyturnError(f"service {self.name}: {danger}: {REMEDY}")
        for verb in self._verbs:
            script = self.spec[verb]
            if not self.scripts.runnable(script):
                raise KeyturnError(
                    f"service {self.name}: {self.scripts.place(script)} is not a file that the user {self.scripts.user.pw_name} can "
                    f"run: correct `{verb}` of keyturn_services.{self.name}, or allow it"
                )
        if self.spec.get("pid_file") and self.healthy() and not self._lives():
            raise KeyturnError(
                f"service {self.name} is healthy, but {self.app_root / self.spec['pid_file']} names no process that lives: "
                f"correct `pid_file` of keyturn_services.{self.name}"
            )

    def _run(self, verb: str, limit: float, up: Callable[[], bool] = lambda: False) -> None:
        script = self.spec[verb]
        code = self.scripts.run([script], limit, up)
        if code != 0:
            ended = f"did not end within {limit} s" if code is None else f"ended with exit code {code}"
            raise KeyturnError(
                f"service {self.name}: {script} {ended}. To see why, read {self.log_place}, or run `cd {self.app_root} && {script}` as "
                f"{self.scripts.user.pw_name}: what it prints may hold a value, so it is not kept"
            )
