"""Turn: prepare, switch and prove a host in one call, since each call costs more than a step of it.

Only rows in great number take further calls: prepare works for some seconds in each. ``calls`` says which steps a call has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from .. import calls
from ..journal import Journal
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from . import prepare, prove, switch
from .answers import HostAnswer, RowsRead, forward_journal, result, timed, would


class Step(NamedTuple):
    """Under which name its seconds count, what a step does, and what it would do where no other step tells it."""

    name: str
    run: Callable[[Rotation, Journal], bool]
    would: Callable[[Rotation, Journal | None], str] | None = None


STEPS = {
    "prepare": Step("prepare", prepare.run, prepare.would),
    "stop": Step("switch", switch.halt),
    "turn_rows": Step("switch", switch.turn_rows),
    "switch": Step("switch", switch.run, switch.would),
    "prove": Step("prove", prove.run, prove.would),
}
# the phases in which a step ends its call although there is more to do, and the step
UNFINISHED = {"preparing": "prepare", "turning": "reencrypt"}


def _steps(rotation: Rotation) -> Mapping[str, Step]:
    if not rotation.separator:
        return STEPS
    from . import key_list  # most rotations have none

    return STEPS | {name: Step(name, getattr(key_list, name), key_list.would(name)) for name in key_list.WOULD}


def run(rotation: Rotation, until: str) -> HostAnswer:
    """Take the host to the phase ``until``. What is done already is not done again, so every repetition converges."""
    known = _steps(rotation)
    steps = [known[name] for name in calls.steps(rotation.entry["overlap"], rotation.entry["value"], until)]
    if rotation.check_mode:
        begun = rotation.application.get(rotation.rotation_id)
        return would("\n".join(filter(None, (step.would and step.would(rotation, begun) for step in steps))), begun)
    with rotation.application.lock("turn", LOCK_WAIT_SECONDS):
        journal = forward_journal(rotation)
        changed = False
        for step in steps:
            with timed(journal, step.name):
                changed |= step.run(rotation, journal)
            if UNFINISHED.get(journal.phase) == step.name:
                return result(journal, changed) | {"progress": _progress(journal)}
        if changed:
            journal.update()  # with the times
        return result(journal, changed)


def _progress(journal: Journal) -> RowsRead:
    """Tell how many rows have been read, of how many, and in how many seconds."""
    read, seconds = (
        (journal.online["read"], journal.online["seconds"])
        if journal.phase == "turning"
        else prepare.read_so_far(journal)
    )
    return {"done": read, "total": max(read, sum(journal.rows.values())), "seconds": seconds}
