"""Services: stop, start, wait until healthy, and which process serves. One class for each manager."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import procfs
from .errors import KeyturnError

HEALTH_TIMEOUT = 2
POLL_SECONDS = 0.05
# A pause is this many times as long as the look before it: what asks systemd starts processes, on the cores that the service starts on.
POLL_PAUSE = 3
POLL_LONGEST = 0.3
SCRIPT_PATH = "/usr/local/bin:/usr/bin:/bin"


class Service(ABC):
    """One service of the application, as ``keyturn_services`` of the inventory describes it."""

    def __init__(self, name: str, spec: Mapping[str, Any], app_root: Path, app_user: str | None) -> None:
        self.name = name
        self.spec = spec
        self.app_root = app_root
        self.app_user = app_user

    @abstractmethod
    def stop(self) -> None:
        """Stop the service and wait until its process is gone. Nothing happens where it does not run."""

    @abstractmethod
    def start(self) -> None:
        """Start the service. It need not be healthy yet."""

    def check(self) -> None:  # noqa: B027 - a manager without this has nothing to refuse
        """Refuse a service that the host does not know. Changes nothing."""

    def failed(self) -> bool:
        """Tell whether the service has ended for good, so that waiting is of no use."""
        return False

    def reads(self, path: Path) -> bool:
        """Tell whether the service's own process reads ``path``, as far as its manager knows."""
        return True

    def is_launched_with(self, credential: Path) -> bool:
        """Tell whether a launcher of keyturn's gives the service the values of ``credential``, with the command of today."""
        return False

    def log_lines(self) -> Iterator[str] | None:
        """Return what the service has logged since it started, None where nobody keeps that."""
        return None

    def definitions(self) -> list[Path]:
        """Return the files that say how the service is started."""
        return []

    def close_gate(self, gate: Path) -> None:  # noqa: B027 - a manager without a gate
        """Let nothing start the service while the file ``gate`` exists, where the manager can do that."""

    @property
    def health(self) -> str:
        """Where the service says that it is up: its health URL, or a line in its log. It says nothing about a secret."""
        return str(self.spec.get("health_url") or "the health_line in its log")

    @property
    def base_url(self) -> str:
        """The origin for proofs: ``base_url``, or that of the health URL."""
        parts = urllib.parse.urlsplit(self.health)
        return str(self.spec.get("base_url") or f"{parts.scheme}://{parts.netloc}").rstrip("/")

    @property
    def port(self) -> int:
        """The port of the health URL."""
        parts = urllib.parse.urlsplit(self.health)
        return parts.port or (443 if parts.scheme == "https" else 80)

    def healthy(self) -> bool:
        """Tell whether the health URL answers with 2xx, or the process lives and has logged its health line."""
        line = self.spec.get("health_line")
        if line is None:
            from . import http  # with ssl and email, the dearest of all imports

            return http.good(http.get(self.health, HEALTH_TIMEOUT))
        return self._lives() and any(re.search(line, said) for said in self.log_lines() or ())

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
                raise KeyturnError(f"service {self.name} ended while it started")
            now = time.monotonic()
            if now > deadline:
                raise KeyturnError(f"service {self.name} did not become healthy at {self.health} within {limit} s")
            time.sleep(min(max(POLL_SECONDS, POLL_PAUSE * (now - began)), POLL_LONGEST))

    def pid(self) -> int | None:
        """The process that serves: of ``pid_file``, or the owner of the health port's listening socket."""
        if self.spec.get("pid_file"):
            try:
                return int((self.app_root / self.spec["pid_file"]).read_text())
            except (OSError, ValueError):
                return None
        return procfs.listener(self.port)


class ScriptService(Service):
    """A service with a start and a stop script, as the policy's stop_all and start_ui.

    It has no gate: after a reboot in the middle of a switch whatever starts the script starts the service.
    """

    def stop(self) -> None:
        """Run the stop script; the process must be gone afterwards, and nobody may listen on its port.

        Behind a ``pid_file`` the port says nothing: it may be that of a proxy.
        """
        pid = self.pid()
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
        """Run the start script."""
        self._run("start", self.spec["health_timeout_seconds"])

    def failed(self) -> bool:
        """Tell whether a service that is known by its process has ended."""
        return self.spec.get("health_line") is not None and not self._lives()

    def log_lines(self) -> Iterator[str] | None:
        """The lines of ``log_file``, which the start script begins anew."""
        if not self.spec.get("log_file"):
            return None
        try:
            return iter((self.app_root / str(self.spec["log_file"])).read_text(errors="replace").splitlines())
        except FileNotFoundError:
            return iter(())

    def definitions(self) -> list[Path]:
        """The scripts that lie in the application's folder."""
        named = [self.app_root / self.spec[verb] for verb in ("start", "stop") if "/" in self.spec[verb]]
        return [path for path in named if path.is_file()]

    def check(self) -> None:
        """Refuse what would fail only when the service is down: a script that cannot be run, a user that is not there."""
        user = self._user()
        for verb in ("start", "stop"):
            script = self.spec[verb]
            path = self.app_root / script if "/" in script else shutil.which(script, path=SCRIPT_PATH)
            if path is None or not self._runnable(str(path), user):
                raise KeyturnError(
                    f"service {self.name}: {path or script} is not a file that the user {user.pw_name} can run: "
                    f"correct `{verb}` of keyturn_services.{self.name}, or allow it"
                )
        if self.spec.get("pid_file") and self.healthy() and not self._lives():
            raise KeyturnError(
                f"service {self.name} is healthy, but {self.app_root / self.spec['pid_file']} names no process that lives: "
                f"correct `pid_file` of keyturn_services.{self.name}"
            )

    def _runnable(self, path: str, user: pwd.struct_passwd) -> bool:
        if user.pw_uid == os.geteuid():
            return os.access(path, os.X_OK) and Path(path).is_file()
        return self._spawn("test", "-f", path, "-a", "-x", path) == 0

    def _run(self, verb: str, limit: float) -> None:
        script = self.spec[verb]
        try:
            code = self._spawn(script, limit=limit)
        except OSError as error:
            raise KeyturnError(
                f"service {self.name}: {script} in {self.app_root} cannot be run: {error.strerror}"
            ) from error
        except subprocess.TimeoutExpired:
            raise KeyturnError(f"service {self.name}: {script} did not end within {limit} s") from None
        if code != 0:
            raise KeyturnError(f"service {self.name}: {script} ended with exit code {code}")

    def _user(self) -> pwd.struct_passwd:
        """The application's user; KeyturnError for one that is not there, or that this process cannot become."""
        if not self.app_user:
            return pwd.getpwuid(os.geteuid())
        try:
            user = pwd.getpwnam(self.app_user)
        except KeyError:
            raise KeyturnError(
                f"service {self.name}: this host has no user {self.app_user}: correct keyturn_app_user"
            ) from None
        if os.geteuid() not in (0, user.pw_uid):
            raise KeyturnError(
                f"service {self.name}: its scripts run as {self.app_user} (keyturn_app_user), and only root can become that "
                f"user: run as root or as {self.app_user}"
            )
        return user

    def _spawn(self, *command: str, limit: float | None = None) -> int:
        """Run a command as the application's user and return its exit code; after ``limit`` seconds its session is killed.

        Its environment is clean: a variable in it would win over `.env`. No output is kept: an application may print
        what it was given.
        """
        user = self._user()
        environment = {
            "HOME": user.pw_dir,
            "LANG": "C.UTF-8",
            "LOGNAME": user.pw_name,
            "PATH": SCRIPT_PATH,
            "USER": user.pw_name,
        }
        as_user: dict[str, Any] = {}
        if user.pw_uid != os.geteuid():
            as_user = {
                "user": user.pw_uid,
                "group": user.pw_gid,
                "extra_groups": os.getgrouplist(user.pw_name, user.pw_gid),
            }
        process = subprocess.Popen(
            command,
            cwd=self.app_root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **as_user,
        )
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


def _systemd(name: str, spec: Mapping[str, Any], app_root: Path, app_user: str | None) -> Service:
    from .systemd import SystemdService

    return SystemdService(name, spec, app_root, app_user)


MANAGERS: dict[str, Callable[[str, Mapping[str, Any], Path, str | None], Service]] = {
    "script": ScriptService,
    "systemd": _systemd,
}


def service(name: str, spec: Mapping[str, Any], app_root: Path, app_user: str | None) -> Service:
    """Return the service of the inventory's entry ``name``."""
    return MANAGERS[spec["manager"]](name, spec, app_root, app_user)
