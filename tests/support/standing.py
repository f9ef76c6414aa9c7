"""No service is left down: what a test has started runs at its end, and nothing keeps it from starting again.

``tests/conftest.py`` asks at the end of every test. One that leaves a rotation open by intent says so, and why, by the mark
``left_open``; it does leave it so, or the mark has to go.
"""

from __future__ import annotations

from typing import Protocol


class Watched(Protocol):
    """A place where a test has services."""

    def left(self) -> list[str]:
        """Return the services that ran and do not, and the gates that are closed."""


_watched: list[Watched] = []


def watch(place: Watched) -> None:
    """Ask a place at the end of each test from now on."""
    forget(place)
    _watched.append(place)


def forget(place: Watched) -> None:
    """Ask it no more: the test itself takes its services down."""
    _watched[:] = [one for one in _watched if one is not place]


def check(left_open: bool) -> None:
    """Fail where a service is left down, or, where the test says that it leaves one, where none is."""
    left = [line for place in _watched for line in place.left()]
    if left_open:
        assert left, "it leaves nothing open: take the mark left_open away"
    else:
        assert left == [], f"keyturn has left it so: {'; '.join(left)}"
