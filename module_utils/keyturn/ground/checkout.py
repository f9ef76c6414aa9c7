"""A checkout of the application on the controller, of any size: files and history go by in pieces, and are told by place alone.

The values stay on their hosts. What a host says of them are fingerprints, so each word of a file is hashed as well and compared.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from ..base import files
from ..base.errors import KeyturnError
from ..base.fingerprint import fingerprint
from ..base.leaks import SMALLEST_VALUE
from . import consumers, git, owner

Say = Callable[[str], None]
PIECE_BYTES = 1 << 20
LONGEST_WORD = 1 << 10
BATCH_LINES = 1000
SAY_SECONDS = 5.0
# whoever may write into the repository says how much there is to search
SEARCH_SECONDS = 3600
MOST_SEEN = 200_000
_BINARY_BYTES = 8000  # as git decides what is no text
_LETTER = rb"[!#-&*+\--:=?-Z^_a-z~]"
_WORDS = re.compile(rb"%s{%d,%d}" % (_LETTER, SMALLEST_VALUE, LONGEST_WORD))
_LAST_WORD = re.compile(rb"%s*\Z" % _LETTER)
_JOINTS = re.compile(rb"[=:@&?]+")
_NAME = re.compile(rb"\+\+\+ (?:b/)?(.*?)[\t\r]*$")
_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_SEPARATORS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")


class Place(NamedTuple):
    """A line of a file in the checkout, and the fingerprint of the value that stands there."""

    file: str
    line: int
    mark: str


class Progress:
    """Says now and then how far work has come."""

    def __init__(self, say: Say) -> None:
        self._say, self._next = say, time.monotonic() + SAY_SECONDS

    def at(self, sentence: str) -> None:
        """Say it, unless something was said within the last seconds."""
        if time.monotonic() >= self._next:
            self._say(sentence)
            self._next = time.monotonic() + SAY_SECONDS


def holding(folder: Path, marks: Container[str], say: Say) -> Iterator[Place]:
    """Yield where a file that git has, or would take, holds a value with one of the fingerprints ``marks``.

    A value is found where it stands as a word, between blanks, quotes or brackets, or behind an ``=`` or ``:``; a placeholder
    is none. Raises KeyturnError where ``folder`` is no checkout.
    """
    listed = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = sorted({name for name in listed.split(b"\0") if name and b".." not in name.split(b"/")})
    progress, done = Progress(say), 0
    for number, name in enumerate(names):
        progress.at(f"{folder}: {number} of {len(names)} files, {done >> 20} MiB searched")
        path = folder / os.fsdecode(name)
        try:
            with owner.looking(path):
                opened = files.opened(path, os.O_NOFOLLOW)
        except (OSError, KeyturnError):
            continue  # a link, a pipe, or a file that is deleted and not yet committed
        with opened as file:
            for line, mark in _in_file(file, marks):
                yield Place(os.fsdecode(name), line, mark)
            done += file.tell()


def _in_file(file: IO[bytes], marks: Container[str]) -> Iterator[tuple[int, str]]:
    """Read a text piece by piece; the word at the end of a piece is read again with the next."""
    if b"\0" in file.read(_BINARY_BYTES):
        return
    file.seek(0)
    line, piece = 1, b""
    seen: set[bytes] = set()
    last = False
    while not last:
        more = file.read(PIECE_BYTES)
        last = len(more) < PIECE_BYTES
        piece += more
        whole = len(piece) if last else _last_word(piece)
        for match in _WORDS.finditer(piece, 0, whole):
            for word in _candidates(match[0]) - seen:
                mark = fingerprint(word.decode())
                if mark not in marks:
                    seen.add(word)
                elif not consumers.is_placeholder(word.decode()):
                    yield line + piece.count(b"\n", 0, match.start()), mark
        if len(seen) > MOST_SEEN:
            seen.clear()
        line += piece.count(b"\n", 0, whole)
        piece = piece[whole:]


def _last_word(piece: bytes) -> int:
    """Return where the word at the end begins; one that is longer than any value is cut."""
    found = _LAST_WORD.search(piece, max(0, len(piece) - LONGEST_WORD))
    return found.start() if found else len(piece)


def _candidates(word: bytes) -> set[bytes]:
    """What of a word may be a value: all of it, what follows the first ``=`` or ``:``, and each part between such signs."""
    found = {word, word.rstrip(b".:!?"), *_JOINTS.split(word)}
    if (joint := _JOINTS.search(word)) is not None:
        found.add(word[joint.end() :])
    return {one for one in found if len(one) >= SMALLEST_VALUE}


def history(folder: Path, say: Say) -> set[tuple[str, str]]:
    """Return file and kind of whatever a scanner takes for a secret in all that was ever committed.

    That is gitleaks where it is installed, else detect-secrets, which is slow. KeyturnError where there is neither, and where
    ``folder`` is no checkout, or has a part of its history only.
    """
    if _git(folder, "rev-parse", "--is-shallow-repository").strip() == b"true":
        raise KeyturnError(f"{folder} is a shallow clone, without its history: run git fetch --unshallow there")
    if gitleaks():
        return _by_gitleaks(folder)
    try:
        return _by_detect_secrets(folder, say)
    except ImportError:
        raise KeyturnError(f"the history of {folder} was not searched: install gitleaks, or run make setup") from None


def gitleaks() -> str | None:
    """Return the scanner that is made for histories, where it is installed."""
    return shutil.which("gitleaks")


def _by_gitleaks(folder: Path) -> set[tuple[str, str]]:
    git.check_programs(folder)
    with tempfile.TemporaryDirectory() as private:
        report = Path(private) / "report.json"
        command = ["gitleaks", "detect", "--source", str(folder), "--redact", "--no-banner", "--log-level", "error"]
        command += ["--exit-code", "0", "--report-format", "json", "--report-path", str(report)]
        said, quiet = Path(private) / "said", subprocess.DEVNULL
        try:
            with said.open("wb") as errors:  # the end of a pipe would be that of its git as well
                done = subprocess.run(
                    command,
                    check=False,
                    stdin=quiet,
                    stdout=quiet,
                    stderr=errors,
                    env=git.environment(folder),
                    timeout=SEARCH_SECONDS,
                )
        except subprocess.TimeoutExpired:
            raise KeyturnError(
                f"gitleaks had not searched the history of {folder} after {SEARCH_SECONDS} s: run it there by hand, and see what takes it"
            ) from None
        # where its git fails, as in a checkout of another user, it says so, ends with 0 and has found nothing
        if done.returncode or said.stat().st_size or not report.exists():
            raise KeyturnError(f"gitleaks did not search the whole history of {folder}: run it there to see why")
        return {(found["File"], found["RuleID"]) for found in json.loads(report.read_text()) or []}


def _by_detect_secrets(folder: Path, say: Say) -> set[tuple[str, str]]:
    from detect_secrets.core.scan import scan_diff
    from detect_secrets.settings import default_settings

    places: set[tuple[str, str]] = set()
    progress, count = Progress(say), 0
    with default_settings() as settings:
        settings.disable_filters(
            "detect_secrets.filters.common.is_invalid_file"
        )  # a file may be gone, its history is not
        for file, lines in _added(folder):
            diff = f"--- /dev/null\n+++ b/{file}\n@@ -0,0 +1,{len(lines)} @@\n" + "".join(
                f"+{line}\n" for line in lines
            )
            secrets = [one for one in scan_diff(diff) if not consumers.is_placeholder(one.secret_value or "")]
            places |= {(one.filename, one.type) for one in secrets}
            count += len(lines)
            progress.at(f"{folder}: {count} lines of its history searched")
    return places


def _added(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield all lines that were ever added, by file and in batches; what is no text in UTF-8 is left out."""
    with git.output(
        folder, "log", *git.PATCH, "--all", "--unified=0", "--format=", "--no-color", "--no-renames"
    ) as patch:
        yield from _batches(patch)


def _batches(patch: IO[bytes]) -> Iterator[tuple[str, list[str]]]:
    """Read a patch without context: a hunk says how many lines follow, so that nothing in a line is taken for a header."""
    file, batch, removed, added = "", list[str](), 0, 0
    while line := patch.readline():
        if removed:
            removed -= 1
        elif added:
            added -= 1
            text = _SEPARATORS.sub(" ", line[1:].rstrip(b"\r\n").decode(errors="replace"))
            if "\ufffd" not in text:
                batch += [text[at : at + LONGEST_WORD] for at in range(0, len(text), LONGEST_WORD)]
        elif (hunk := _HUNK.match(line)) is not None:
            removed, added = (1 if size is None else int(size) for size in hunk.groups())
        elif (name := _NAME.match(line)) is not None:
            if batch:
                yield file, batch
            file, batch = name[1].decode(errors="replace"), []
        if len(batch) >= BATCH_LINES:
            yield file, batch
            batch = []
    if batch:
        yield file, batch


def _git(folder: Path, *arguments: str) -> bytes:
    said = git.run(folder, *arguments)
    if said is None:
        raise KeyturnError(git.no_checkout(folder))
    return said
