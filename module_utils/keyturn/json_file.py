"""A JSON settings file that may hold a value itself, or leave it to the environment. Single strings are replaced in place.

Three forms of a key: ``environment`` (empty or absent: the environment counts), ``literal`` (the value stands there, and
wins), ``reference`` (``"env:NAME"``, which an application may or may not resolve).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .errors import KeyturnError

REFERENCE = "env:"
_BLANK = re.compile(r"[ \t\r\n]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,40}")
_DECODER = json.JSONDecoder()


class _Member(NamedTuple):
    """A member of the outermost object, and where its value stands in the text."""

    key: str
    value: Any
    start: int
    end: int


def read(content: bytes, keys: Mapping[str, str], names: Sequence[str]) -> dict[str, str | None]:
    """Return the literal of each name, None where the key leaves it to the environment. ``keys`` maps names to keys."""
    held = _held(_members(_decode(content)), keys, names)
    return {name: value if _form(value) == "literal" else None for name, value in held.items()}


def forms(content: bytes, keys: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the form that each name has."""
    return {name: _form(value) for name, value in _held(_members(_decode(content)), keys, names).items()}


def replace(content: bytes, keys: Mapping[str, str], values: Mapping[str, str], wanted: Mapping[str, str]) -> bytes:
    """Return ``content`` with each name in its wanted form, and no other byte changed.

    A key that is absent stays absent where the environment counts; KeyturnError where it would have to hold something.
    """
    text = _decode(content)
    members = _members(text)
    edits = []
    for name, value in values.items():
        key = keys[name]
        found = [member for member in members if member.key == key]
        if not found and wanted[name] != "environment":
            raise KeyturnError(f'the key {key} is absent: add "{key}": "" to the outermost object')
        new = {"environment": "", "literal": value, "reference": REFERENCE + name}[wanted[name]]
        edits += [(member.start, member.end, json.dumps(new)) for member in found if (member.value or "") != new]
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text.encode()


def findings(
    content: bytes, keys: Mapping[str, str], names: Sequence[str], secrets: Iterable[str], wanted: Mapping[str, str]
) -> list[str]:
    """Return sentences, without values, about what surprises and about what the rotation will write."""
    members = _members(_decode(content))
    said = []
    for name, value in _held(members, keys, names).items():
        form = _form(value)
        if form == "reference":
            said.append(f'{keys[name]} is "env:...", which today\'s application sends as it stands')
        if form == "literal":
            said.append(f"{keys[name]} holds the value itself, which wins over the environment")
        if form != wanted[name]:
            said.append(f"{keys[name]} will be written in the form {wanted[name]}")
    known = {value for value in secrets if value}
    for member in members:
        if member.key not in keys.values() and any(value in json.dumps(member.value) for value in known):
            shown = member.key if _WORD.fullmatch(member.key) and member.key not in known else "another key"
            said.append(f"{shown} still holds a secret value; remove it there")
    return said


def _held(members: Sequence[_Member], keys: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return what stands under the key of each name, empty for nothing; the last duplicate counts."""
    held = {}
    last = {member.key: member.value for member in members}
    for name in names:
        value = last.get(keys[name], "") or ""
        if not isinstance(value, str):
            raise KeyturnError(f"the key {keys[name]} is no text: write it in double quotes")
        held[name] = value
    return held


def _form(value: str) -> str:
    if not value:
        return "environment"
    return "reference" if value.startswith(REFERENCE) else "literal"


def _decode(content: bytes) -> str:
    try:
        text = content.decode()
        if isinstance(json.loads(text), dict):
            return text
    except ValueError:
        pass
    raise KeyturnError("this is not a JSON object in UTF-8: mend it, the application cannot read it either")


def _members(text: str) -> list[_Member]:
    return list(_scan(text))


def _scan(text: str) -> Iterator[_Member]:
    """Walk through the outermost object of a text that is valid JSON."""
    at = _after_blanks(text, _after_blanks(text, 0) + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _after_blanks(text, _after_blanks(text, at) + 1)
        value, end = _DECODER.raw_decode(text, start)
        yield _Member(key, value, start, end)
        at = _after_blanks(text, end)
        if text[at] == ",":
            at = _after_blanks(text, at + 1)


def _after_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
