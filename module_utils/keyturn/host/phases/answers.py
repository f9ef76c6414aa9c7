"""What every phase begins and ends with: the open journal, and what the controller is told. Nothing else is imported here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from ...base import shape
from ...base.errors import KeyturnError
from ..journal import NEEDED, STAGED, Journal
from ..rotation import Rotation

Result = dict[str, Any]


def result(journal: Journal, changed: bool) -> Result:
    """Return what the controller may know: the journal holds no value."""
    return {"changed": changed, "rotation": journal.record}


def would(message: str, journal: Journal | None = None) -> Result:
    """Return the answer of check mode: what would be done, or the journal of a rotation that has nothing left to do."""
    if not message and journal is not None:
        return result(journal, changed=False)
    return {"changed": True, "would": message}


@contextlib.contextmanager
def timed(journal: Journal, step: str) -> Iterator[None]:
    """Add the seconds of a step to those that it has taken before; they are durable with the journal's next write."""
    began = time.monotonic()
    yield
    times = journal.record.setdefault("times", {})
    times[step] = round(times.get(step, 0.0) + time.monotonic() - began, 3)


def open_journal(rotation: Rotation) -> Journal:
    """Return the journal of this rotation; KeyturnError where it is not open on this host."""
    journal = rotation.application.find(rotation.rotation_id)
    if journal is None:
        raise KeyturnError(f"rotation {rotation.rotation_id} is not staged on this host: run the rotation again")
    path = str(journal.path("journal.json"))
    shape.check(path, NEEDED.get(journal.phase, STAGED), journal.record, "somebody or the disk damaged it; restore it")
    return journal


def forward_journal(rotation: Rotation) -> Journal:
    """Return the journal of a rotation that may go on; KeyturnError where going back is decided."""
    journal = open_journal(rotation)
    if journal.decision == "rollback":
        raise KeyturnError(
            f"rotation {rotation.rotation_id} is being rolled back on this host: end that with rollback.yml"
        )
    return journal
