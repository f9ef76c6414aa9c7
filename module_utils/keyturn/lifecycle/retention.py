"""How long a backup is kept. It and the value that opens it live and die together."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from .. import durable, moments, values
from ..errors import KeyturnError
from ..journal import Application, Journal, utc_now
from .common import BACKUP

MOST_DAYS = 36500


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
    return moments.text(end)


def prune(application: Application) -> None:
    """Remove the backups that have expired, each with its value. The caller holds the lock."""
    for journal in expired(application):
        destroy(journal)


def destroy(journal: Journal) -> None:
    """Remove the old value of a rotation, and with it the backup, also half of one, that only it opens. Safe to repeat."""
    for name in (BACKUP, f"{BACKUP}-journal"):
        durable.remove(journal.path(name))
    values.destroy_previous(journal)
    backup = journal.record.get("backup")
    if backup and "pruned" not in backup:
        journal.update(backup=backup | {"pruned": utc_now()})


def expired(application: Application) -> Iterator[Journal]:
    """Yield the rotations that have ended and whose backup is kept for longer than its retention.

    As long as a provider must still be asked about the old value, that value and its backup stay.
    """
    now = utc_now()
    for journal in application.journals():
        backup = journal.record.get("backup")
        asked = journal.record.get("retire", {}).get("state") == "open"
        if journal.closed and not asked and backup and "pruned" not in backup and backup["expires"] <= now:
            yield journal
