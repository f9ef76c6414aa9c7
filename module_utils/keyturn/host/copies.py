"""Copies of values in an application's own folder: what stands in a small file where the catalogue does not declare it.

A copy is found by comparison, not by what a secret looks like, so it is one.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..base import files, folders, leaks, shown
from ..base.errors import KeyturnError
from ..ground import consumers, owner
from ..ground.consumers import Consumer
from .rotation import Holding

LARGEST_BYTES = 1 << 20
DEADLINE_SECONDS = 20.0
MOST_LINES = 10
MOST_COPIES = 100
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Copy(NamedTuple):
    """A file, and the lines on which it holds the value of a variable."""

    path: str
    name: str
    lines: list[int]

    def __str__(self) -> str:
        """Return it as a sentence."""
        shown = ", ".join(str(line) for line in self.lines[:MOST_LINES])
        more = f" and {len(self.lines) - MOST_LINES} more" if len(self.lines) > MOST_LINES else ""
        return f"{self.path} holds {self.name} (line {shown}{more})"


class _Sought(NamedTuple):
    """The spellings of the values of one secret, and its consumers by file: in those they may stand, in their place."""

    spellings: dict[str, list[bytes]]
    consumers: dict[Path, Consumer]


def undeclared(
    held: Sequence[tuple[Holding, Mapping[str, str]]], deadline_seconds: float = DEADLINE_SECONDS
) -> tuple[list[Copy], list[str]]:
    """Return the copies of values below the application's root, and sentences about what was not looked at.

    Each rotation comes with the values to look for; placeholders and what stands in any text are no values. Files are read
    up to 1 MiB, those near to the root first; git's own folder and the state folder are left out.
    """
    first = held[0][0]
    root, user = first.app_root.resolve(), first.app_user
    sought = [_sought(holding, values) for holding, values in held]
    found: list[Copy] = []
    unread = 0
    unseen: list[str] = []
    end = time.monotonic() + deadline_seconds
    for path in _files(root, {root / ".git", first.state_dir.resolve()}, user, unseen):
        if time.monotonic() > end:
            return found, [f"{root} was looked through for {deadline_seconds:g} s only, up to {shown.name(str(path))}"]
        try:
            with owner.looking(path, user):  # a folder of root's may have one of another user's in it
                content = _content(path)
        except (OSError, KeyturnError):
            unread += 1
            continue
        found += (copy for one in sought for copy in _copies(path, content, one))
        if len(found) >= MOST_COPIES:
            return found, [f"{root} was looked through for {len(found)} copies only, up to {shown.name(str(path))}"]
    return found, unseen + ([f"{unread} files below {root} could not be read"] if unread else [])


def _sought(holding: Holding, values: Mapping[str, str]) -> _Sought:
    spellings = {
        name: [spelling.encode() for spelling in leaks.spellings(value)]
        for name, value in values.items()
        if len(value) >= leaks.SMALLEST_VALUE and not consumers.is_placeholder(value)
    }
    return _Sought(spellings, {consumer.path.resolve(): consumer for consumer in holding.consumers()})


def _files(root: Path, without: set[Path], user: str | None, unseen: list[str]) -> Iterator[Path]:
    """The regular files below ``root``, near ones first; ``unseen`` gets sentences about folders that are not listed whole."""
    try:
        for entry in folders.below(root, without, owner.listing(user, unseen)):
            if entry.is_file(follow_symlinks=False):
                yield Path(entry.path)
    except folders.TooMany as error:
        unseen.append(str(error))


def _content(path: Path) -> bytes:
    """Return what a small file holds, in UTF-8 where it says by its first bytes that it is UTF-16, and nothing of a larger one."""
    with files.opened(path, os.O_NOFOLLOW) as file:
        content = file.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        return b""
    return content.decode("utf-16", "replace").encode() if content.startswith(UTF_16) else content


def _copies(path: Path, content: bytes, sought: _Sought) -> Iterator[Copy]:
    if path in sought.consumers:
        with contextlib.suppress(KeyturnError):  # of a file that a rotation could not turn, all is told
            content = consumers.without(sought.consumers[path], sought.spellings)
    for name, spellings in sought.spellings.items():
        if any(spelling in content for spelling in spellings):
            lines = enumerate(content.split(b"\n"), 1)
            at = [number for number, line in lines if any(spelling in line for spelling in spellings)]
            yield Copy(shown.name(str(path)), name, at)
