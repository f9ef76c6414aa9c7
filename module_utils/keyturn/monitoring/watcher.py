"""The programs that watch: what a site has told one is added to, and that it serves is seen by its own process and its own answer."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ..base import http, procfs
from ..base.errors import KeyturnError
from ..services.service import POLL_LONGEST
from ..services.systemd import DROP_IN, SystemdService

METRICS_BYTES = 1 << 24
STARTED = "%a %Y-%m-%d %H:%M:%S.%f %Z"


class Metric(NamedTuple):
    """What the answer must have. The time that it tells is after the newest of ``files``, and at most ``seconds`` ago if given."""

    name: str
    files: tuple[Path, ...] = ()
    seconds: float = 0


class Watcher(SystemdService):
    """A unit of the monitoring; one without a port only has to be active. ``variables`` are where people say the address."""

    def __init__(self, unit: str, address: str, port: int, variables: str, seconds: float) -> None:
        spec = {"manager": "systemd", "unit": unit, "health_timeout_seconds": seconds, "stop_timeout_seconds": seconds}
        super().__init__(unit, spec, Path("/"), None, Path("/"))
        self.address, self.listens_on, self.variables = address, port, variables
        self.url = f"http://{f'[{address}]' if ':' in address else address}:{port}/metrics"

    @property
    def known(self) -> bool:
        """Whether systemd has the unit."""
        return self._property("LoadState") == "loaded"

    def refuse_taken(self) -> None:
        """Refuse a port that somebody else has, or an address that the host has not."""
        if not self.listens_on or (self.known and self._listens()):
            return
        holders = set().union(*procfs.listeners(self.listens_on))
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((self.address, self.listens_on))
                tried.listen()
            except OSError as error:
                named = ", ".join(map(_owner, sorted(holders))) or str(error.strerror).lower()
                raise KeyturnError(
                    f"unit {self.spec['unit']}: it cannot listen on {self.address} port {self.listens_on} ({named}): free it, "
                    f"or set {self.variables}"
                ) from None

    def _listens(self) -> bool:
        """Tell whether a process of the unit listens; one that is not ours to see is known by its user."""
        own = set(self.processes())
        if seen := set().union(*procfs.listeners(self.listens_on)):
            return bool(seen & own)
        users = {found.user for found in map(procfs.user_and_groups, own) if found}
        return bool(users & procfs.listening_users(self.listens_on))

    def add(self, flags: Mapping[str, str], variables: Mapping[str, str], *, change: bool) -> bool:
        """Add arguments to the command that the unit has without Keyturn; return whether that changes something.

        One that is there already stays, and is refused where it says something else.
        """
        commands = self._settings("ExecStart", without=DROP_IN)
        if len(commands) != 1:
            raise KeyturnError(f"unit {self.unit}: it has {len(commands)} ExecStart= lines, and one is needed")
        said = list(self._said())
        added = []
        for flag, value in flags.items():
            found = [(place, other) for place, name, other in said if name == flag]
            for place, other in found:
                if other != value:
                    raise KeyturnError(
                        f"{place} says {flag}={other} and Keyturn needs {flag}={value}: take it out there, or set "
                        f"{variables[flag]} to what it says"
                    )
            added += [] if found else [f"{flag}={value}"]
        head = "# Written by Keyturn's role monitoring: what the unit says without it, and what the alerts need.\n"
        content = f"{head}[Service]\nExecStart=\nExecStart={' '.join([commands[0], *added])}\n"
        path = self._drop_in(DROP_IN)
        differs = not path.exists() or path.read_text() != content
        if change:
            self._write_drop_in(path, content)
        return differs

    def _said(self) -> Iterable[tuple[str, str, str]]:
        """Place, name and value of each argument in the unit's files and in its environment files."""
        named = [line.rpartition(" (")[0] for line in self._property("EnvironmentFiles").splitlines()]
        for path in [*self.definitions(), *map(Path, named)]:
            if path.name == DROP_IN or not path.is_file():
                continue
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                if not line.lstrip().startswith(("#", ";")):
                    for found in re.finditer(r"(--[\w.-]+)(?:[= ]([^\s\"'-][^\s\"']*))?", line):
                        yield f"{path}:{number}", found[1], found[2] or ""

    def run(self, files: Iterable[Path], metric: Metric | None, *, reloads: bool, change: bool) -> list[str]:
        """Let the unit run on ``files`` as they are, now and after a boot; return what had to be done.

        ``reloads``: its metric's files are read anew at a reload. KeyturnError where it does not serve in the end.
        """
        orders = self._orders(files, metric, reloads)
        if change:
            if self._property("NeedDaemonReload") == "yes":
                self.reload()
            for order in orders:
                self._systemctl("reset-failed", self.unit, check=False)
                self._systemctl(order, self.unit, check=order == "enable")
            self._wait(metric)
        return orders

    def _orders(self, files: Iterable[Path], metric: Metric | None, reloads: bool) -> list[str]:
        orders = [] if self._property("UnitFileState") == "enabled" else ["enable"]
        if self._property("ActiveState") != "active" or self._started() < _newest([*files, *self.definitions()]):
            return [*orders, "restart"]
        return [*orders, "reload"] if reloads and self._lacks(metric) else orders

    def _started(self) -> float:
        shown = self._systemctl("show", "--timestamp=us+utc", "--property=ActiveEnterTimestamp", "--value", self.unit)
        return datetime.strptime(shown.stdout.strip(), STARTED).replace(tzinfo=UTC).timestamp()

    def _wait(self, metric: Metric | None) -> None:
        deadline = time.monotonic() + self.spec["health_timeout_seconds"]
        while lacks := self._lacks(metric):
            if self.failed() or time.monotonic() > deadline:
                raise KeyturnError(f"unit {self.unit}: {lacks}; journalctl --unit={self.unit} says why")
            time.sleep(POLL_LONGEST)

    def _lacks(self, metric: Metric | None) -> str:
        """Say what shows that the unit does not serve; nothing where it does."""
        if self._property("ActiveState") != "active":
            return f"it is {self._property('ActiveState')}"
        if not self.listens_on:
            return ""
        if not self._listens():
            return f"no process of its own listens on port {self.listens_on}"
        answer = http.ask(self.url, POLL_LONGEST * 10, limit=METRICS_BYTES)
        if not http.good(answer.status):
            return f"{self.url} has no good answer"
        return _missing(answer.body.decode(errors="replace"), metric) if metric else ""


def _missing(text: str, metric: Metric) -> str:
    told = re.findall(rf"^{re.escape(metric.name)}(?:{{.*}})? (\S+)", text, re.MULTILINE)
    if not told:
        return f"its answer does not have {metric.name}"
    # whoever tells a time may tell it in whole seconds
    if metric.files and max(map(float, told)) + 1 < _newest(metric.files):
        return f"by {metric.name} it has not read {', '.join(map(str, metric.files))} as it is"
    if metric.seconds and max(map(float, told)) + metric.seconds < time.time():
        return f"{metric.name} says that nothing was written for {metric.seconds:.0f} s"
    return ""


def _newest(files: Iterable[Path]) -> float:
    return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)


def _owner(pid: int) -> str:
    units: list[Any] = [path.rpartition("/")[2] for path in procfs.cgroups(pid) if path.endswith(".service")]
    return f"{procfs.command_name(pid)}, process {pid}{f' of {units[0]}' if units else ''} listens there"
