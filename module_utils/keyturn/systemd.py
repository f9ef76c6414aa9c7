"""Services that systemd manages, with a start gate: a half-switched host starts nothing, whatever boots or restarts it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from . import durable
from .errors import KeyturnError
from .service import Service

UNITS = Path("/etc/systemd/system")
DROP_IN = "50-keyturn.conf"
LAUNCH = "60-keyturn-credential.conf"
LAUNCHER = Path("/usr/local/lib/keyturn/with-credential")
LAUNCHER_TEXT = '''\
#!/usr/bin/python3 -I
"""with-credential NAME PROGRAM [ARGUMENT...]: run a program with the values of a systemd credential in its environment."""
import json, os, sys

with open(os.path.join(os.environ["CREDENTIALS_DIRECTORY"], sys.argv[1]), "rb") as file:
    values = json.load(file)
os.execvpe(sys.argv[2], sys.argv[2:], {**os.environ, **values})
'''


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
        content = f"# A rotation of keyturn that is not finished keeps this unit stopped.\n[Unit]\nConditionPathExists=!{gate}\n"
        self._write_drop_in(self._drop_in(DROP_IN), content)

    def launched_with(self) -> str:
        """Return the credential that the unit's program is launched with, empty where it is none of keyturn's."""
        drop_in = self._drop_in(LAUNCH)
        found = (
            re.search(r"^LoadCredentialEncrypted=([^:]+):", drop_in.read_text(errors="replace"), re.MULTILINE)
            if drop_in.exists()
            else None
        )
        return found[1] if found else ""

    def is_launched_with(self, credential: Path) -> bool:
        """Tell whether ``launch_with`` has nothing to do: the unit's command may have changed since, or the launcher be gone."""
        return _holds(self._drop_in(LAUNCH), self._launch(credential)) and _holds(LAUNCHER, LAUNCHER_TEXT)

    def check_launch(self, credential: Path) -> None:
        """Refuse a unit for which ``launch_with`` cannot work. Changes nothing."""
        self._launch(credential)
        given = self.launched_with()
        if given not in ("", credential.name):
            raise KeyturnError(
                f"service {self.name}: the unit {self.unit} is launched with the credential {given}, of another keyturn_app_root: "
                "set the one that it was moved with, and take the values back into `.env` first"
            )

    def launch_with(self, credential: Path) -> None:
        """Let systemd decrypt ``credential`` for the unit, and a launcher make it the environment of its program."""
        content = self._launch(credential)
        LAUNCHER.parent.mkdir(parents=True, exist_ok=True)
        LAUNCHER.parent.chmod(0o755)  # whatever root's umask is: the unit's user runs what is in it
        durable.sync_folder(LAUNCHER.parent.parent)
        durable.write_file(LAUNCHER, LAUNCHER_TEXT.encode(), make_executable)
        self._write_drop_in(self._drop_in(LAUNCH), content)

    def _launch(self, credential: Path) -> str:
        command = self._command()
        return (
            "# The values of the application come from a credential that only this host opens (migrate_delivery.yml).\n[Service]\n"
            f"LoadCredentialEncrypted={credential.name}:{credential}\n"
            f"ExecStart=\nExecStart={command[1]}{LAUNCHER} {credential.name} {command[2]}\n"
        )

    def launch_alone(self) -> None:
        """Take ``launch_with`` back."""
        durable.remove(self._drop_in(LAUNCH))
        self._systemctl("daemon-reload")

    def _command(self) -> re.Match[str]:
        """What the unit starts, as its files say it: the prefix of systemd, and the command line."""
        commands: list[str] = []
        for path in self.definitions():
            if path.name == LAUNCH:
                continue
            # as systemd reads it: a comment does not end a line that goes on
            lines = re.sub(r"^[ \t]*[#;].*\n", "", path.read_text(errors="replace"), flags=re.MULTILINE)
            for line in re.sub(r"\\\n", " ", lines).splitlines():
                name, _, value = (part.strip() for part in line.partition("="))
                if name == "ExecStart":
                    commands = [*commands, value] if value else []
        found = re.fullmatch(r"([-:+!]*)([^-:+!@\s].*)", commands[0]) if len(commands) == 1 else None
        if found is None:
            raise KeyturnError(
                f"service {self.name}: the unit {self.unit} has {len(commands)} ExecStart= lines that a launcher could stand "
                "before, and one is needed, without @: name the program in one line"
            )
        return found

    def _drop_in(self, name: str) -> Path:
        return UNITS / f"{self.unit}.d" / name

    def _write_drop_in(self, path: Path, content: str) -> None:
        changed = not _holds(path, content)
        if changed:
            path.parent.mkdir(exist_ok=True)
            durable.sync_folder(UNITS)
            durable.write_file(path, content.encode(), make_readable)
        # a call that was killed may have left it written and not loaded
        if changed or self._property("NeedDaemonReload") == "yes":
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


def _holds(path: Path, content: str) -> bool:
    return path.exists() and path.read_bytes() == content.encode()


def make_readable(fd: int) -> None:
    """Give a unit file the mode that systemd expects."""
    os.fchmod(fd, 0o644)


def make_executable(fd: int) -> None:
    """Give a program the mode of one that everybody may run."""
    os.fchmod(fd, 0o755)
