"""Commit in two steps: decide on every host of the unit, and only when all have answered finish."""

from __future__ import annotations

from collections.abc import Callable

from ...base.errors import KeyturnError
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from .answers import HostAnswer, forward_journal, result, timed, would


def run(rotation: Rotation, step: str) -> HostAnswer:
    """Take one of the two steps, or both."""
    if step == "decide":
        return decide(rotation)
    from . import finish  # a decision imports nothing that looks at the application

    return finish.run(rotation) if step == "finish" else _both(rotation, finish.run)


def decide(rotation: Rotation) -> HostAnswer:
    """Write down that this host commits. Nothing is deleted; from here rollback needs the whole unit's consent."""
    if rotation.check_mode:
        return would("decide to commit", rotation.application.get(rotation.rotation_id))
    with rotation.application.lock("decide", LOCK_WAIT_SECONDS):
        journal = forward_journal(rotation)
        if journal.decision == "commit":
            return result(journal, changed=False)
        if not journal.reached("proved"):
            raise KeyturnError(f"rotation {rotation.rotation_id} is not proved on this host (phase {journal.phase})")
        with timed(journal, "decide"):
            journal.update(decision="commit")
        return result(journal, changed=True)


def _both(rotation: Rotation, finish: Callable[[Rotation], HostAnswer]) -> HostAnswer:
    """Take both steps, one after the other: for a host that has its unit to itself."""
    if rotation.check_mode:
        begun = rotation.application.get(rotation.rotation_id)
        return would("decide to commit, close the journal and catalogue the backup", begun)
    decided, finished = decide(rotation), finish(rotation)
    return finished | {"changed": decided["changed"] or finished["changed"]}
