"""Which points of a matrix a run of the tests takes: by a rule that names every kind, and a seed that is printed.

`make test` takes at least one point of each kind, and which one the seed says; `make exhaustive` takes all points. A test says
what its kinds are: those of a parametrized matrix by the mark ``covering``, those of system calls by ``calls``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

import pytest

EXHAUSTIVE, SEED = "KEYTURN_EXHAUSTIVE", "KEYTURN_SEED"
# what ends a step of the order of writes: a file comes to its name, or goes
ENDS_A_STEP = ("rename", "unlink")
Point = TypeVar("Point")


def exhaustive() -> bool:
    """Tell whether this run takes every point."""
    return bool(os.environ.get(EXHAUSTIVE))


def draw(series: str) -> random.Random:
    """Return the chance of a series, the same in each process of a run."""
    return random.Random(f"{os.environ[SEED]}.{series}")


def covering(
    points: Sequence[Point], kinds: Callable[[Point], Iterable[Hashable]], chance: random.Random
) -> list[Point]:
    """Return points, in their order, that are of all ``kinds`` that any of them is of; few, and which ones is chance."""
    kinds_of = [frozenset(kinds(point)) for point in points]
    missing = frozenset().union(*kinds_of)
    shuffled = chance.sample(range(len(points)), len(points))
    taken = []
    while missing:
        best = max(shuffled, key=lambda index: len(kinds_of[index] & missing))
        taken.append(best)
        missing -= kinds_of[best]
    return [points[index] for index in sorted(taken)]


def steps(names: Sequence[str], ends: tuple[str, ...] = ENDS_A_STEP) -> list[int]:
    """Return for each system call how many steps of the order of writes have ended before it."""
    ended = [name.startswith(ends) for name in names]
    return [sum(ended[:index]) for index in range(len(names))]


def calls(series: str, names: Sequence[str], ends: tuple[str, ...] = ENDS_A_STEP) -> list[int]:
    """Return which system calls of a clean run are killed: one of each name, and one within each step of the order of writes."""
    if exhaustive():
        return list(range(len(names)))
    kinds = list(zip(names, steps(names, ends), strict=True))
    return covering(range(len(names)), lambda index: kinds[index], draw(series))


def by_turns(series: str, ways: Sequence[Point], number: int) -> Sequence[Point]:
    """Return by which ways a point of a series, the ``number``-th that is taken, is left: one, by turns, or all."""
    return ways if exhaustive() else [ways[(number + draw(series).randrange(len(ways))) % len(ways)]]


def select(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests of this run, in their order; what is left is noted at one of them, for the summary."""
    series: dict[str, list[pytest.Item]] = {}
    left = []
    for item in items:
        if item.get_closest_marker("covering"):
            series.setdefault(item.nodeid.partition("[")[0], []).append(item)
        elif item.get_closest_marker("exhaustive"):
            left.append(item)
    taken = set(items) - set(left)
    for name, points in series.items():
        chosen = covering(points, _kinds, draw(name))
        taken -= set(points) - set(chosen)
        chosen[0].user_properties.append(("points", [name.rpartition("::")[2], len(chosen), len(points)]))
    kept = [item for item in items if item in taken]
    if left and kept:
        kept[0].user_properties.append(("left", [item.nodeid for item in left]))
    return kept


def _kinds(item: pytest.Item) -> Iterable[Hashable]:
    """Return the kinds of a parametrized test.

    They are the values of the parameters, or combinations, that its mark names, and what the mark's functions say of the value of the
    parameter that they are given by. Where it names none, all points are of one kind.
    """
    mark = item.get_closest_marker("covering")
    assert mark
    parameters: dict[str, Any] = item.callspec.params  # type: ignore[attr-defined]
    yield "any"
    for names in mark.args:
        combined = (names,) if isinstance(names, str) else names
        yield (names, *(parameters[name] for name in combined))
    for name, kind in mark.kwargs.items():
        yield (name, kind(parameters[name]))


def summary(reports: Iterable[Any]) -> list[str]:
    """Return lines that say how many of how many points were taken, and which tests were left."""
    counts: dict[str, list[int]] = {}
    left: set[str] = set()
    for report in reports:
        for name, value in report.user_properties:
            if name == "points":
                series, *numbers = value
                counts[series] = [sum(pair) for pair in zip(counts.get(series, (0, 0)), numbers, strict=True)]
            elif name == "left":
                left |= set(value)
    lines = [f"{taken:>6} of {points:>6}  {series}" for series, (taken, points) in sorted(counts.items())]
    return [*lines, *(f"left to make exhaustive: {name}" for name in sorted(left))]
