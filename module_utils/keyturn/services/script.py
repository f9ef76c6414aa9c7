"""Services with a start and a stop script of the application's: the manager ``script``."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import heapq
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypedDict

from ..base import durable, files, folders, log_lines, procfs
from ..base.errors import KeyturnError
from ..base.listening import Listening
from ..base.procfs import Moment
from ..ground import owner
from ..ground.scripts import REMEDY, Scripts
from .service import LOG_BYTES, POLL_SECONDS, Service

# how much of a log before its end tells that it has gone on, and was not begun anew
TAIL_BYTES = 1024
# of a log in all, and of a line; pieces of a longer one overlap by as much as a value may be long
LOGGED_BYTES, LINE_BYTES, OVERLAP_BYTES = 1 << 30, 1 << 13, 1 << 10
# of files beside a log that may have been the log
MOST_ROTATED = 100
MARK = {"moment": [str, float], "end": int, "file": [int], "tail": str}


class LogMark(TypedDict):
    """Which file a log is (device and inode), where it ended, and a digest of what stood before that."""

    end: int
    file: list[int]
    tail: str


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
