"""Prune: old values go when they expire, each with its backup, whether a rotation comes by or not."""

from __future__ import annotations

from collections.abc import Sequence

from ..rotation import LOCK_WAIT_SECONDS, Holding
from . import retention
from .answers import HostAnswer, would


def run(holdings: Sequence[Holding]) -> HostAnswer:
    """Remove what has expired; returns the ids of the rotations whose old value is gone."""
    application = holdings[0].application
    expired = [journal.folder.name for journal in retention.expired(application)]
    if expired and holdings[0].check_mode:
        return would(f"remove the old value of {', '.join(expired)} and what it opens") | {"pruned": expired}
    if expired:
        with application.lock("prune", LOCK_WAIT_SECONDS):
            retention.prune(application)
    return {"changed": bool(expired), "pruned": expired}
