"""Prune: old values go when they expire, each with its backup, whether a rotation comes by or not."""

from __future__ import annotations

from collections.abc import Sequence

from ...ground import consumers
from ..rotation import LOCK_WAIT_SECONDS, Holding
from . import retention
from .answers import HostAnswer, would


def run(holdings: Sequence[Holding]) -> HostAnswer:
    """Remove what has expired, and what killed calls have left beside files with values.

    Returns the ids of the rotations whose old value is gone.
    """
    application = holdings[0].application
    expired = [journal.folder.name for journal in retention.expired(application)]
    places = {consumer.path: consumer for holding in holdings for consumer in holding.consumers()}.values()
    left = [str(path) for consumer in places for path in consumers.left(consumer)]
    if not expired and not left:
        return {"changed": False, "pruned": []}
    if holdings[0].check_mode:
        old = [f"remove the old value of {', '.join(expired)} and what it opens"] if expired else []
        killed = [f"remove {', '.join(left)}, which a killed call has left"] if left else []
        return would("; ".join([*old, *killed])) | {"pruned": expired}
    with application.lock("prune", LOCK_WAIT_SECONDS):
        retention.prune(application)
        for consumer in places:
            consumers.clean(consumer)
    return {"changed": True, "pruned": expired}
