"""Services that systemd manages, with a start gate: a half-switched host starts nothing, whatever boots or restarts it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from . import durable
from .errors import KeyturnError
from .service import Service

UNITS = Path("/etc/systemd/system")
DROP_IN = "50-keyturn.conf"


class SystemdService(Service):
    """A unit of the system manager. Needs root."""

    @property
    def unit(self) -> str:
        """The unit's name, with its suffix."""
        name = str(self.spec["unit"])
        return name if "." in name else f"{name}.service"

    def stop(self) -> None:
        """Stop the unit; systemd waits until its processes are gone."""
        self._systemctl("stop", self.unit)

    def start(self) -> None:
        """Start the unit. KeyturnError when systemd says that it failed."""
        # a unit that failed often in a short time would be refused for that alone
        self._systemctl("reset-failed", self.unit, check=False)
        self._systemctl("start", self.unit)

    def failed(self) -> bool:
        """Tell whether systemd has given up on the unit."""
        return self._property("ActiveState") == "failed"

    def pid(self) -> int | None:
        """The unit's main process."""
        pid = int(self._property("MainPID") or 0)
        return pid or None

    def log_lines(self) -> Iterator[str] | None:
        """The lines that the journal has of the unit since it started."""
        invocation = self._property("InvocationID")
        done = self._run("journalctl", "--quiet", "--output=cat", f"_SYSTEMD_INVOCATION_ID={invocation}")
        return iter(done.stdout.splitlines())

    def check(self) -> None:
        """Refuse a unit that systemd does not know."""
        state = self._property("LoadState")
        if state != "loaded":
            raise KeyturnError(f"service {self.name}: systemd has no unit {self.unit} (it is {state}): correct `unit`")

    def reads(self, path: Path) -> bool:
        """Tell whether the unit's processes have to read ``path``: an environment file is read by systemd itself."""
        named = [line.rpartition(" (")[0] for line in self._property("EnvironmentFiles").splitlines()]
        return str(path) not in named

    def definitions(self) -> list[Path]:
        """The unit file and its drop-ins."""
        named = [self._property("FragmentPath"), *self._property("DropInPaths").split()]
        return [Path(name) for name in named if name]

    def close_gate(self, gate: Path) -> None:
        """Let nothing start the unit while ``gate`` exists, across reboots."""
        drop_in = UNITS / f"{self.unit}.d" / DROP_IN
        content = f"# A rotation of keyturn that is not finished keeps this unit stopped.\n[Unit]\nConditionPathExists=!{gate}\n"
        if not drop_in.exists() or drop_in.read_text() != content:
            drop_in.parent.mkdir(exist_ok=True)
            durable.sync_folder(UNITS)
            durable.write_file(drop_in, content.encode(), make_readable)
            self._systemctl("daemon-reload")

    def _property(self, name: str) -> str:
        return self._systemctl("show", "--property", name, "--value", self.unit).stdout.strip()

    def _systemctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = self._run("systemctl", *arguments)
        if check and done.returncode != 0:
            raise KeyturnError(
                f"service {self.name}: systemctl {arguments[0]} {self.unit} failed with exit code {done.returncode}"
            )
        return done

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        limit = self.spec["stop_timeout_seconds"] + self.spec["health_timeout_seconds"]
        try:
            return subprocess.run(
                command, text=True, capture_output=True, timeout=limit, check=False, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            raise KeyturnError(f"service {self.name}: {command[0]} cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired:
            raise KeyturnError(f"service {self.name}: {command[0]} did not end within {limit} s") from None


def make_readable(fd: int) -> None:
    """Give a unit file the mode that systemd expects."""
    os.fchmod(fd, 0o644)
