"""How long an old value is kept. It and the backup that only it opens live and die together."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from ...base import durable, timestamps
from ...base.errors import KeyturnError
from ..journal import Application, Journal, JournalRecord, utc_now

MOST_DAYS = 36500
# an old value that its files do not hold any more may stand nowhere else
LEAST_DAYS_UNSEEN = 30


def check(days: int) -> None:
    """Refuse a retention that is no number of days; 0 removes a backup as soon as its rotation ends."""
    if not 0 <= days <= MOST_DAYS:
        raise KeyturnError(
            f"keyturn_backup_retention_days is {days}: set the days that backup and old value are kept, 0 to {MOST_DAYS}"
        )


def ends(days: int) -> str:
    """Return when a backup that is catalogued now expires (UTC); KeyturnError for days that are none."""
    check(days)
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    return timestamps.text(end)


def kept(journal: Journal, outcome: str, days: int) -> JournalRecord:
    """Return what the journal of a rotation that ends says of what it keeps: the backup, or the old value alone."""
    if outcome == "needs_attention":
        days = max(days, LEAST_DAYS_UNSEEN)
    if journal.has("backup"):
        return {"backup": {**journal.backup, "expires": ends(days)}}
    if outcome != "rolled_back":
        return {"previous": {"expires": ends(days)}}
    destroy(journal)  # the old value is the current one again, and what is left of a backup is half of one
    return {}


def prune(application: Application) -> None:
    """Remove what has expired: old values, each with its backup. The caller holds the lock."""
    for journal in expired(application):
        destroy(journal)


def destroy(journal: Journal) -> None:
    """Remove the old value of a rotation, and with it the backup, also half of one, that only it opens. Safe to repeat."""
    from .. import values  # a look asks only what has expired, and imports no consumer for it

    for path in journal.kept("backup"):
        durable.remove(path)
    values.destroy_previous(journal)
    for entry in journal.keeping():
        entry["pruned"] = utc_now()
        journal.update()


def expired(application: Application) -> Iterator[Journal]:
    """Yield the rotations that have ended and keep an old value for longer than its retention.

    As long as a provider must still be asked about the old value, it stays, and its backup as well.
    """
    now = utc_now()
    for journal in application.journals():
        asked = journal.retire.get("state") == "open"
        if journal.closed and not asked and any(when <= now for when in ends_of(journal)):
            yield journal


def ends_of(journal: Journal) -> list[str]:
    """Return when the retention of what the rotation keeps ends (UTC); nothing where it keeps nothing any more."""
    return [entry["expires"] for entry in journal.keeping() if "pruned" not in entry and "expires" in entry]
