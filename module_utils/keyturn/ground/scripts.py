"""Programs of the application's: start and stop scripts, its own checks. They run in its folder, as its user."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ..base import durable, programs
from ..base.errors import KeyturnError
from . import owner

REMEDY = "set keyturn_app_user to the application's user, or give the file and its folders to root"
PATH = "/usr/local/bin:/usr/bin:/bin"
LOOK_SECONDS = 0.3
TEST_SECONDS = 60
PIPE_BYTES = 1 << 16
# keyctl(2), of which the C library knows nothing, and its first operation
KEYCTL, JOIN_SESSION = {"x86_64": 250, "aarch64": 219}, 1


def _leave_keys() -> None:
    """Leave the session's keyring of whoever has logged in: a change of user does not, and who has it reads what is in it."""
    import ctypes  # only what runs a program needs it

    number = KEYCTL.get(os.uname().machine)
    if number is not None and sys.maxsize > 1 << 32:
        ctypes.CDLL(None).syscall(number, JOIN_SESSION, None)


@contextlib.contextmanager
def _pipe(content: bytes) -> Iterator[int]:
    """Return what a program reads ``content`` from, and then its end: as much as a pipe holds, so that nobody waits for a reader."""
    if len(content) > PIPE_BYTES:
        raise KeyturnError(f"{len(content)} bytes are more than a program is told: a value is too long")
    reader, writer = os.pipe()
    try:
        os.write(writer, content)
        os.close(writer)
        yield reader
    finally:
        os.close(reader)


@contextlib.contextmanager
def alone(lock: Path, seconds: float, program: str) -> Iterator[int]:
    """Yield a descriptor for a program to keep, so that the next call knows of it: one must not have its way after another.

    KeyturnError where one that was given it, or what that has started, goes on for longer than ``seconds``.
    """
    fd = os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not durable.take_lock(fd, seconds):
            raise KeyturnError(
                f"{program} of a call before goes on: wait until it ends, or end it, then run this again"
            )
        yield fd
    finally:
        os.close(fd)


class Scripts(NamedTuple):
    """The application's folder and its user, that of this process if empty; ``dry`` in check mode, when none is to be run."""

    app_root: Path
    app_user: str | None
    dry: bool = False

    @property
    def user(self) -> pwd.struct_passwd:
        """The application's user; KeyturnError for one that is not there, or that this process cannot become."""
        if not self.app_user:
            return pwd.getpwuid(os.geteuid())
        try:
            user = pwd.getpwnam(self.app_user)
        except KeyError:
            raise KeyturnError(f"this host has no user {self.app_user}: correct keyturn_app_user") from None
        if os.geteuid() not in (0, user.pw_uid):
            raise KeyturnError(
                f"scripts run as {self.app_user} (keyturn_app_user), and only root can become that user: run as root or as "
                f"{self.app_user}"
            )
        return user

    def place(self, program: str) -> str:
        """Return where a program lies: in the application's folder where it is named with a slash, else on the path."""
        return str(self.app_root / program) if "/" in program else shutil.which(program, path=PATH) or program

    def runnable(self, program: str) -> bool:
        """Tell whether the user can run a program."""
        path = self.place(program)
        if self.user.pw_uid == os.geteuid():
            return os.access(path, os.X_OK) and Path(path).is_file()
        code = self.run(["test", "-f", path, "-a", "-x", path], TEST_SECONDS)
        if code is None:
            raise KeyturnError(f"whether {path} can be run is not known after {TEST_SECONDS} s: {self._who_holds}")
        return code == 0

    @property
    def _who_holds(self) -> str:
        return (
            f"see what stops processes of the user {self.user.pw_name}, or keeps them waiting for a file, and end that"
        )

    def danger(self, command: Sequence[str]) -> str:
        """Say which file of a command another user may change, where root would run it; empty where there is none."""
        if os.getuid() != 0 or self.user.pw_uid != 0:
            return ""
        program, *arguments = command
        # a program may not be there until it is run, and an argument may be no name at all
        named = [self.place(program)] if "/" in self.place(program) else []
        named += [path for argument in arguments if os.path.isfile(path := str(self.app_root / argument))]  # noqa: PTH113
        for path in named:
            if (changed := owner.writer(Path(path))) is not None:
                return f"{path} would run as root, and {changed[0]} may change it ({changed[1]})"
        return ""

    @contextlib.contextmanager
    def _folder(self, name: str) -> Iterator[str]:
        """Open the folder as the user: root would also find the way to one that another user keeps private."""
        try:
            with owner.being(name):
                fd = os.open(self.app_root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise KeyturnError(
                f"{self.app_root} cannot be entered by the user {name}, who runs its programs: {error.strerror}; give the folders above "
                "it a mode with which it can, or correct keyturn_app_user"
            ) from error
        try:
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)

    def run(
        self,
        command: Sequence[str],
        seconds: float,
        up: Callable[[], bool] = lambda: False,
        told: bytes = b"",
        keeps: Sequence[int] = (),
        more: Mapping[str, str] = MappingProxyType({}),
        source: int | None = None,
        into: Callable[[bytes], object] | None = None,
    ) -> int | None:
        """Run a command and return its exit code; None after ``seconds``, when its session is killed.

        One that stays when what it starts is ``up`` has done its work, and goes on. ``told`` is all that it reads from standard input;
        ``keeps`` are descriptors that it has open besides, until it and whatever it starts have ended.

        Its environment is clean, but for ``more``: a variable in it would win over `.env`. No output is kept: an application may
        print what it was given. ``source`` is what it reads from instead, and ``into`` is given what it prints, piece by piece: it has no
        descriptor of the caller's to write to, which it could keep. KeyturnError where it cannot be run, or where root would run what
        another user may change.
        """
        if danger := self.danger(command):
            raise KeyturnError(f"{danger}: {REMEDY}")
        try:
            process = self._started(command, told, keeps, more, source, into is not None)
        except OSError as error:
            raise KeyturnError(f"{command[0]} in {self.app_root} cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired as late:
            raise KeyturnError(
                f"{command[0]} in {self.app_root} has not begun after {late.timeout} s: {self._who_holds}"
            ) from None
        ended: int | None = None
        try:
            ended = _ended(process, seconds, up, into)
        finally:
            if ended is None:
                self._kill(process, command[0])
        return ended

    def _started(
        self,
        command: Sequence[str],
        told: bytes,
        keeps: Sequence[int],
        more: Mapping[str, str],
        source: int | None,
        heard: bool,
    ) -> programs.Process:
        user = self.user
        environment = {
            "HOME": user.pw_dir,
            "LANG": "C.UTF-8",
            "LOGNAME": user.pw_name,
            "PATH": PATH,
            "USER": user.pw_name,
            **more,
        }
        as_user: programs.User = {}
        if user.pw_uid != os.geteuid():
            as_user = {
                "user": user.pw_uid,
                "group": user.pw_gid,
                "extra_groups": os.getgrouplist(user.pw_name, user.pw_gid),
            }
            _leave_keys()
        with self._folder(user.pw_name) as folder, _pipe(told) as given:
            return programs.Process(
                command,
                cwd=folder,
                env=environment,
                stdin=given if source is None else source,
                stdout=subprocess.PIPE if heard else subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=keeps,
                **as_user,
            )

    def _kill(self, process: subprocess.Popen[bytes], program: str) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        if not programs.ends(process):
            raise KeyturnError(
                f"{program} in {self.app_root} (process {process.pid}) does not end although it is killed: see what it waits for, "
                "such as a file system of its user's, and end that"
            )


def _ended(
    process: programs.Process, seconds: float, up: Callable[[], bool], into: Callable[[bytes], object] | None
) -> int | None:
    """Return the exit code, 0 where what goes on is ``up``, None after ``seconds``."""
    deadline = time.monotonic() + seconds
    if into is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            for part in programs.printed(process, seconds):
                into(part)
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(min(LOOK_SECONDS, left))
        if up():
            return 0
    return None
