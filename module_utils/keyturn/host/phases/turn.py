"""Turn: prepare, switch and prove a host in one call, since each call costs more than a step of it.

Only rows in great number take further calls: prepare works for some seconds in each. Of a list of keys ``calls`` has other steps.
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
    """What a step does, and what it would do."""

    run: Callable[[Rotation, Journal], bool]
    would: Callable[[Rotation, Journal | None], str]


def _steps(rotation: Rotation) -> Mapping[str, Step]:
    found = {"prove": Step(prove.run, prove.would)}
    if not rotation.separator:
        return found | {"prepare": Step(prepare.run, prepare.would), "switch": Step(switch.run, switch.would)}
    from . import key_list  # most rotations have none

    return found | {name: Step(getattr(key_list, name), key_list.would(name)) for name in key_list.WOULD}


# the phases in which a step ends its call although there is more to do, and the step
UNFINISHED = {"preparing": "prepare", "turning": "reencrypt"}


def run(rotation: Rotation, until: str) -> HostAnswer:
    """Take the host to the phase ``until``. What is done already is not done again, so every repetition converges."""
    steps = _steps(rotation)
    names = calls.steps(rotation.entry["overlap"], rotation.entry["value"], until)
    if rotation.check_mode:
        begun = rotation.application.get(rotation.rotation_id)
        return would("\n".join(filter(None, (steps[name].would(rotation, begun) for name in names))), begun)
    with rotation.application.lock("turn", LOCK_WAIT_SECONDS):
        journal = forward_journal(rotation)
        changed = False
        for name in names:
            with timed(journal, name):
                changed |= steps[name].run(rotation, journal)
            if UNFINISHED.get(journal.phase) == name:
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
