"""Values in texts where they do not belong."""

from __future__ import annotations

import base64
import itertools
import json
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping

SMALLEST_VALUE = 8  # a shorter one stands in any text
LINES_AT_ONCE = 10_000


def names_in(text: str, held: Mapping[str, str]) -> list[str]:
    """Return the names of the values ``held`` that stand in ``text``, also in another spelling."""
    return [
        name
        for name, value in held.items()
        if len(value) >= SMALLEST_VALUE and any(one in text for one in spellings(value))
    ]


def names_in_lines(lines: Iterable[str], held: Mapping[str, str]) -> list[str]:
    """Return the same for lines of any number, a part of which is in memory at a time."""
    left, found = iter(lines), set[str]()
    while part := list(itertools.islice(left, LINES_AT_ONCE)):
        found.update(names_in("\n".join(part), held))
    return [name for name in held if name in found]


def spellings(value: str) -> set[str]:
    """Return the value as it is, escaped as in JSON, quoted for an address, and in base64, also within a longer text."""
    found = {value, json.dumps(value)[1:-1], value.replace("/", "\\/"), *_in_base64(value.encode())}
    return found | {urllib.parse.quote(value, safe=safe) for safe in ("", "/")}


def _in_base64(content: bytes) -> Iterator[str]:
    """Return what base64 makes of it, by where in a group of three bytes it begins; without letters that depend on its neighbours."""
    for before, other in enumerate((0, 2, 3)):
        end = len(content) + before
        for encoded in (base64.b64encode, base64.urlsafe_b64encode):
            yield encoded(bytes(before) + content).decode()[other : end * 8 // 6]
