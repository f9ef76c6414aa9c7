"""Folders that somebody else may fill: listed name by name, up to a number, and never all names at a time."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
from collections import deque
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from .errors import KeyturnError

# of one look, and of a walk, which keeps the folders in memory that it has still to enter
MOST_NAMES, MOST_BELOW = 1_000_000, 200_000


class TooMany(KeyturnError):
    """There are more names than are looked at."""


class _Names:
    """How many names one look may still see."""

    def __init__(self, where: Path, most: int) -> None:
        self.where, self.most, self.left = where, most, most

    def counted(self, entries: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
        """Yield entries; TooMany behind the last that may be seen."""
        for entry in entries:
            if not self.left:
                raise TooMany(
                    f"{self.where} has more than {self.most:,} names, which are not looked through: see what fills it"
                )
            self.left -= 1
            yield entry


def listed(folder: Path, opened: int | None = None) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder, of which ``opened`` may be the descriptor."""
    with os.scandir(folder if opened is None else opened) as entries:
        yield from _Names(folder, MOST_NAMES).counted(entries)


def matching(pattern: str) -> Iterator[Path]:
    """Yield what fits an absolute pattern, as ``glob`` does, in no order."""
    return _matching(Path("/"), Path(pattern).parts[1:], _Names(Path(pattern), MOST_NAMES))


def _matching(folder: Path, parts: tuple[str, ...], names: _Names) -> Iterator[Path]:
    if not parts:
        if os.path.lexists(folder):
            yield folder
        return
    part, rest = parts[0], parts[1:]
    if not glob.has_magic(part):
        yield from _matching(folder / part, rest, names)
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in names.counted(entries):
            if fnmatch.fnmatchcase(entry.name, part) and (part.startswith(".") or not entry.name.startswith(".")):
                yield from _matching(folder / entry.name, rest, names)


def below(
    root: Path,
    without: Container[Path] = (),
    looking: Callable[[Path], AbstractContextManager[None]] = lambda folder: contextlib.nullcontext(),
) -> Iterator[os.DirEntry[str]]:
    """Yield what is below a folder and is none itself, level by level; no symbolic link is followed.

    Each folder is listed within ``looking``, which may refuse it by an OSError.
    """
    folders, names = deque([root]), _Names(root, MOST_BELOW)
    while folders:
        folder, entries = folders.popleft(), list[os.DirEntry[str]]()
        # gone, or closed to this user
        with contextlib.suppress(OSError), looking(folder), os.scandir(folder) as found:
            entries = sorted(names.counted(found), key=lambda entry: entry.name)
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield entry
            elif (path := Path(entry.path)) not in without:
                folders.append(path)
