"""The files of an application of which nothing is known yet: its settings and its databases, found in its folder."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..base import files, shown
from ..base.errors import KeyturnError
from . import owner
from .consumers import MOST_BYTES, logins, settings
from .consumers.logins import Login
from .consumers.settings import Setting
from .rows import survey as rows

# what others have written, and is neither settings nor data
PASSED_OVER = (".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", "site-packages")
MOST_FILES, MOST_ENTRIES, MOST_FINDINGS, MOST_SECONDS = 20_000, 100_000, 20, 600


class Secret(NamedTuple):
    """What looks like a secret, and the file that it stands in; one that stands in no file has ``place`` only in words."""

    place: str
    setting: Setting


class Files(NamedTuple):
    """What was found; ``findings`` are sentences about what was not looked at."""

    secrets: list[Secret]
    # by its path, the kind of row store
    databases: dict[Path, str]
    # by its address, which stays on the host, where the login of a server stands
    servers: dict[tuple[str, ...], tuple[Path, Login]]
    findings: list[str]


def look(root: Path, user: str | None, more: Sequence[Path]) -> Files:
    """Look through a folder and at ``more`` files, each as the user whose ground it lies on."""
    found = Files([], {}, {}, [])
    end = time.monotonic() + MOST_SECONDS
    for count, path in enumerate(itertools.chain(more, _below(root, user, found.findings)), 1):
        if count > MOST_FILES or time.monotonic() > end:
            found.findings.insert(
                0,
                f"{root} was looked through for {MOST_FILES:,} files or {MOST_SECONDS} seconds only: name the others by keyturn_files",
            )
            break
        try:
            _one(path, user, found)
        except FileNotFoundError:
            if path in more:
                found.findings.append(f"{shown.name(str(path))} is not there: correct keyturn_files")
        except (OSError, KeyturnError) as error:
            if path in more or settings.kind(path) or len(found.findings) < MOST_FINDINGS:
                found.findings.append(
                    f"{shown.name(str(path))} was not looked at: {getattr(error, 'strerror', None) or error}"
                )
    del found.findings[MOST_FINDINGS:]
    return found


def environment(path: Path, user: str | None, found: Files) -> None:
    """Take in a file of an environment, whatever its name is; nothing where it cannot be read."""
    with contextlib.suppress(OSError, KeyturnError), owner.looking(path, user):
        _settings(path, files.read(path, MOST_BYTES), found, as_environment=True)


def _settings(path: Path, content: bytes, found: Files, as_environment: bool = False) -> None:
    found.secrets.extend(Secret(str(path), one) for one in settings.secrets(path, content, as_environment))
    for login in logins.logins(path, content, as_environment):
        found.servers.setdefault(login.address, (path, login))


def _one(path: Path, user: str | None, found: Files) -> None:
    with owner.looking(path, user), files.opened(path, os.O_NOFOLLOW) as file:
        head = file.read(rows.HEAD_BYTES)
        if kind := rows.kind(head):
            found.databases[path] = kind
        elif settings.kind(path) and os.fstat(file.fileno()).st_size <= MOST_BYTES:
            _settings(path, head + file.read(MOST_BYTES), found)


def _below(root: Path, user: str | None, findings: list[str]) -> Iterator[Path]:
    """The regular files below a folder, level by level; no symbolic link is followed."""
    folders = deque([root])
    while folders:
        folder = folders.popleft()
        try:
            with owner.looking(folder / "each file", user), os.scandir(folder) as listed:
                entries = sorted(itertools.islice(listed, MOST_ENTRIES), key=lambda entry: entry.name)
                kinds = [entry.stat(follow_symlinks=False).st_mode for entry in entries]
        except (OSError, KeyturnError) as error:
            findings.append(
                f"{shown.name(str(folder))} was not looked through: {getattr(error, 'strerror', None) or error}"
            )
            continue
        for entry, mode in zip(entries, kinds, strict=True):
            if stat.S_ISDIR(mode) and entry.name not in PASSED_OVER and not _is_environment(folder / entry.name):
                folders.append(folder / entry.name)
            elif stat.S_ISREG(mode):
                yield folder / entry.name


def _is_environment(folder: Path) -> bool:
    """A virtual environment of Python has libraries, and nothing of the application's."""
    return os.path.lexists(folder / "pyvenv.cfg")


def known(secrets: Sequence[Secret]) -> Collection[str]:
    """Return the values, which stay on the host."""
    return {one.setting.value for one in secrets}
