"""A YAML settings file. Single scalars are replaced by their place, so that comments, order and every other byte stay.

No YAML library is asked, since hosts have none. What is read is the common part: mappings in blocks, each value on the line of its key.
Whatever else stands on the way to a key is refused by name, and elsewhere it is left alone.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ...base import files
from ...base.errors import KeyturnError

_LINE = re.compile(r"[^\n]*(?:\n|$)")
_KEY = re.compile(
    r"""(?P<indent> *)(?P<key>[A-Za-z0-9_./-]+|'[^'\n]*'|"[^"\\\n]*")[ ]*:(?:[ \t]+(?P<rest>.*?))?[ \t\r]*\n?$"""
)
_PLAIN = re.compile(r"(?P<value>[^\s#](?:[^\r\n#]|(?<=\S)#)*?)(?:[ \t]+#.*)?$")
_SINGLE = re.compile(r"'(?P<value>(?:[^'\n]|'')*)'(?:[ \t]+#.*)?$")
_DOUBLE = re.compile(r'"(?P<value>[^"\\\n]*)"(?:[ \t]+#.*)?$')
_BLOCK = re.compile(r"[|>][0-9+-]*[ \t]*(?:#.*)?$")
_BEGINS_OTHER = "&*!|>%@`[]{}'\""
# what YAML 1.1 or 1.2 takes for a number or a moment; most texts of hexadecimal digits are neither
_NUMBER = (
    r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-f_]+|[0-9][0-9_,]*(?::[0-9_]+)*(?:\.[0-9_]*)?(?:e[-+]?[0-9_]+)?|\.(?:inf|nan|[0-9].*))|"
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[t\s].*)?"
)
# a plain scalar that YAML does not take for a text, or that begins something else
_OTHER = re.compile(
    rf"~|=|<<|null|true|false|yes|no|on|off|y|n|{_NUMBER}|-(?:\s.*|$)|[?:,\[\]{{}}#&*!|>'\"%@`].*|.*:(?:\s.*|$)",
    re.IGNORECASE,
)


class _Scalar(NamedTuple):
    """A key of a mapping, by the keys that lead to it, and what stands behind it; ``start`` is where that begins in the text."""

    keys: tuple[str, ...]
    rest: str
    start: int
    goes_on: bool


def read(content: bytes, keys: Mapping[str, str], names: Sequence[str]) -> dict[str, str | None]:
    """Return the value of each name, None where its key is not there or empty."""
    text = files.text(content)
    held: dict[str, str | None] = dict.fromkeys(names)
    for name in names:
        found = _found(text, keys[name]) if name in keys else None
        held[name] = (_value(keys[name], found) or None) if found else None
    return held


def replace(content: bytes, keys: Mapping[str, str], values: Mapping[str, str]) -> bytes:
    """Return ``content`` with these values, each in the quotes that it has."""
    text = files.text(content)
    edits = []
    for name, value in values.items():
        found = _found(text, keys[name])
        if found is None or not _value(keys[name], found):
            raise KeyturnError(
                f"the key {keys[name]} is absent or empty: add it with the value that the application works with"
            )
        start, end, quote = _span(keys[name], found)
        if not value.isprintable():
            raise KeyturnError(f"the new value of {name} has a sign that YAML does not take as it stands")
        if quote == "'":
            written = value.replace("'", "''")
        elif quote == '"':
            if '"' in value or "\\" in value:
                raise KeyturnError(
                    f"the new value of {name} has a sign that needs another in double quotes: put single ones there"
                )
            written = value
        else:
            if value != value.strip() or _OTHER.fullmatch(value) or " #" in value:
                raise KeyturnError(
                    f"the new value of {name} would be no text there: put quotation marks around the old one"
                )
            written = value
        edits.append((found.start + start, found.start + end, written))
    for start, end, written in sorted(edits, reverse=True):
        text = text[:start] + written + text[end:]
    return text.encode()


def findings(content: bytes, keys: Mapping[str, str], names: Sequence[str], secrets: Iterable[str]) -> list[str]:
    """Return sentences, without values, about other lines that hold a secret value."""
    mine = {tuple(keys[name].split(".")) for name in names if name in keys}
    known = {value for value in secrets if value}
    others = "".join(one.rest + "\n" for one in _scalars(files.text(content)) if one.keys not in mine)
    return (
        ["another key still holds a secret value; remove it there"] if any(value in others for value in known) else []
    )


def texts(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield each key with dots between its parts, and its value; what is no text of one line is passed over."""
    for found in _scalars(files.text(content)):
        key = ".".join(found.keys)
        with contextlib.suppress(KeyturnError):
            if value := _value(key, found):
                yield key, value


def _found(text: str, key: str) -> _Scalar | None:
    found = [one for one in _scalars(text) if one.keys == tuple(key.split("."))]
    if len(found) > 1:
        raise KeyturnError(f"the key {key} stands there twice: leave the one that counts")
    return found[0] if found else None


def _value(key: str, found: _Scalar) -> str:
    if not found.rest or found.rest.startswith("#"):
        if found.goes_on:
            raise _unclear(key)
        return ""
    start, end, quote = _span(key, found)
    value = found.rest[start:end]
    if not quote and _OTHER.fullmatch(value):
        raise KeyturnError(f"the key {key} is no text: put quotation marks around its value")
    return value.replace("''", "'") if quote == "'" else value


def _span(key: str, found: _Scalar) -> tuple[int, int, str]:
    """Return begin and end of the value behind a key, and its quotation mark."""
    if not found.goes_on:
        for quote, form in (("'", _SINGLE), ('"', _DOUBLE), ("", _PLAIN)):
            if not found.rest.startswith(quote) or (not quote and found.rest[0] in _BEGINS_OTHER):
                continue
            if match := form.match(found.rest):
                return *match.span("value"), quote
    raise _unclear(key)


def _unclear(key: str) -> KeyturnError:
    return KeyturnError(
        f"the value of {key} has an anchor, a tag, an escape or more than one line, or is no text: write it as one text on "
        "the line of its key"
    )


def _scalars(text: str) -> Iterator[_Scalar]:
    """Yield the keys of block mappings. What hangs below a list, a text in a block or anything that goes on is passed over."""
    way: list[tuple[int, str]] = []
    held: _Scalar | None = None
    depth, skip = 0, -1
    for match in _LINE.finditer(text):
        line = match[0]
        said = line.strip()
        indent = len(line) - len(line.lstrip(" "))
        if not said or (said.startswith("#") and skip < 0):
            continue
        if said in ("---", "...") or line.startswith("%"):
            if held is not None or way:
                raise KeyturnError("the file has several documents: keep the settings in a file of one")
            continue
        if skip >= 0 and (indent > skip or (indent == skip and said.startswith("-"))):
            continue
        skip = -1
        if held is not None and indent > depth and held.rest and not held.rest.startswith("#"):
            held, skip = held._replace(goes_on=True), depth
            continue
        if line[indent : indent + 1] == "\t":
            raise KeyturnError("a line is indented by a tab, which YAML does not take: use spaces")
        if said == "-" or said.startswith("- "):
            if held is not None:
                held, skip = held._replace(goes_on=True), depth
                continue
            raise KeyturnError("the file is a list and no mapping of keys")
        if held is not None:
            yield held
            held = None
        key = _KEY.match(line)
        if key is None:
            raise KeyturnError("a line is no `key: value`: only such files are read")
        while way and way[-1][0] >= indent:
            way.pop()
        way.append((indent, key["key"].strip("'\"")))
        rest = key["rest"] or ""
        place = match.start() + (key.start("rest") if key["rest"] else key.end())
        held, depth = _Scalar(tuple(name for _, name in way), rest, place, False), indent
        if _BLOCK.match(rest):
            held, skip = held._replace(goes_on=True), indent
    if held is not None:
        yield held
