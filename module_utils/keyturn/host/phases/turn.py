"""Turn: prepare, switch and prove a host in one call, since each call costs more than a step of it.

Only rows in great number take further calls: prepare works for some seconds in each.
"""

from __future__ import annotations

from collections.abc import Callable

from ..journal import Journal
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from . import prepare, prove, switch
from .answers import HostAnswer, forward_journal, result, timed, would

# what a call does, and under which name its seconds count
Step = tuple[str, Callable[[Rotation, Journal], bool], Callable[[Rotation, Journal | None], str]]
PREPARE: Step = ("prepare", prepare.run, prepare.would)
STOP: Step = ("switch", switch.halt, switch.would_halt)
ROWS: Step = ("switch", switch.turn_rows, switch.would_halt)
SWITCH: Step = ("switch", switch.run, switch.would)
PROVE: Step = ("prove", prove.run, prove.would)
# after which a call ends, and the steps that lead there
UNTIL = {
    "prepared": (PREPARE,),
    "stopped": (STOP,),
    "turned": (ROWS,),
    "switched": (PREPARE, SWITCH),
    "proved": (PREPARE, SWITCH, PROVE),
}


def run(rotation: Rotation, until: str) -> HostAnswer:
    """Take the host to the phase ``until``. What is done already is not done again, so every repetition converges."""
    steps = UNTIL[until]
    if rotation.check_mode:
        begun = rotation.application.get(rotation.rotation_id)
        return would("\n".join(filter(None, (tell(rotation, begun) for _, _, tell in steps))), begun)
    with rotation.application.lock("turn", LOCK_WAIT_SECONDS):
        journal = forward_journal(rotation)
        changed = False
        for name, take, _ in steps:
            with timed(journal, name):
                changed |= take(rotation, journal)
            if journal.phase == "preparing":
                return result(journal, changed) | {"progress": prepare.progress(journal)}
        if changed:
            journal.update()  # with the times
        return result(journal, changed)
