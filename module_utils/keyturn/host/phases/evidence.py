"""Evidence for the checklist that only the host can give: can the backup be restored, and what does the log say.

What is found never stops a rotation that is decided. A point without evidence stays open, and a person looks.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter

from ...base.errors import KeyturnError
from ...base.log_lines import pattern
from ...services.service import Service
from .. import readers, values
from ..journal import Drill, Evidence, Journal
from ..rotation import Rotation

SCRATCH = "restore"


def collect(rotation: Rotation, journal: Journal) -> Evidence:
    """Return ``logs``, the known error lines by service, ``backup``, the restore drill, where there is a backup, and ``readers``.

    Those are processes that have kept the old value.
    """
    found: Evidence = {"logs": {item.name: error_lines(rotation, item) for item in rotation.service_list()}}
    found["readers"] = _readers(rotation, journal)
    if journal.has("backup"):
        found["backup"] = restore_drill(rotation, journal)
    return found


def _readers(rotation: Rotation, journal: Journal) -> list[str]:
    try:
        held, changed = rotation.staged_values(journal).old, journal.changed
        return [str(one) for one in readers.others(rotation, held, changed)]
    except (KeyturnError, OSError) as error:
        return [f"who else has the old value is not known: {error}"]


def error_lines(rotation: Rotation, service: Service) -> dict[str, int] | None:
    """Count the known error lines since the service started, by their kind; None where nobody can, so that a person reads it.

    A log that was not written since may not be the service's own: that says nothing.
    """
    counts: Counter[str] = Counter()
    read = 0
    try:
        kinds = {kind: re.compile(pattern(line)) for kind, line in rotation.error_lines.items()}
        for said in service.log_lines() or ():
            read += 1
            counts.update(kind for kind, known in kinds.items() if known.match(said))
    except (KeyturnError, OSError, re.error):
        return None
    return dict(sorted(counts.items())) if read else None


def restore_drill(rotation: Rotation, journal: Journal) -> Drill:
    """Restore the backup in a scratch place and open each of its rows with the value that is kept for it."""
    scratch = journal.path(SCRATCH)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        store = rotation.migration(values.previous(journal), None)
        if store is None:
            raise KeyturnError("nothing depends on the value any more")
        scratch.mkdir(mode=0o700)
        return {"ok": True, "rows": store.restore(journal.folder, journal.backup, scratch)}
    except KeyturnError as error:
        return {"ok": False, "failure": str(error)}
    except OSError as error:
        return {"ok": False, "failure": f"{error.filename or scratch}: {error.strerror}"}
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
