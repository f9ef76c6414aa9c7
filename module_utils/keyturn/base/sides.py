"""The two sides of a rotation."""

from __future__ import annotations

from typing import Literal

Side = Literal["old", "new"]


def other(side: Side) -> Side:
    """Return the opposite side."""
    return "old" if side == "new" else "new"
