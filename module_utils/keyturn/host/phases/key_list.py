"""A list of keys, turned without a stop: all processes read the new key, then write under it, the rows follow, and the old key goes.

Each step leaves a host that serves, whatever comes next: a process reads every row that any other may have written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...base.errors import KeyturnError
from ...base.sides import Side, other
from .. import key_lists, probes
from ..journal import Journal, OnlineRows
from ..probes import Question
from ..rotation import Rotation
from ..values import Staged
from . import prepare
from .common import check_files, seconds_since, stamp
from .prove import prove_back
from .restart import holds, restart, runs_on, stale
from .shared import census, check_turned

if TYPE_CHECKING:
    from ...ground.rows.contract import Online, RowStore

# how often all rows are read before the one who writes under the other key is named
PASSES = 3


# what each step would do, and the phase that it leads to
WOULD = {
    "back_up": ("prepared", "back up the database while the service runs"),
    "accept": (
        "accepts",
        "have the services read the new key beside the old one in {files}, and start {services} anew",
    ),
    "lead": (
        "leads",
        "have the services write under the new key and read the old one in {files}, and start {services} anew",
    ),
    "reencrypt": ("turned", "turn the rows while the services run, until none is left under the old key"),
    "drop": ("switched", "take the old key out of {files}, and start {services} anew"),
}


def would(name: str) -> Callable[[Rotation, Journal | None], str]:
    """Return what says what a step would do; nothing where it is done."""

    def said(rotation: Rotation, begun: Journal | None) -> str:
        phase, text = WOULD[name]
        left = name == "back_up" and not rotation.speaks
        if left or (begun is not None and begun.reached(phase)):
            return ""
        files = ", ".join(str(consumer.path) for consumer in rotation.consumers())
        return text.format(files=files, services=", ".join(rotation.entry["services"]))

    return said


def back_up(rotation: Rotation, journal: Journal) -> bool:
    """Make the backup, while every row is under the old value."""
    if journal.reached("prepared"):
        return False
    if not journal.reached("preparing"):
        journal.enter("preparing")
    if rotation.speaks and not (journal.has("backup") or journal.has("backup_deferred")):
        journal.update(**prepare.backup_online(journal, _store(rotation, journal)))
    journal.enter("prepared")
    return True


def accept(rotation: Rotation, journal: Journal) -> bool:
    """Let every process of this host read the new key beside the old one, under which it goes on to write."""
    return _take(rotation, journal, "accepting", "accepts")


def lead(rotation: Rotation, journal: Journal) -> bool:
    """Let every process of this host write under the new key."""
    if rotation.entry["value"] == "shared":
        _after(journal, "accepts", "read the new key")
    return _take(rotation, journal, "leading", "leads")


def _take(rotation: Rotation, journal: Journal, begun: str, done: str) -> bool:
    if journal.closed:
        return False
    staged = rotation.staged_values(journal)
    held = (key_lists.accepting if begun == "accepting" else key_lists.leading)(rotation, staged)
    if journal.reached(done) and (journal.phase != done or runs_on(rotation, journal, held)):
        return False
    check_files(rotation, staged, switching=True)
    if not journal.reached(begun):
        journal.enter(begun)
    restart(rotation, journal, held, stopped=lambda: _deferred_backup(rotation, journal))
    question = Question(
        "old", held, None, rotation.service_list(), None, value_of=rotation.value_of, scripts=rotation.scripts
    )
    proofs = [
        *probes.process(question.services, journal.changed),
        *probes.environment(question.services, held, rotation.given),
        *probes.ask(rotation.entry["probes"], question),
    ]
    if failure := probes.first_failure(proofs):
        journal.update(proofs=proofs)
        raise KeyturnError(f"with both keys in the files, {failure}")
    if not journal.has("accepted"):
        journal.update(accepted=stamp())
    journal.enter(done)
    return True


def _deferred_backup(rotation: Rotation, journal: Journal) -> None:
    if rotation.speaks and not journal.has("backup"):
        journal.update(backup=prepare.backup(journal, _store(rotation, journal), online=False))


def reencrypt(rotation: Rotation, journal: Journal) -> bool:
    """Turn the rows for some seconds beside the application; then show twice, a grace time apart, that none is left.

    Of rows that all hosts share only one host takes this step.
    """
    if journal.reached("turned"):
        return False
    _after(journal, "leads", "write under the new key")
    if not journal.reached("turning"):
        journal.enter("turning")
    _check_stale(rotation, journal, "new")
    began, before = time.monotonic(), journal.online
    part = _store(rotation, journal).turn_online("new", journal.folder, prepare.SECONDS)
    now: OnlineRows = {
        "read": before["read"] + part.read,
        "seconds": round(before["seconds"] + time.monotonic() - began, 3),
    }
    over = prepare.outgrown(journal, now["read"])
    # what ends here, well or not, begins anew
    journal.update(online=now | {"read": 0} if part.finished or over else now)
    if part.finished:
        _settle(rotation, journal, "new", part)
        _note_side(rotation, journal, "new")
        journal.enter("turned", online=now)
    elif over:
        raise KeyturnError(
            f"{now['read']} rows have been read, and there were {sum(journal.rows.values())}: something writes them as fast as they are "
            "read; end that, then run resume.yml"
        )
    return True


def _note_side(rotation: Rotation, journal: Journal, side: Side) -> None:
    if rotation.shares:
        journal.update(rows_under=side, speaker=rotation.speaker)


def _settle(rotation: Rotation, journal: Journal, to: Side, part: Online) -> None:
    """Show that no row is under the other key, and that after the grace time none has come; KeyturnError names who writes under it.

    ``part`` is the call that has read the last rows.
    """
    store = _store(rotation, journal)
    for _ in range(PASSES):
        if part.left:
            part = store.turn_online(to, journal.folder, math.inf)
    if not part.left:
        time.sleep(rotation.entry["key_list"]["grace_seconds"])
        part = store.turn_online(to, journal.folder, math.inf)
    if part.turned or part.left:
        raise KeyturnError(_written_again(rotation, journal, store, other(to), part.turned + part.left))
    if part.refusals and to == "new":
        raise KeyturnError(f"{store.name}: rows open under neither value, and the old one is kept: {part.refusals}")
    if part.refusals:
        journal.update(findings=[*journal.findings, f"left as they are: {part.refusals}"])
    _check_stale(rotation, journal, to)


def drop(rotation: Rotation, journal: Journal) -> bool:
    """Take the old key out of this host's files, when no row needs it and nobody writes under it."""
    if journal.closed:
        return False
    staged = rotation.staged_values(journal)
    if journal.reached("switched"):
        if runs_on(rotation, journal, staged.new):
            return False
    else:
        _check_rows_turned(rotation, journal)
        check_files(rotation, staged, switching=True)
        if not journal.reached("switching"):
            _check_nothing_needs_old(rotation, journal)
            journal.enter("switching")
    restart(rotation, journal, staged.new)
    if not journal.reached("switched"):
        journal.enter("switched")
    return True


def _check_rows_turned(rotation: Rotation, journal: Journal) -> None:
    if rotation.speaks:
        return _after(journal, "turned", "have no row under the old value")
    _after(journal, "leads", "write under the new key")
    return check_turned(rotation, _store(rotation, journal), "new")


def _check_nothing_needs_old(rotation: Rotation, journal: Journal) -> None:
    store = _store(rotation, journal)
    found = census(rotation, store)
    if found and found["under"]["old"]:
        raise KeyturnError(_written_again(rotation, journal, store, "old", found["under"]["old"]))
    if found and found["refused"]:
        raise KeyturnError(f"{store.refusal(found)}; the old value is kept")
    _check_stale(rotation, journal, "new")


def accept_back(rotation: Rotation, journal: Journal) -> bool:
    """Have every process write under the old key again, and tell whether rows may be under the new one.

    Where hosts share the value, none goes further back before all of them are there.
    """
    staged = rotation.staged_values(journal)
    check_files(rotation, staged)
    # before that nobody could write under the new key, on any host
    return journal.reached("accepts") and _accept_again(rotation, journal, staged)


def turn_back(rotation: Rotation, journal: Journal) -> None:
    """Have every process write under the old key again, turn the rows back, and take the new key out of the files."""
    staged = rotation.staged_values(journal)
    rows_back(rotation, journal)
    restart(rotation, journal, staged.old, journal.record)
    prove_back(rotation, journal, staged)


def rows_back(rotation: Rotation, journal: Journal) -> None:
    """Have every process write under the old key again, and the rows under it: those that all hosts share one of them turns."""
    if not accept_back(rotation, journal):
        return None
    store = _store(rotation, journal)
    if not rotation.speaks:
        return check_turned(rotation, store, "old")
    if journal.record.get("rows_under") == "old" and not _needs_turning(rotation, journal):
        return None
    _check_stale(rotation, journal, "old")
    _settle(rotation, journal, "old", store.turn_online("old", journal.folder, math.inf))
    return _note_side(rotation, journal, "old")


def _accept_again(rotation: Rotation, journal: Journal, staged: Staged) -> bool:
    """Let the services read both keys and write under the old one; tell whether rows may be under the new one."""
    both = key_lists.accepting(rotation, staged)
    if holds(rotation, staged.old) and not _needs_turning(rotation, journal):
        return False  # a call that was killed has come to the end of it
    if runs_on(rotation, journal, both):
        return True
    try:
        restart(rotation, journal, both)
    except KeyturnError:
        # an application that takes no list after all has written nothing under a new key that only a list has
        if rotation.entry["value"] == "shared" or _needs_turning(rotation, journal):
            raise
        return False
    return True


def _needs_turning(rotation: Rotation, journal: Journal) -> bool:
    found = census(rotation, _store(rotation, journal))
    return bool(found["under"]["new"]) if found else rotation.rows_under != "old"


def _after(journal: Journal, phase: str, what: str) -> None:
    if not journal.reached(phase):
        raise KeyturnError(
            f"this host does not {what} yet (phase {journal.phase}), and every host must before any goes on: run resume.yml"
        )


def _stale(rotation: Rotation, journal: Journal, to: Side) -> str:
    """Say which processes of this host may still write under the other key than that of ``to``, and what there is to do."""
    staged = rotation.staged_values(journal)
    accepting, leading = key_lists.accepting(rotation, staged), key_lists.leading(rotation, staged)
    found = stale(rotation, journal, [staged.old, accepting] if to == "new" else [staged.new, leading])
    if rotation.shares and rotation.speaks and to == "new" and journal.has("accepted"):
        # whoever has begun on any host since all of them write under the new key
        opened = _store(rotation, journal).opened_before(seconds_since(journal.accepted))
        found += [f"{one} has been open since before the hosts read the new key" for one in opened]
    remedy = "add it to keyturn_services and to the services of the secret, or stop it"
    return f"{'; '.join(found)}: it may write under another key, so {remedy}" if found else ""


def _check_stale(rotation: Rotation, journal: Journal, to: Side) -> None:
    if found := _stale(rotation, journal, to):
        raise KeyturnError(found)


def _written_again(rotation: Rotation, journal: Journal, store: RowStore, side: Side, count: int) -> str:
    from ...ground.rows.contract import OTHER_WRITER

    return (
        f"{store.name}: {count} rows were written under the {side} value after all of them had been turned, so that value is kept: "
        f"{_stale(rotation, journal, other(side)) or OTHER_WRITER}"
    )


def _store(rotation: Rotation, journal: Journal) -> RowStore:
    staged = rotation.staged_values(journal)
    store = rotation.migration(staged.old, staged.new)
    if store is None:
        raise TypeError("a list of keys is for data: inputs/meaning.py refuses it without")
    return store
