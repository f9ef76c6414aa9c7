"""A JSON settings file that may hold a value itself, or leave it to the environment. Single strings are replaced in place.

Three forms of a key: ``environment`` (empty or absent: the environment counts), ``literal`` (the value stands there, and
wins), ``reference`` (a text such as ``"env:NAME"``, which an application may or may not resolve). Wanted may also be ``kept``,
which is the form that the key has. A dot in a key leads into an object: ``broker.api_key``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...base import json_text
from ...base.errors import KeyturnError

_BLANK = re.compile(r"[ \t\r\n]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,40}")
_HALF = re.compile("[\ud800-\udfff]")  # what JSON may write and UTF-8 cannot
_DECODER = json.JSONDecoder()
# objects in objects: each is read again by the one around it
DEEPEST = 50


class Layout(NamedTuple):
    """Where each name stands, and the texts that are references to it; the first of them is the one that is written."""

    keys: Mapping[str, str]
    references: Mapping[str, Sequence[str]]


class _Member(NamedTuple):
    """A member that is no object, by the keys that lead to it, and where its value stands in the text."""

    keys: tuple[str, ...]
    value: Any
    start: int
    end: int


def read(content: bytes, layout: Layout, names: Sequence[str]) -> dict[str, str | None]:
    """Return the literal of each name, None where the key leaves it to the environment."""
    held = _held(content, layout, names)
    return {name: value if _form(layout, name, value) == "literal" else None for name, value in held.items()}


def forms(content: bytes, layout: Layout, names: Sequence[str]) -> dict[str, str]:
    """Return the form that each name has."""
    return {name: _form(layout, name, value) for name, value in _held(content, layout, names).items()}


def replace(content: bytes, layout: Layout, values: Mapping[str, str], wanted: Mapping[str, str]) -> bytes:
    """Return ``content`` with each name in its wanted form, and no other byte changed.

    A key that is absent stays absent where the environment counts; KeyturnError where it would have to hold something.
    """
    text = _decode(content)
    members = list(_members(text))
    edits = []
    for name, form in forms(content, layout, list(values)).items():
        key = layout.keys[name]
        into = form if wanted[name] == "kept" else wanted[name]
        found = [member for member in members if member.keys == tuple(key.split("."))]
        if not found and into != "environment":
            *parents, last = key.split(".")
            where = f"the object {'.'.join(parents)}" if parents else "the outermost object"
            raise KeyturnError(f'the key {key} is absent: add "{last}": "" to {where}')
        text_of = {"environment": "", "literal": values[name], "reference": layout.references[name][0]}
        for member in found:
            own = _form(layout, name, member.value or "")  # a key may stand there twice
            into = own if wanted[name] == "kept" else wanted[name]
            if (member.value or "") != text_of[into] and not into == own == "reference":
                edits.append((member.start, member.end, json.dumps(text_of[into])))
    return json_text.spliced(text, edits).encode()


def findings(
    content: bytes, layout: Layout, names: Sequence[str], secrets: Iterable[str], wanted: Mapping[str, str]
) -> list[str]:
    """Return sentences, without values, about what surprises and about what the rotation will write."""
    said = []
    for name, form in forms(content, layout, names).items():
        key = layout.keys[name]
        if form == "reference" and wanted[name] != "kept":
            said.append(f"{key} is a reference, which today's application sends as it stands")
        if form == "literal":
            said.append(f"{key} holds the value itself, which wins over the environment")
        if wanted[name] not in (form, "kept"):
            said.append(f"{key} will be written in the form {wanted[name]}")
    known = {value for value in secrets if value}
    for member in _members(_decode(content)):
        key = ".".join(member.keys)
        if key not in layout.keys.values() and any(value in json.dumps(member.value) for value in known):
            plain = all(_WORD.fullmatch(part) for part in member.keys) and not any(value in key for value in known)
            said.append(f"{key if plain else 'another key'} still holds a secret value; remove it there")
    return said


def texts(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield each key with dots between its parts, and the text that stands there."""
    for member in _members(_decode(content)):
        if isinstance(member.value, str):
            yield ".".join(member.keys), member.value


def _held(content: bytes, layout: Layout, names: Sequence[str]) -> dict[str, str]:
    """Return what stands under the key of each name, empty for nothing; the last duplicate counts."""
    document = json.loads(_decode(content))
    held = {}
    for name in names:
        value = document
        for part in layout.keys[name].split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not isinstance(value or "", str):
            raise KeyturnError(f"the key {layout.keys[name]} is no text: write it in double quotes")
        if _HALF.search(value or ""):
            raise KeyturnError(
                f"the key {layout.keys[name]} holds half of a character, which no variable can: write it anew"
            )
        held[name] = value or ""
    return held


def _form(layout: Layout, name: str, value: str) -> str:
    if not value:
        return "environment"
    return "reference" if value in layout.references[name] else "literal"


def _decode(content: bytes) -> str:
    try:
        text = content.decode()
        json_text.check_size(text)
        if isinstance(json.loads(text), dict):
            return text
    except json_text.NoJson as reason:
        raise KeyturnError(f"this file {reason}: no settings have so many") from None
    except ValueError:
        pass
    raise KeyturnError("this is not a JSON object in UTF-8: mend it, the application cannot read it either")


def _members(text: str, at: int = 0, keys: tuple[str, ...] = ()) -> Iterator[_Member]:
    """Walk through the object that begins at ``at`` in a text that is valid JSON, and through the objects in it."""
    if len(keys) > DEEPEST:
        raise KeyturnError(f"this file has more than {DEEPEST} objects in one another: no settings have so many")
    at = _after_blanks(text, _after_blanks(text, at) + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _after_blanks(text, _after_blanks(text, at) + 1)
        value, end = _DECODER.raw_decode(text, start)
        if isinstance(value, dict):
            yield from _members(text, start, (*keys, key))
        else:
            yield _Member((*keys, key), value, start, end)
        at = _after_blanks(text, end)
        if text[at] == ",":
            at = _after_blanks(text, at + 1)


def _after_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
