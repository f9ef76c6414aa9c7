"""Say which rotation is open on a host, how those of the past have ended, and what it holds. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...base.errors import KeyturnError
from ...base.fingerprint import fingerprints
from ..journal import Application
from ..rotation import Holding
from . import retention
from .answers import Held, HostAnswer

TOLD = ("rotation_id", "secret", "phase", "decision", "outcome", "old", "new", "finished", "retire", "log_head")


def run(app_root: str, state_dir: str, holdings: Sequence[Holding] = ()) -> HostAnswer:
    """Return the open journal, the ends of the others and which of them have expired; of ``holdings`` what is held, by secret."""
    application = Application(Path(state_dir), Path(app_root))
    opened = application.open_journal()
    closed = {journal.folder.name: journal.fields(*TOLD) for journal in application.journals() if journal.closed}
    return {
        "changed": False,
        "rotation": opened.record if opened else {},
        "closed": closed,
        "expired": [journal.folder.name for journal in retention.expired(application)],
        "held": {holding.secret: _held(holding) for holding in holdings},
    }


def _held(holding: Holding) -> Held:
    """Tell whether the secret is used on this host, the fingerprints, and the ``problem`` of one that should be there."""
    try:
        values = holding.values_here()
    except KeyturnError as error:
        return {"used": True, "values": {}, "problem": str(error)}
    return {"used": values is not None, "values": fingerprints(values or {}), "problem": ""}
