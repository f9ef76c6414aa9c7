"""The shape of what comes from outside: a file that was written once, what a host says, what an inventory holds.

A shape is a type (``float`` takes an int as well), a text, true or false for itself, a pattern for a text, ``[shape]`` for a list
(``[one, two]`` for a pair), ``{"name": shape}`` for a mapping (``name?`` may be missing, ``*`` or a pattern stands for every other name), a
tuple for one of several, ``None`` for nothing, ``object`` for anything. Names that a mapping's shape does not know are left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from . import timestamps
from .errors import KeyturnError
from .fingerprint import MARK

# half a character: JSON can hold one, and no file
HALF = re.compile("[\ud800-\udfff\0]")
TEXTS = object()
NUMBERS = {int: (int,), float: (int, float)}
WORDS: dict[object, str] = {
    object: "anything",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
    MARK: "a fingerprint like kt:0123456789ab",
    timestamps.SHAPE: "a moment like 2026-01-31T23:59:59Z",
    timestamps.ROTATION_ID: "the id of a rotation like 20260131T235959Z-0123456789abcdef",
}


def parse(content: bytes | str) -> object:
    """Return what JSON says, None for what is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def check(where: str, shape: object, found: object, remedy: str) -> None:
    """Raise KeyturnError for what has not the shape: the place in ``where``, what must stand there, and the remedy."""
    misfit = next(misfits("", shape, found), None)
    if misfit:
        raise KeyturnError(f"{where}: {misfit.lstrip('.')}: {remedy}")


def misfits(place: str, shape: object, found: object) -> Iterator[str]:
    """Yield, one by one, each place of ``found`` that has not the shape, and what must stand there. No content is told."""
    if isinstance(shape, Mapping) and isinstance(found, Mapping):
        yield from _names(place, shape, found)
    elif isinstance(shape, list) and isinstance(found, list):
        inside = shape * len(found) if len(shape) == 1 else shape
        if len(inside) != len(found):
            yield f"{place} must be a list of {len(inside)}"
        for number, (one, inner) in enumerate(zip(found, inside, strict=False)):
            yield from misfits(f"{place}[{number}]", inner, one)
    elif isinstance(shape, tuple):
        inner = [next(misfits(place, one, found), None) for one in shape]
        if all(inner):
            # of alternatives the one counts that fits best: its misfit lies deepest
            where, what = max((str(one).split(" must be ", 1) for one in inner), key=lambda parts: len(parts[0]))
            yield f"{where} must be {what if where != place else ' or '.join(_word(one) for one in shape)}"
    elif not _fits(shape, found):
        yield f"{place} must be {_word(shape)}"


def _names(place: str, shape: Mapping[object, object], found: Mapping[object, object]) -> Iterator[str]:
    known, others, other = _parts(shape)
    for name, inner in known.items():
        plain = name.removesuffix("?")
        if plain in found:
            yield from misfits(f"{place}.{plain}", inner, found[plain])
        elif plain == name:
            yield f"{place}.{name} must be {_word(inner)}"
    if others is not None:
        plain_names = {name.removesuffix("?") for name in known}
        for unknown in (one for one in found if one not in plain_names):
            if not _fits(others, unknown):
                yield f"{place} must be a mapping by {'texts' if others is str else _word(others)}"
            else:
                yield from misfits(f"{place}.{unknown}", other, found[unknown])


def _parts(shape: Mapping[object, object]) -> tuple[dict[str, object], object, object]:
    """Return the names that a mapping's shape knows, and the shapes of every other name (None where there is none) and of what it has."""
    known = {name: inner for name, inner in shape.items() if isinstance(name, str) and name != "*"}
    rest = next(((name, inner) for name, inner in shape.items() if name not in known), (None, None))
    return known, str if rest[0] == "*" else rest[0], rest[1]


def fitting(shape: object, found: Any) -> Any:
    """Return what has the shape without the names that its mappings do not know, at every depth."""
    if isinstance(shape, tuple):
        return fitting(next(one for one in shape if not any(misfits("", one, found))), found)
    if isinstance(shape, Mapping):
        names, others, other = _parts(shape)
        known = {name.removesuffix("?"): inner for name, inner in names.items()}
        inside = {name: known.get(name, other) for name in found if name in known or others is not None}
        return {name: fitting(inner, found[name]) for name, inner in inside.items()}
    if isinstance(shape, list):
        return [
            fitting(inner, one)
            for inner, one in zip(shape * len(found) if len(shape) == 1 else shape, found, strict=True)
        ]
    return found


def _fits(shape: object, found: object) -> bool:
    if isinstance(shape, re.Pattern):
        return isinstance(found, str) and bool(shape.fullmatch(found))
    if isinstance(shape, str | bool) or shape is None:
        return bool(found == shape) and type(found) is type(shape)
    if isinstance(shape, Mapping | list | tuple):
        return False
    if shape in NUMBERS:
        # NaN and infinity are numbers in JSON of Python, and of nobody else
        return isinstance(found, NUMBERS[shape]) and not isinstance(found, bool) and abs(found) < 2**64
    if shape is str:
        return isinstance(found, str) and not HALF.search(found)
    if shape is TEXTS:
        return not HALF.search(json.dumps(found, ensure_ascii=False))
    return isinstance(shape, type) and isinstance(found, shape)


def _word(shape: object) -> str:
    if isinstance(shape, re.Pattern):
        return WORDS.get(shape, f"a text like {shape.pattern}")
    if isinstance(shape, str | bool):
        return shape if isinstance(shape, str) else str(shape).lower()
    if isinstance(shape, type):
        return WORDS[shape]
    if isinstance(shape, tuple):
        return " or ".join(_word(one) for one in shape)
    if shape is TEXTS:
        return "made of whole characters"
    return "nothing" if shape is None else "a list" if isinstance(shape, list) else "a mapping"
