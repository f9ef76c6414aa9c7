"""Turn: prepare, switch and prove a host in one call, since each call costs more than a step of it.

Only rows in great number take further calls: prepare works for some seconds in each.
"""

from __future__ import annotations

from ..rotation import LOCK_WAIT_SECONDS, Rotation
from . import prepare, prove, switch
from .answers import HostAnswer, forward_journal, result, timed, would

STEPS = {"prepare": prepare, "switch": switch, "prove": prove}
# the phase of the journal after which a call ends, and the steps that lead there
UNTIL = {"prepared": ("prepare",), "switched": ("prepare", "switch"), "proved": ("prepare", "switch", "prove")}


def run(rotation: Rotation, until: str) -> HostAnswer:
    """Take the host to the phase ``until``. What is done already is not done again, so every repetition converges."""
    steps = UNTIL[until]
    if rotation.check_mode:
        begun = rotation.application.get(rotation.rotation_id)
        return would("\n".join(filter(None, (STEPS[name].would(rotation, begun) for name in steps))), begun)
    with rotation.application.lock("turn", LOCK_WAIT_SECONDS):
        journal = forward_journal(rotation)
        changed = False
        for name in steps:
            with timed(journal, name):
                changed |= STEPS[name].run(rotation, journal)
            if journal.phase == "preparing":
                return result(journal, changed) | {"progress": prepare.progress(journal)}
        if changed:
            journal.update()  # with the times
        return result(journal, changed)
