"""Strings of a JSON text by their places, so that one can be put in the place of another and every other byte stays.

A path is keys with dots between them; ``[2]`` is a place of a list, ``[*]`` each of them: ``banks[*].login.secret``. A text that is one
string has it at ``$``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from typing import Any, NamedTuple

PATH = re.compile(r"(?:[^.\[\]]+|\[(?:\d+|\*)\])(?:\.[^.\[\]]+|\[(?:\d+|\*)\])*")
WHOLE = "$"
STEP = re.compile(r"\[(\d+|\*)\]|[^.\[\]]+")
ESCAPED_PADDING = re.compile(r"\\u003d", re.IGNORECASE)
# of one document, before it is read: reading takes some hundred bytes for each value, of which it may have one in every two
MOST_CHARACTERS, MOST_VALUES = 1 << 22, 100_000
CHARACTER_BYTES, VALUE_BYTES = 16, 1 << 9


class NoJson(Exception):
    """A text that is no JSON, or that does not say one thing: why, without its content."""


class Text(str):
    """A string of the document, and where it stands between its quotes."""

    __slots__ = ("end", "start")
    start: int
    end: int


class Place(NamedTuple):
    """What stands at a declared path: a string, or something that is none. ``path`` has the numbers of lists in it."""

    path: str
    found: Any


class Document(NamedTuple):
    """A JSON text as far as it is of interest: what stands at the paths (nulls left out), and every other string and key."""

    places: list[Place]
    others: list[str]


class _Decoder(json.JSONDecoder):
    """Python's own, which also tells where strings are, and refuses a key that is there twice. What a number is does not matter."""

    def __init__(self, strings: list[str]) -> None:
        super().__init__(object_pairs_hook=self._pairs, parse_int=len, parse_float=len, parse_constant=len)
        self._strings = strings
        self.parse_string = self._string
        self.scan_once = py_make_scanner(self)

    def _string(self, content: str, start: int, strict: bool) -> tuple[Text, int]:
        said, end = scanstring(content, start, strict)
        text = Text(said)
        text.start, text.end = start, end - 1
        self._strings.append(text)
        return text, end

    def _pairs(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise NoJson("has a key twice in one object")
        self._strings.extend(found)
        return found


def check_size(content: str | bytes) -> None:
    """Refuse, by NoJson, a text that is too long, or may have too many values, before anything is made of it."""
    if len(content) > MOST_CHARACTERS:
        raise NoJson(f"is JSON of more than {MOST_CHARACTERS >> 20} MiB, which is not read")
    if values(content) > MOST_VALUES:
        raise NoJson(f"is JSON of more than {MOST_VALUES:,} values, which is not read")


def weight(content: str | bytes) -> int:
    """Return how many bytes of memory reading a text takes, about and at most."""
    return CHARACTER_BYTES * len(content) + VALUE_BYTES * values(content)


def values(content: str | bytes) -> int:
    """Return how many values a text has at most: before each but the first stands one of these."""
    if isinstance(content, bytes):
        return 1 + sum(map(content.count, (b",", b"[", b"{", b":")))
    return 1 + sum(map(content.count, ",[{:"))


def read(content: str, paths: Sequence[str]) -> Document:
    """Return what stands at ``paths``; NoJson where the text is none, or too large."""
    check_size(content)
    strings: list[str] = []
    try:
        root = _Decoder(strings).decode(content)
    except ValueError:
        raise NoJson("is no JSON") from None
    except RecursionError:
        raise NoJson("is JSON that is nested too deeply") from None
    places = {id(place.found): place for path in paths for place in _places(root, path)}
    return Document([*places.values()], [one for one in strings if id(one) not in places])


def _places(root: object, path: str) -> Iterator[Place]:
    return _at(root, [], WHOLE) if path == WHOLE else _at(root, [step[0] for step in STEP.finditer(path)], "")


def _at(found: object, steps: Sequence[str], path: str) -> Iterator[Place]:
    if not steps:
        if found is not None:
            yield Place(path, found)
        return
    step, *rest = steps
    if not step.startswith("["):
        if isinstance(found, dict) and step in found:
            yield from _at(found[step], rest, f"{path}.{step}".lstrip("."))
    elif isinstance(found, list):
        numbers = range(len(found))
        for number in numbers if step == "[*]" else {int(step[1:-1])} & {*numbers}:
            yield from _at(found[number], rest, f"{path}[{number}]")


def splice(content: str, pairs: Sequence[tuple[Text, str]]) -> str:
    """Put tokens, or nothing, in the place of strings of a document. Where the padding was escaped, it is again."""
    edits = []
    for text, new in pairs:
        escaped = ESCAPED_PADDING.search(content, text.start, text.end)
        edits.append((text.start, text.end, new.replace("=", escaped[0]) if escaped else new))
    return spliced(content, edits)


def spliced(content: str, edits: Sequence[tuple[int, int, str]]) -> str:
    """Return a text with other ones in the place of some of its parts, which do not overlap."""
    parts, at = [], 0
    for start, end, new in sorted(edits):
        parts += [content[at:start], new]
        at = end
    return "".join([*parts, content[at:]])
