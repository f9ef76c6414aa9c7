"""The store ``dotenv``: the host itself keeps pending and previous values (0600) in the folder of the rotation.

The current version is what the consumers hold; ``previous.json`` is its copy from the moment of staging, so that the
old value survives every step of the switch.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from . import durable
from .errors import KeyturnError
from .journal import Journal

Side = Literal["old", "new"]
PENDING = "pending.json"
PREVIOUS = "previous.json"


class Staged(NamedTuple):
    """The values of both sides, by variable."""

    old: dict[str, str]
    new: dict[str, str]


def other(side: Side) -> Side:
    """Return the opposite side."""
    return "old" if side == "new" else "new"


def stage(journal: Journal, staged: Staged) -> None:
    """Make both sides durable, before anything else changes."""
    journal.write(PREVIOUS, staged.old)
    journal.write(PENDING, staged.new)


def staged_before(journal: Journal) -> dict[str, str] | None:
    """Return the new values of a stage that was interrupted after they had become durable."""
    return durable.read_json(journal.path(PENDING))


def read(journal: Journal) -> Staged:
    """Return what was staged; KeyturnError where it is gone."""
    old, new = durable.read_json(journal.path(PREVIOUS)), durable.read_json(journal.path(PENDING))
    if old is None or new is None:
        raise KeyturnError(
            f"the staged values are missing in {journal.folder}: restore the folder, nothing else holds them"
        )
    return Staged(old, new)


def previous(journal: Journal) -> dict[str, str]:
    """Return the old values; KeyturnError where they are gone."""
    old = durable.read_json(journal.path(PREVIOUS))
    if old is None:
        raise KeyturnError(
            f"{journal.path(PREVIOUS)} is missing, so nobody can be asked about the old value: restore it"
        )
    return old


def discard_pending(journal: Journal) -> None:
    """Forget the new value: after a commit the consumers hold it, after a rollback nobody needs it."""
    durable.remove(journal.path(PENDING))


def destroy_previous(journal: Journal) -> None:
    """Forget the old value."""
    durable.remove(journal.path(PREVIOUS))
