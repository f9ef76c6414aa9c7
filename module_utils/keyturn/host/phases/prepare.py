"""Prepare: the expensive work while the service runs. A backup, and the new ciphertexts beside the database.

Long work is done in calls of a few seconds: each goes on where the one before has come to, which is what the controller
prints in between, and what a kill leaves of it.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

from ...base import procfs
from ...base.errors import KeyturnError
from ...ground.rows.side_file import SideFile
from ...ground.rows.sqlite_file import RestartedTooOften
from ..journal import Journal
from ..rotation import Rotation
from .answers import BACKUP, SIDE_FILE
from .common import check_space, side_file

if TYPE_CHECKING:
    from ...ground.rows.fernet_sqlite import FernetSqlite


# of one call: how often a person sees progress, and the most work that a kill can undo
SECONDS = 5.0
# what an application may write meanwhile: rows, beside as many again, and bytes of their ciphertexts, of which there are two
ROWS_TIMES, MORE_ROWS = 2, 1_000_000
SIDE_TIMES, MORE_BYTES = 3, 1 << 26


def would(rotation: Rotation, begun: Journal | None) -> str:
    """Say what would be done; nothing where it is done, or no data depends on the value."""
    if rotation.entry["migration"]["kind"] == "none" or (begun is not None and begun.reached("prepared")):
        return ""
    return "back up the database and compute the new ciphertexts while the service runs"


def run(rotation: Rotation, journal: Journal) -> bool:
    """Back up and compute for some seconds. The phase is ``prepared`` when all is done, and ``preparing`` before."""
    deadline = time.monotonic() + SECONDS
    if journal.reached("prepared"):
        return False
    staged = rotation.staged_values(journal)
    migration = rotation.migration(staged.old, staged.new)
    if migration is None:
        return False
    if not journal.reached("preparing"):
        journal.enter("preparing")
    if not {"backup", "backup_deferred"} & journal.record.keys():
        journal.update(**_backup_online(journal, migration))
    _go_on(rotation, journal, migration, deadline)
    return True


def _backup_online(journal: Journal, migration: FernetSqlite) -> dict[str, Any]:
    try:
        return {"backup": backup(journal, migration, online=True)}
    except RestartedTooOften:
        return {"backup_deferred": "the application's writes restarted it too often: it is made under the stop"}


def _go_on(rotation: Rotation, journal: Journal, migration: FernetSqlite, deadline: float) -> None:
    """Go on with the side file if it is the one that the journal vouches for; any other is thrown away."""
    side = side_file(journal)
    before = journal.record["prepared"] if side else {"rows": 0, "read": 0, "seconds": 0.0}
    if side is None:
        side = SideFile(journal.path(SIDE_FILE))
        side.remove()
    _check_growth(journal, side)
    began = time.monotonic()
    part = migration.prepare(side, rotation.encrypt_plaintext_rows, deadline - began)
    prepared = {
        "rows": before["rows"] + part.staged,
        "read": before["read"] + part.read,
        "seconds": round(before["seconds"] + time.monotonic() - began, 3),
        "boot_id": procfs.now().boot_id,
        "mark": side.mark(),
    }
    if part.finished:
        journal.enter("prepared", prepared=prepared | {"sha256": side.checksum()})
    else:
        journal.update(prepared=prepared)


def _check_growth(journal: Journal, side: SideFile) -> None:
    """Refuse an application that writes rows for as long as they are prepared: there would be no end, or none but a full disk."""
    read, rows = journal.record.get("prepared", {}).get("read", 0), sum(journal.record["rows"].values())
    size = side.path.stat().st_size if side.path.exists() else 0
    most = SIDE_TIMES * journal.record.get("backup", {}).get("bytes", size) + MORE_BYTES
    if read > ROWS_TIMES * rows + MORE_ROWS or size > most:
        raise KeyturnError(
            f"{read} rows have been prepared ({size >> 20} MiB), and there were {rows}: something writes them as fast as they are read; "
            "end that, then rotate again"
        )


def progress(journal: Journal) -> dict[str, Any]:
    """Tell how many rows have been read, of how many, and in how many seconds."""
    read, seconds = journal.record["prepared"]["read"], journal.record["prepared"]["seconds"]
    return {"done": read, "total": max(read, sum(journal.record["rows"].values())), "seconds": seconds}


def backup(journal: Journal, migration: FernetSqlite, online: bool) -> dict[str, Any]:
    """Make the backup and return its entry: what it is, and the fingerprint of the key that opens it."""
    path = journal.path(BACKUP)
    check_space(journal.folder, migration.database)  # stage has seen what it was then
    migration.database.backup(path, online)
    if online:
        migration.rehearse(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest, "opens_with": journal.record["old"]}
