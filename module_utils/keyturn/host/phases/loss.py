"""What going back would lose: data without a declared inverse goes back to its backup, and what was written since is gone.

Until the service was started on the new value that is nothing. Afterwards a person says so, and the journal has the word before
anything is done: a call after a kill goes on by it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ...base import timestamps
from ...base.errors import KeyturnError
from ...ground import rows
from ...ground.rows import backup_file
from ..journal import Journal, JournalRecord
from ..rotation import Rotation
from .common import start_gate

WORD = "lost_writes"


def going_back(rotation: Rotation, journal: Journal) -> JournalRecord:
    """Return what the journal keeps of a person's word, nothing where nothing can be lost; KeyturnError where there is none."""
    if rows.has_inverse(rotation.entry["migration"]) or journal.decision == "rollback":
        return {}
    # the gate opens right before the start
    if not journal.reached("switched") or start_gate(rotation).exists():
        return {}
    backup = Path(journal.backup["path"])
    try:
        backup_file.check(backup, journal.backup)
    except KeyturnError as error:
        raise KeyturnError(
            f"{error}; the data has no inverse (`back`) either, so it only goes forward: run resume.yml"
        ) from None
    made = timestamps.text(datetime.fromtimestamp(backup.stat().st_mtime, UTC))
    started = journal.entered("switched")
    reason = rotation.overrides.get(WORD)
    if not reason:
        raise KeyturnError(
            f"the data has no inverse (`back`), its backup is of {made}, and the service was started on the new value at {started}: to go "
            "back would lose what was written between then and now, so data, files and service stay on the new value, and resume.yml goes "
            f'forward; to go back and lose it: rollback.yml -e \'{{"keyturn_override_{WORD}": "REASON"}}\''
        )
    return {"lost_writes": f"since {started}, by the backup of {made}, on the word of {rotation.operator} ({reason})"}
