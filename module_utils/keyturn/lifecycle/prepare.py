"""Prepare: the expensive work while the service runs. A backup, and the new ciphertexts beside the database."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from ..journal import Journal
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from ..side_file import SideFile
from ..sqlite_file import RestartedTooOften
from .common import BACKUP, SIDE_FILE, Result, forward_journal, result, would

if TYPE_CHECKING:
    from ..fernet_sqlite import FernetSqlite


def run(rotation: Rotation) -> Result:
    """Back up and compute. What an interrupted attempt left is thrown away and done again."""
    if rotation.check_mode:
        return would("back up the database and compute the new ciphertexts while the service runs")
    with rotation.application.lock("prepare", LOCK_WAIT_SECONDS):
        journal = forward_journal(rotation)
        if journal.reached("prepared"):
            return result(journal, changed=False)
        journal.enter("preparing")
        staged = rotation.staged_values(journal)
        migration = rotation.migration(staged.old, staged.new)
        if migration is None:
            journal.enter("prepared")
            return result(journal, changed=True)
        fields: dict[str, Any] = {}
        try:
            fields["backup"] = backup(journal, migration, online=True)
        except RestartedTooOften:
            fields["backup_deferred"] = "the application's writes restarted it too often: it is made under the stop"
        side = SideFile(journal.path(SIDE_FILE))
        count = migration.prepare(side, rotation.encrypt_plaintext_rows)
        journal.enter("prepared", prepared={"rows": count, "sha256": side.checksum()}, **fields)
        return result(journal, changed=True)


def backup(journal: Journal, migration: FernetSqlite, online: bool) -> dict[str, Any]:
    """Make the backup and return its entry: what it is, and the fingerprint of the key that opens it."""
    path = journal.path(BACKUP)
    migration.database.backup(path, online)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest, "opens_with": journal.record["old"]}
