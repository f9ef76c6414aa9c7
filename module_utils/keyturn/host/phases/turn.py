"""Turn: prepare, switch and prove a host in one call, since each call costs more than a step of it.

Only rows in great number take further calls: prepare works for some seconds in each. The controller prints the names of the steps, so
what a step runs is imported where it is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..journal import Journal
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from .answers import HostAnswer, RowsRead, forward_journal, result, timed, would

# the steps of a call, by the phase of the journal after which it ends
ONE_KEY = {
    "prepared": ("prepare",),
    # of data that all hosts share
    "stopped": ("stop",),
    "turned": ("turn_rows",),
    "switched": ("prepare", "switch"),
    "proved": ("prepare", "switch", "prove"),
}
# Of a list of keys each host by itself takes all of them in one call. Where hosts share the value, a call ends at each barrier:
# no host goes on before every other one is there.
LIST_OF_ITS_OWN = {
    "prepared": ("back_up",),
    "leads": ("back_up", "lead"),
    "turned": ("back_up", "lead", "reencrypt"),
    "switched": ("back_up", "lead", "reencrypt", "drop"),
    "proved": ("back_up", "lead", "reencrypt", "drop", "prove"),
}
SHARED_LIST = {
    "prepared": ("back_up",),
    "accepts": ("back_up", "accept"),
    "leads": ("lead",),
    "turned": ("reencrypt",),
    "switched": ("drop",),
    "proved": ("drop", "prove"),
}
# the phases in which a step ends its call although there is more to do, and the step
UNFINISHED = {"preparing": "prepare", "turning": "reencrypt"}


class Step(NamedTuple):
    """Under which name its seconds count, what a step does, and what it would do where no other step tells it."""

    name: str
    run: Callable[[Rotation, Journal], bool]
    would: Callable[[Rotation, Journal | None], str] | None = None


def steps(overlap: str, value: str, until: str) -> tuple[str, ...]:
    """Return the steps of a call until the phase ``until``, by ``overlap`` and ``value`` of the catalogue's entry."""
    if overlap != "key_list":
        return ONE_KEY[until]
    return (SHARED_LIST if value == "shared" else LIST_OF_ITS_OWN)[until]


def _known(rotation: Rotation) -> Mapping[str, Step]:
    from . import prepare, prove, switch

    known = {
        "prepare": Step("prepare", prepare.run, prepare.would),
        "stop": Step("switch", switch.halt),
        "turn_rows": Step("switch", switch.turn_rows),
        "switch": Step("switch", switch.run, switch.would),
        "prove": Step("prove", prove.run, prove.would),
    }
    if not rotation.separator:
        return known
    from . import key_list  # most rotations have none

    return known | {name: Step(name, getattr(key_list, name), key_list.would(name)) for name in key_list.WOULD}


def run(rotation: Rotation, until: str) -> HostAnswer:
    """Take the host to the phase ``until``. What is done already is not done again, so every repetition converges."""
    known = _known(rotation)
    taken = [known[name] for name in steps(rotation.entry["overlap"], rotation.entry["value"], until)]
    if rotation.check_mode:
        begun = rotation.application.get(rotation.rotation_id)
        return would("\n".join(filter(None, (step.would and step.would(rotation, begun) for step in taken))), begun)
    with rotation.application.lock("turn", LOCK_WAIT_SECONDS):
        journal = forward_journal(rotation)
        changed = False
        for step in taken:
            with timed(journal, step.name):
                changed |= step.run(rotation, journal)
            if UNFINISHED.get(journal.phase) == step.name:
                return result(journal, changed) | {"progress": _progress(journal)}
        if changed:
            journal.update()  # with the times
        return result(journal, changed)


def _progress(journal: Journal) -> RowsRead:
    """Tell how many rows have been read, of how many, and in how many seconds."""
    from . import prepare

    read, seconds = (
        (journal.online["read"], journal.online["seconds"])
        if journal.phase == "turning"
        else prepare.read_so_far(journal)
    )
    return {"done": read, "total": max(read, sum(journal.rows.values())), "seconds": seconds}
