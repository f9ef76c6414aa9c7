"""What every phase begins and ends with: the open journal, and what the controller is told. Nothing else is imported here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TypedDict

from ...base import shape
from ...base.errors import KeyturnError
from ..journal import NEEDED, STAGED, Journal, JournalRecord, Marks
from ..rotation import Rotation


class Held(TypedDict):
    """What a host holds of a secret: whether it is used there, the fingerprints, and the problem of one that should be there."""

    used: bool
    values: Marks
    problem: str


class Verified(TypedDict):
    """What a host holds of a secret, with rows and services; ``problems`` make its state wrong."""

    used: bool
    values: Marks
    rows: dict[str, int]
    services: dict[str, str]
    problems: list[str]
    findings: list[str]


class RowsRead(TypedDict):
    """How far a call has come with the rows: numbers that only grow."""

    done: int
    total: int
    seconds: float


class HostAnswer(TypedDict, total=False):
    """All that a call on a host may answer. ``ANSWERS`` of fleet/answers.py is its shape, by action, as the controller takes it."""

    changed: bool
    rotation: JournalRecord
    would: str
    progress: RowsRead
    diff: dict[str, str]
    # stage
    clock_offset: float
    place: str
    # ask_provider
    verdict: str
    touched: bool
    # reach_info
    reaches: bool
    why: str
    # rotation_info, prune
    closed: dict[str, JournalRecord]
    expired: list[str]
    held: dict[str, Held]
    pruned: list[str]
    # holdings_info, storage_info
    verified: dict[str, Verified]
    problems: list[str]
    text: str
    findings: list[dict[str, str]]
    values: dict[str, Marks]
    # retire
    revocations: list[dict[str, object]]
    # delivery
    delivery: str
    names: list[str]
    services: list[str]
    downtime_seconds: float
    # replace_tokens
    total: int
    done: int
    proven: int
    relink_required: list[str]
    gone: list[str]
    ended: bool
    # of one that does not answer as a host does
    unreachable: bool
    lost: bool
    failed: bool
    msg: str


def result(journal: Journal, changed: bool) -> HostAnswer:
    """Return what the controller may know: the journal holds no value."""
    return {"changed": changed, "rotation": journal.record}


def would(message: str, journal: Journal | None = None) -> HostAnswer:
    """Return the answer of check mode: what would be done, or the journal of a rotation that is over or has nothing left to do."""
    if journal is not None and (journal.closed or not message):
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


def refuse_decided(rotation: Rotation, journal: Journal, abandon_commit: bool) -> None:
    """Refuse to go back on a decision, where the controller has not seen a host of the unit that lacks it (``abandon_commit``)."""
    if journal.decision == "commit" and not abandon_commit:
        raise KeyturnError(f"rotation {rotation.rotation_id} is decided: it only goes forward, run resume.yml")


def forward_journal(rotation: Rotation) -> Journal:
    """Return the journal of a rotation that may go on; KeyturnError where going back is decided."""
    journal = open_journal(rotation)
    if journal.decision == "rollback":
        why = f" ({failure})" if (failure := journal.record.get("failure")) else ""
        raise KeyturnError(
            f"rotation {rotation.rotation_id} was rolled back on this host{why}: rotate again"
            if journal.closed
            else f"rotation {rotation.rotation_id} is being rolled back on this host{why}: end that with rollback.yml"
        )
    return journal
