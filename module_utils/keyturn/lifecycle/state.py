"""Say which rotation is open on a host, and how those of the past have ended. Changes nothing."""

from __future__ import annotations

from pathlib import Path

from ..journal import Application
from .answers import Result

TOLD = ("rotation_id", "secret", "phase", "decision", "outcome", "new", "finished", "retire")


def run(app_root: str, state_dir: str) -> Result:
    """Return the open journal and the ends of the others."""
    application = Application(Path(state_dir), Path(app_root))
    opened = application.open_journal()
    closed = {
        journal.folder.name: {name: journal.record.get(name) for name in TOLD}
        for journal in application.journals()
        if journal.closed
    }
    return {"changed": False, "rotation": opened.record if opened else {}, "closed": closed}
