"""Hostile variants of real documents, and the walk that looks for a failure which Keyturn calls a defect of its own."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import strategies as st
from keyturn.entry.module import attempt

from support import selection

# how many changes of a document a test tries
STEPS = 3000 if selection.exhaustive() else 40
GONE = object()
VALUES: list[Any] = [
    None, True, -1, 10**30, float("nan"), "", "x", "../../x", "a\nb\x1b[2J", "\ud800", "{{ 1 }}", [], [None], ["x"], {}, {"x": 5}, GONE
]  # fmt: skip


def places(document: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield every place of a document but the whole."""
    members = document.items() if isinstance(document, dict) else enumerate(document[:2])
    for name, inside in members:
        yield (*place, name)
        if isinstance(inside, dict | list):
            yield from places(inside, (*place, name))


def changed(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with another value at a place, or nothing there."""
    found = copy.deepcopy(document)
    inside = found
    for name in place[:-1]:
        inside = inside[name]
    if value is GONE:
        del inside[place[-1]]
    else:
        inside[place[-1]] = value
    return found


def variants(document: Any) -> st.SearchStrategy[Any]:
    """Documents with one place changed."""
    return st.tuples(st.sampled_from(list(places(document))), st.sampled_from(VALUES)).map(
        lambda drawn: changed(document, *drawn)
    )


def mangled(content: bytes) -> st.SearchStrategy[bytes]:
    """Contents with a piece cut out, doubled, or replaced by bytes that are no text."""
    at = st.integers(0, len(content))
    pieces = st.sampled_from([b"", b"\x00", b"\xff\xfe", b"\r", b'"', b"[" * 2000, b"=\n", b"\xe2\x80\xa8"])
    return st.tuples(at, at, pieces).map(lambda cut: content[: min(cut[:2])] + cut[2] + content[max(cut[:2]) :])


def check(call: Callable[[], Any]) -> None:
    """Fail where a call ends in what Keyturn itself calls a defect; its answer and its errors are free."""
    failure = attempt(call)[1]
    assert "has a defect" not in failure, failure


def walk(call: Callable[[Any], Any], given: Any, sure: Sequence[str] = ()) -> None:
    """Fail where a call with one value of ``given`` changed ends in a defect; what is ``sure`` nobody outside can change."""
    check(lambda: call(given))
    generator = random.Random(0 if not selection.exhaustive() else os.urandom(8))
    found = [place for place in places(given) if place[0] not in sure]
    changes = [(place, value) for place in found for value in VALUES]
    for place, value in generator.sample(changes, min(STEPS, len(changes))):
        check(lambda place=place, value=value: call(changed(given, place, value)))  # type: ignore[misc]
