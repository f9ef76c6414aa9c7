"""Services that systemd manages, with a start gate: a half-switched host starts nothing, whatever boots or restarts it."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..base import durable, files, log_lines, procfs, programs
from ..base.errors import KeyturnError
from ..base.listening import Listening
from ..base.procfs import Moment
from . import unit
from .service import LOG_BYTES, POLL_SECONDS, Service
from .unit import Page

UNITS = Path("/etc/systemd/system")
# of drop-ins the last counts, and people's are called override.conf
DROP_IN = "zz-keyturn.conf"
LAUNCH = "zz-keyturn-credential.conf"
# settings that systemd keeps in one list
FAMILIES = ("Condition", "LoadCredential")
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

    @functools.cached_property
    def unit(self) -> str:
        """The unit's name as systemd has it: with its suffix, and not a second one that it goes by."""
        found = self._systemctl("show", "--property", "Id", "--value", str(self.spec["unit"])).stdout.split()
        if len(found) != 1:
            raise KeyturnError(
                f"service {self.name}: systemd has {len(found)} units for {self.spec['unit']}, and one is needed: correct `unit`"
            )
        return found[0]

    @property
    def log_place(self) -> str:
        """The command that shows its journal."""
        return f"`journalctl -u {self.spec['unit']}`"

    @property
    def start_command(self) -> str:
        """The command of systemd."""
        return f"systemctl start {self.spec['unit']}"

    def stop(self) -> None:
        """Stop what could start the unit, then the unit; KeyturnError where a process of it is left."""
        asked, began = self._ask(), procfs.now()
        self.note_companions()
        if asked.triggers:
            self._systemctl("stop", *asked.triggers)
        self._systemctl("stop", self.unit, seconds=asked.stop_seconds)
        self._end_all(asked.one("ControlGroup"), began)

    def _end_all(self, cgroup: str, began: Moment) -> None:
        deadline = time.monotonic() + self.spec["stop_timeout_seconds"]
        while left := self._left(cgroup, began):
            if not self.spec.get("kill_left") or time.monotonic() > deadline:
                named = ", ".join(f"{pid} ({procfs.command_name(pid)})" for pid in left)
                raise KeyturnError(
                    f"service {self.name}: the unit {self.unit} is stopped, and processes of it are left: {named}"
                )
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)

    def _left(self, cgroup: str, began: Moment) -> list[int]:
        """What has outlived a stop. Where no gate is closed another unit may have started this one again, with processes of its own."""
        found = procfs.in_cgroup(cgroup)
        return procfs.older(found, began) if found and self._ask().running else found

    def start(self) -> None:
        """Start the unit, behind the sockets that hand it its descriptors. KeyturnError when systemd says that one failed.

        A path waits for ``start_companions``: behind a closed gate it has triggered so often that systemd may refuse to start it.
        """
        noted = set(self._noted())
        sockets = [name for name in self._ask().triggers if name in noted and name.endswith(".socket")]
        units = [*sockets, self.unit]
        # a unit that failed often in a short time would be refused for that alone
        self._systemctl("reset-failed", *units, check=False)
        self._systemctl("start", *units)

    def reread(self) -> None:
        """Reload the unit, or start it. Its command, or the signal, may end before the process has read anything."""
        self._systemctl("reset-failed", self.unit, check=False)
        signal = self.spec.get("reload_signal")
        if signal and self._ask().running:
            self._systemctl("kill", "--kill-whom=main", f"--signal={signal}", self.unit)
        else:
            self._systemctl("start" if signal else "reload-or-restart", self.unit)

    def page(self) -> str:
        """What systemd says of the unit, as it has loaded it."""
        return str(self._ask())

    def processes(self) -> list[int]:
        """All processes of the unit's control group."""
        return procfs.in_cgroup(self._property("ControlGroup"))

    def _own(self, listening: Sequence[set[int]]) -> set[int]:
        return set(self.processes())

    def _is_own(self, one: Listening) -> bool:
        """Of processes of the unit's control group alone, or of systemd, which hands sockets over.

        Root that may not look into processes of others, as in a container, sees no holder: then it is a socket of the unit's users.
        """
        holders, own = set(procfs.holders_of(one.inode)), self.processes()
        if not holders:
            return one.user in {procfs.user_of(pid) for pid in own}
        return holders - {1} <= {*own}

    def _check_main_process(self, asked: Page) -> None:
        """A stop ends what is in the unit's control group: a session of PAM, or a container, has one of its own."""
        if asked.pid and asked.pid not in procfs.in_cgroup(asked.one("ControlGroup")):
            raise KeyturnError(
                f"service {self.name}: the unit {self.unit} cannot be rotated: its main process {asked.pid} runs in another control "
                "group, and a stop would not reach what it has started: take PAMName= away, or what moves it"
            )

    def note_companions(self) -> None:
        """Note what runs of the units that start this one, or that systemd stops with it and with each of them."""
        known, asked = {self.unit}, [self._ask()]
        running: list[str] = []
        while asked:
            new = {name for page in asked for name in [*page.triggers, *page.followers]} - known
            known |= new
            asked = self._ask_of(sorted(new)) if new else []
            running += [page.one("Id") for page in asked if page.running]
        if running:
            durable.write_json(self._companions, {"units": sorted({*self._noted(), *running})})

    def start_companions(self) -> str:
        """Start what was noted."""
        noted = self._noted()
        if not noted:
            return ""
        self._systemctl("reset-failed", *noted, check=False)
        done = self._systemctl("start", *noted, check=False)
        if done.returncode != 0:
            down = [page.one("Id") for page in self._ask_of(noted) if not page.running]
            return f"service {self.name}: {', '.join(down or noted)} ran before, and does not start again"
        return ""

    def forget_companions(self) -> None:
        """Forget what was noted."""
        durable.remove(self._companions)

    @property
    def _companions(self) -> Path:
        return self.state / f"{self.name}.companions.json"

    def _noted(self) -> list[str]:
        return list((durable.read_json(self._companions) or {"units": []})["units"])

    def _ask(self) -> Page:
        return self._ask_of([self.unit])[0]

    def _ask_of(self, names: Sequence[str]) -> list[Page]:
        return unit.pages(self._systemctl("show", f"--property={','.join(unit.QUESTIONS)}", *names).stdout)

    def failed(self) -> bool:
        """Tell whether systemd has given up on the unit."""
        return self._property("ActiveState") == "failed"

    def pid(self) -> int | None:
        """The unit's main process."""
        pid = int(self._property("MainPID") or 0)
        return pid or None

    def log_lines(self) -> Iterator[str] | None:
        """The lines that the journal has of the unit since it started; None where it has lost that start."""
        invocation = self._property("InvocationID")
        pid = self.pid()
        young = procfs.now().seconds - self.spec["health_timeout_seconds"]
        if pid is not None and procfs.older([pid], procfs.now()._replace(seconds=young)):
            begun = self._run(
                "journalctl", "--quiet", "--output=cat", "--lines=1", "_PID=1", f"INVOCATION_ID={invocation}"
            )
            if not begun.stdout:
                return None  # what was said just after it may be lost as well
        done = self._printed("journalctl", "--quiet", "--output=cat", f"_SYSTEMD_INVOCATION_ID={invocation}")
        return log_lines.split(done.content)

    def check(self) -> None:
        """Refuse a unit that systemd does not know, or that a rotation cannot handle."""
        asked = self._ask()
        state = asked.one("LoadState")
        if state != "loaded":
            raise KeyturnError(f"service {self.name}: systemd has no unit {self.unit} (it is {state}): correct `unit`")
        why = unit.refusal(asked, self.spec)
        if why:
            raise KeyturnError(f"service {self.name}: the unit {self.unit} cannot be rotated: {why}")
        self._check_main_process(asked)

    def reads(self, path: Path) -> bool:
        """Tell whether the unit's processes have to read ``path``: an environment file is read by systemd itself."""
        named = [line.rpartition(" (")[0] for line in self._property("EnvironmentFiles").splitlines()]
        return str(path) not in named

    def definitions(self) -> list[Path]:
        """The unit file and its drop-ins."""
        named = [self._property("FragmentPath"), *unit.names(self._property("DropInPaths"))]
        return [Path(name) for name in named if name]

    def fit_start_gate(self, gate: Path) -> None:
        """Let nothing start the unit while ``gate`` exists, across reboots."""
        head = "# A rotation of keyturn that is not finished keeps this unit stopped.\n"
        self._write_drop_in(self._drop_in(DROP_IN), f"{head}[Unit]\nConditionPathExists=!{_literal(gate)}\n")

    def launched_with(self) -> str:
        """Return the systemd credential that the unit's program is launched with, empty where it is none of keyturn's."""
        drop_in = self._drop_in(LAUNCH)
        found = (
            re.search(r"^LoadCredentialEncrypted=([^:]+):", drop_in.read_text(errors="replace"), re.MULTILINE)
            if drop_in.exists()
            else None
        )
        return found[1].replace("%%", "%") if found else ""

    def is_launched_with(self, systemd_credential: Path) -> bool:
        """Tell whether ``launch_with`` has nothing to do: the unit's command may have changed since, or the launcher be gone."""
        written = _holds(self._drop_in(LAUNCH), self._launch(systemd_credential)) and _holds(LAUNCHER, LAUNCHER_TEXT)
        return written and f"path={LAUNCHER} " in self._ask().one("ExecStart")

    def check_launch(self, systemd_credential: Path) -> None:
        """Refuse a unit for which ``launch_with`` cannot work. Changes nothing."""
        self._launch(systemd_credential)
        roots = [f"{name}={root}" for name in ("RootDirectory", "RootImage") for root in self._settings(name)[-1:]]
        if roots:
            raise KeyturnError(
                f"service {self.name}: the unit {self.unit} has a root of its own ({', '.join(roots)}), in which {LAUNCHER} is not "
                "found: leave its values in `.env`"
            )
        given = self.launched_with()
        if given not in ("", systemd_credential.name):
            raise KeyturnError(
                f"service {self.name}: the unit {self.unit} is launched with the credential {given}, of another keyturn_app_root: "
                "set the one that it was moved with, and take the values back into `.env` first"
            )

    def launch_with(self, systemd_credential: Path) -> None:
        """Let systemd decrypt ``systemd_credential`` for the unit, and a launcher make it the environment of its program."""
        content = self._launch(systemd_credential)
        LAUNCHER.parent.mkdir(parents=True, exist_ok=True)
        LAUNCHER.parent.chmod(0o755)  # whatever root's umask is: the unit's user runs what is in it
        durable.sync_folder(LAUNCHER.parent.parent)
        durable.write_file(LAUNCHER, LAUNCHER_TEXT.encode(), make_executable)
        self._write_drop_in(self._drop_in(LAUNCH), content)

    def _launch(self, systemd_credential: Path) -> str:
        command = self._command()
        return (
            "# The values of the application come from a credential that only this host opens (migrate_delivery.yml).\n[Service]\n"
            f"LoadCredentialEncrypted={_literal(systemd_credential.name)}:{_literal(systemd_credential)}\n"
            f"ExecStart=\nExecStart={command[1]}{LAUNCHER} {_literal(systemd_credential.name)} {command[2]}\n"
        )

    def launch_alone(self) -> None:
        """Take ``launch_with`` back."""
        durable.remove(self._drop_in(LAUNCH))
        self._load(self._drop_in(LAUNCH))

    def reload(self) -> None:
        """Let systemd load all unit files again."""
        done = self._systemctl("daemon-reload", check=False)
        if done.returncode != 0:
            raise KeyturnError(
                f"service {self.name}: systemd does not load unit files again: `systemctl daemon-reload` says why; it wants 16 MiB "
                "free in /run"
            )

    def _load(self, path: Path) -> None:
        """See that systemd knows a drop-in as it is, also after a call that was killed. What it has never seen it need not forget."""
        asked = self._ask()
        if (str(path) in asked.names("DropInPaths")) != path.exists() or asked.one("NeedDaemonReload") == "yes":
            self.reload()

    def _command(self) -> re.Match[str]:
        """What the unit starts, as its files say it: the prefix of systemd, and the command line."""
        commands = self._settings("ExecStart", without=LAUNCH)
        found = re.fullmatch(r"([-:+!]*)([^-:+!@\s].*)", commands[0]) if len(commands) == 1 else None
        if found is None:
            raise KeyturnError(
                f"service {self.name}: the unit {self.unit} has {len(commands)} ExecStart= lines that a launcher could stand "
                "before, and one is needed, without @: name the program in one line"
            )
        return found

    def _settings(self, wanted: str, without: str = "") -> list[str]:
        """What the files that systemd has loaded set, one after the other: an empty value takes back what stood before.

        One of ``FAMILIES`` takes back all of its family.
        """
        values: list[str] = []
        for path in self.definitions():
            if path.name == without:
                continue
            # as systemd reads it: a comment does not end a line that goes on
            text = files.read(path).decode(errors="replace")
            lines = re.sub(r"^[ \t]*[#;].*\n", "", text, flags=re.MULTILINE)
            for line in re.sub(r"\\\n", " ", lines).splitlines():
                name, _, value = (part.strip() for part in line.partition("="))
                if name == wanted and value:
                    values = [*values, value]
                elif not value and _family(name) == _family(wanted):
                    values = []
        return values

    def _drop_in(self, name: str) -> Path:
        return UNITS / f"{self.unit}.d" / name

    def _write_drop_in(self, path: Path, content: str) -> None:
        """Write and load a drop-in; KeyturnError where it does not count by what systemd has loaded."""
        if not _holds(path, content):
            path.parent.mkdir(exist_ok=True)
            durable.sync_folder(UNITS)
            durable.write_file(path, content.encode(), make_readable)
        self._load(path)
        for line in content.splitlines():
            name, _, value = line.partition("=")
            if value and value not in self._settings(name):
                raise KeyturnError(
                    f"service {self.name}: {path} sets {name}, without effect: systemctl cat {self.unit} shows which file stands in "
                    "its place or takes it back, and that has to go"
                )

    def _property(self, name: str) -> str:
        return self._systemctl("show", "--property", name, "--value", self.unit).stdout.strip()

    def _systemctl(self, *arguments: str, check: bool = True, seconds: float = 0) -> subprocess.CompletedProcess[str]:
        done = self._run("systemctl", *arguments, seconds=seconds)
        if check and done.returncode != 0:
            raise KeyturnError(
                f"service {self.name}: systemctl {arguments[0]} {self.spec['unit']} failed with exit code {done.returncode}; "
                f"{self.log_place} says why"
            )
        return done

    def _run(self, *command: str, seconds: float = 0) -> subprocess.CompletedProcess[str]:
        """Run a command for as long as the manager itself may take (``seconds``), and the inventory's limits beside."""
        done = self._printed(*command, seconds=seconds)
        if done.code is None:  # it was ended, and how it would have ended nobody knows
            raise KeyturnError(f"service {self.name}: {command[0]} printed more than {LOG_BYTES >> 20} MiB")
        return subprocess.CompletedProcess(command, done.code, done.content.decode(errors="replace"))

    def _printed(self, *command: str, seconds: float = 0) -> programs.Said:
        limit = seconds + self.spec["stop_timeout_seconds"] + self.spec["health_timeout_seconds"]
        try:
            return programs.said(command, LOG_BYTES, limit)
        except OSError as error:
            raise KeyturnError(f"service {self.name}: {command[0]} cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired:
            raise KeyturnError(f"service {self.name}: {command[0]} did not end within {limit} s") from None


def _family(setting: str) -> str:
    return next((family for family in FAMILIES if setting.startswith(family)), setting)


def _holds(path: Path, content: str) -> bool:
    return path.exists() and path.read_bytes() == content.encode()


def _literal(name: Path | str) -> str:
    """Return a name as systemd writes it: a percent sign begins what it replaces. KeyturnError for one that is more than a line."""
    if not str(name).isprintable():
        raise KeyturnError(f"{str(name)!r} cannot stand in a unit file: give that folder another name")
    return str(name).replace("%", "%%")


def make_readable(fd: int) -> None:
    """Give a unit file the mode that systemd expects."""
    os.fchmod(fd, 0o644)


def make_executable(fd: int) -> None:
    """Give a program the mode of one that everybody may run."""
    os.fchmod(fd, 0o755)
