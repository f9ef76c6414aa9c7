"""Prepare: the expensive work while the service runs. A backup, and the new rows beside those of today.

Long work is done in calls of a few seconds: each goes on where the one before has come to, which is what the controller
prints in between, and what a kill leaves of it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from ...base.errors import KeyturnError
from ...ground import rows
from ..journal import Journal, JournalRecord, Kept, PreparedRows
from ..rotation import Rotation
from .common import check_space

if TYPE_CHECKING:
    from ...ground.rows.contract import RowStore

# of one call: how often a person sees progress, and the most work that a kill can undo
SECONDS = 5.0
# what an application may write meanwhile: rows, beside as many again, and bytes of their ciphertexts, of which there are two
ROWS_TIMES, MORE_ROWS = 2, 1_000_000
SIDE_TIMES, MORE_BYTES = 3, 1 << 26


def would(rotation: Rotation, begun: Journal | None) -> str:
    """Say what would be done; nothing where it is done, or no data depends on the value."""
    if rotation.entry["migration"]["kind"] == "none" or (begun is not None and begun.reached("prepared")):
        return ""
    if not rotation.speaks:
        return f"leave the rows to {rotation.speaker}"
    if rows.KINDS[rotation.entry["migration"]["kind"]].runs:
        return ""  # its program works under the stop
    return "back up the database and compute the new ciphertexts while the service runs"


def run(rotation: Rotation, journal: Journal) -> bool:
    """Back up and compute for some seconds. The phase is ``prepared`` when all is done, and ``preparing`` before."""
    deadline = time.monotonic() + SECONDS
    if journal.reached("prepared") or not rotation.speaks:
        return False
    staged = rotation.staged_values(journal)
    store = rotation.migration(staged.old, staged.new)
    if store is None:
        return False
    if not journal.reached("preparing"):
        journal.enter("preparing")
    if not (journal.has("backup") or journal.has("backup_deferred")):
        journal.update(**backup_online(journal, store))
    _go_on(rotation, journal, store, deadline)
    return True


def backup_online(journal: Journal, store: RowStore) -> JournalRecord:
    """Return what the journal says of a backup beside the running service: what it is, or why it has to wait for the stop."""
    from ...ground.rows.contract import Deferred

    try:
        return {"backup": backup(journal, store, online=True)}
    except Deferred as deferred:
        return {"backup_deferred": str(deferred)}


def _go_on(rotation: Rotation, journal: Journal, store: RowStore, deadline: float) -> None:
    """Go on with what was prepared if it is what the journal vouches for; anything else is thrown away."""
    known = journal.prepared
    before: PreparedRows = {"rows": 0, "read": 0, "seconds": 0.0}
    if store.recall(journal.folder, known) and known:
        _check_growth(journal, known["read"])
        before = known
    began = time.monotonic()
    part = store.prepare(rotation.encrypt_plaintext_rows, deadline - began)
    prepared: PreparedRows = {
        "rows": before["rows"] + part.staged,
        "read": before["read"] + part.read,
        "seconds": round(before["seconds"] + time.monotonic() - began, 3),
    }
    prepared |= cast(PreparedRows, store.marks(part.finished))  # each store has its own
    if part.finished:
        journal.enter("prepared", prepared=prepared)
    else:
        journal.update(prepared=prepared)


def _check_growth(journal: Journal, read: int) -> None:
    """Refuse an application that writes rows for as long as they are prepared: there would be no end, or none but a full disk."""
    rows = sum(journal.rows.values())
    size = sum(path.stat().st_size for path in journal.kept("prepared"))
    most = SIDE_TIMES * (journal.backup.get("bytes", size) if journal.has("backup") else size) + MORE_BYTES
    if outgrown(journal, read) or size > most:
        raise KeyturnError(
            f"{read} rows have been prepared ({size >> 20} MiB), and there were {rows}: something writes them as fast as they are read; "
            "end that, then rotate again"
        )


def outgrown(journal: Journal, read: int) -> bool:
    """Tell whether more rows were read than can have been written meanwhile; who has taken over does not know how many there were."""
    return bool(journal.rows) and read > ROWS_TIMES * sum(journal.rows.values()) + MORE_ROWS


def read_so_far(journal: Journal) -> tuple[int, float]:
    """Return how many rows have been read, and in how many seconds."""
    prepared: PreparedRows = journal.prepared or {"read": 0, "seconds": 0.0}
    return prepared["read"], prepared["seconds"]


def backup(journal: Journal, store: RowStore, online: bool) -> Kept:
    """Make the backup and return its entry: what it is, and the fingerprint of the key that opens it."""
    check_space(journal.folder, store.space())  # stage has seen what it was then
    made = store.backup(journal.folder, online)
    return cast(Kept, {**made, "opens_with": journal.old})
