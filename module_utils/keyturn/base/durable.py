"""Writes that survive a power loss, and folders that only their owner reads."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import files, folders, shape
from .errors import KeyturnError

# what ends the name of a temporary file
LEFT = re.compile(r"\.keyturn-[0-9a-f]{16}")
# a report has what each host may answer
MOST_BYTES = 1 << 28


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable: a rename or a new file is lost without it."""
    with _opened(folder) as fd:
        os.fsync(fd)


def write_file(path: Path, content: bytes, before_rename: Callable[[int], None] | None = None) -> None:
    """Replace ``path`` atomically and durably: temporary file (0600), fsync, rename, fsync of the folder.

    ``before_rename`` receives the descriptor of the temporary file, to set owner and mode.
    A reader sees the old content or the new, whole. An error leaves the old content and no temporary file;
    a kill may leave one, which the next write to the same path removes, or ``clean``.
    """
    with _opened(path.parent) as folder:
        _put(folder, path, path.name, content, before_rename)
        os.fsync(folder)


def rehearse(path: Path, content: bytes, before_rename: Callable[[int], None]) -> None:
    """Do all that ``write_file`` does and leave ``path`` as it is: the file comes to another temporary name, and goes."""
    with _opened(path.parent) as folder:
        tried = _temporary(path)
        _put(folder, path, tried, content, before_rename)
        os.fsync(folder)
        _unlink(folder, tried)


def clean(path: Path) -> None:
    """Remove what a killed ``write_file`` or ``rehearse`` left beside ``path``: it may hold a value."""
    with contextlib.suppress(FileNotFoundError), _opened(path.parent) as folder:
        _clean(folder, path)


def left(path: Path) -> list[Path]:
    """Return what ``clean`` would remove."""
    with contextlib.suppress(FileNotFoundError), _opened(path.parent) as folder:
        return [path.with_name(name) for name in _left(folder, path)]
    return []


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Hold a folder open. What is named by its descriptor stays in it, whatever somebody makes of its path meanwhile."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _put(
    folder: int, path: Path, name: str, content: bytes, before_rename: Callable[[int], None] | None = None
) -> None:
    """Let ``name`` in ``folder``, where ``path`` lies, be a new file."""
    _clean(folder, path)
    temporary = _temporary(path)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        try:
            _write_all(fd, content)
            if before_rename is not None:
                before_rename(fd)
            os.fsync(fd)
        finally:
            os.close(fd)
        _check_there(folder, path.parent)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        _unlink(folder, temporary)
        raise


def _temporary(path: Path) -> str:
    """Return a name that nobody can know before, and that ``_left`` knows again."""
    return f"{path.name}.keyturn-{os.urandom(8).hex()}"


def _left(folder: int, path: Path) -> list[str]:
    """Return the temporary files of ``path``: by their names, and of nobody else than who makes them.

    ``before_rename`` may have given one to the owner of the file.
    """
    listed = (entry.name for entry in folders.listed(path.parent, folder))
    names = [name for name in listed if name.startswith(path.name) and LEFT.fullmatch(name, len(path.name))]
    makers = {os.geteuid()}
    if names:
        with contextlib.suppress(FileNotFoundError):
            makers.add(os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_uid)
    found = []
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # whoever else is there may have been faster
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_uid in makers:
                found.append(name)
    return sorted(found)


def _clean(folder: int, path: Path) -> None:
    names = _left(folder, path)
    for name in names:
        _unlink(folder, name)
    if names:
        os.fsync(folder)


def _unlink(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _check_there(folder: int, place: Path) -> None:
    """Refuse a folder whose path names another one by now: whoever reads the file there would find the old content."""
    there = False
    with contextlib.suppress(OSError):
        there = os.path.samestat(os.fstat(folder), place.stat())
    if not there:
        raise KeyturnError(
            f"{place} was exchanged for another folder while a file in it was to be replaced, and no file was: see who moves folders "
            "there, then run this again"
        )


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Replace ``path`` with ``document`` as JSON, as ``write_file`` does."""
    write_file(path, json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")


def read_json(path: Path, form: object = dict) -> Any:
    """Return the JSON object in ``path``, or None where there is no file; KeyturnError where it has not the shape ``form``.

    Whoever reads it has given the shape, and names the type that goes with it.
    """
    try:
        content = files.read(path, MOST_BYTES)
    except FileNotFoundError:
        return None
    return parse_json(path, content, form)


def parse_json(path: Path, content: bytes, form: object = dict) -> Any:
    """Return the JSON object in ``content``, which is that of ``path``; KeyturnError where it has not the shape ``form``."""
    document = shape.parse(content)
    if not isinstance(document, dict):
        raise KeyturnError(f"{path} is not a JSON object: it was not written by keyturn, or the disk damaged it")
    shape.check(
        str(path), form, document, "it was not written by keyturn, or somebody or the disk damaged it; restore it"
    )
    return document


def remove(path: Path) -> None:
    """Remove the file ``path`` durably, and what a killed write left of it; nothing happens where there is none."""
    with contextlib.suppress(FileNotFoundError), _opened(path.parent) as folder:
        _clean(folder, path)
        os.unlink(path.name, dir_fd=folder)
        os.fsync(folder)


def check_private_folder(folder: Path) -> None:
    """Refuse a folder that another user owns or can read. A missing one is fine."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise KeyturnError(f"{folder} cannot be read by the user {os.geteuid()}: run as its owner") from error
    if not stat.S_ISDIR(status.st_mode):
        raise KeyturnError(f"{folder} is not a folder: set keyturn_state_dir to a folder of keyturn's own")
    if status.st_uid != os.geteuid():
        raise KeyturnError(
            f"{folder} belongs to the user {status.st_uid} and keyturn runs as {os.geteuid()}: "
            "run as its owner, or set keyturn_state_dir to a folder of your own"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise KeyturnError(f"{folder} is open to other users: chmod 700 {folder}")


def make_reports_folder(folder: Path) -> None:
    """Make ``folder`` (0700) and what is missing above it, and narrow it where it was made wider; refuse one that cannot be made."""
    try:
        _make_missing(folder)
    except OSError as error:
        raise KeyturnError(
            f"{folder} cannot be made: {error.strerror}: set keyturn_reports_dir to a folder that you can write"
        ) from None
    narrow(folder)


def narrow(place: Path | int) -> None:
    """Take from all other users what they may do with a file or a folder of ours (a path or a descriptor).

    One that belongs to somebody else stays as it is; check_storage.yml tells of it.
    """
    status = os.stat(place)  # noqa: PTH116 - of a descriptor as well
    if status.st_mode & 0o077:
        with contextlib.suppress(PermissionError):
            os.chmod(place, stat.S_IMODE(status.st_mode) & ~0o077)  # noqa: PTH101


def make_private_folder(folder: Path) -> None:
    """Make ``folder`` (0700) and what is missing above it, durably; refuse one that is not private."""
    check_private_folder(folder)
    try:
        _make_missing(folder)
    except PermissionError as error:
        raise KeyturnError(
            f"{error.filename} cannot be made by the user {os.geteuid()}: make it for this user (0700), "
            "or set keyturn_state_dir to a folder of your own"
        ) from error
    check_private_folder(folder)


def _make_missing(folder: Path) -> None:
    """Make each folder that is missing with the mode 0700, whatever the umask, and durably."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        sync_folder(path.parent)


def take_lock(fd: int, wait_seconds: float) -> bool:
    """Lock an open file for this process alone; False where another one still holds it after ``wait_seconds``."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)
        else:
            return True
