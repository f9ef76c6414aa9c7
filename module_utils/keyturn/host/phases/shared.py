"""Rows that all hosts share, seen from one of them: the speaker turns them and opens all, another host looks at some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...base.errors import KeyturnError
from ...base.sides import Side, other
from ..rotation import Rotation

if TYPE_CHECKING:
    from ...ground.rows.contract import Census, RowStore


def census(rotation: Rotation, store: RowStore) -> Census | None:
    """Open all rows where this host turns them, else some; None where it leaves them to another and does not reach them."""
    from ...ground.rows.contract import Unreached

    if rotation.speaks:
        return store.census()
    try:
        return store.sample()
    except Unreached:
        return None


def check_turned(rotation: Rotation, store: RowStore, to: Side) -> None:
    """Refuse to start on a value while the rows that another host turns are not under it. What is in them counts, then its word."""
    from ...ground.rows.contract import Unreached

    try:
        found = store.sample()
    except Unreached:
        found = None
    wrong = found["under"][other(to)] if found else rotation.rows_under != to
    if wrong:
        raise KeyturnError(
            f"{store.name}: its rows are not known to be under the {to} value, and {rotation.speaker or 'no host'} turns them; no "
            "service was started: run resume.yml or rollback.yml"
        )
