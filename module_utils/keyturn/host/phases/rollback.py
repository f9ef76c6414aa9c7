"""Rollback: from any point before commit, back to the old value, and proved to be there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ... import issuers
from ...base import procfs
from ...base.errors import KeyturnError
from ...base.fingerprint import fingerprints
from ...ground import consumers
from .. import values
from ..journal import Journal, JournalRecord
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from .answers import HostAnswer, open_journal, refuse_decided, result, would
from .common import (
    NotStarted,
    check_files,
    close_start_gate,
    down_now,
    instant,
    open_start_gate,
    seconds_since,
    stamp,
    start,
    start_again,
    start_companions,
    stop,
)
from .finish import close
from .loss import going_back
from .prove import prove_back
from .shared import check_turned

if TYPE_CHECKING:
    from ...ground.rows.contract import RowStore


def run(
    rotation: Rotation, cause: str, abandon_commit: bool, until: str = "rolled_back", withdrawn: bool = False
) -> HostAnswer:
    """Put this host back on the old value; ``cause`` is the reason, and the first one given is kept.

    Of rows that all hosts share each is ``stopped`` first, then one has ``turned`` them, and then all end: ``until`` is how far to go. A
    host with a list of keys is not stopped: it ``accepts``, which is to write under the old one again and read both, before any goes on.
    Of data without an inverse each host says first whether it is ``allowed``: it changes nothing.
    ``withdrawn`` tells that who speaks for all hosts has taken back a new value that has lived beside the old one: until then the rotation
    stays open.
    ``abandon_commit`` says that the controller has seen a host of the unit that has not decided: only then may a host
    that has decided go back, since nobody can have finished.
    """
    application = rotation.application
    journal = application.get(rotation.rotation_id)
    if journal is None or journal.closed:
        return {"changed": False, "rotation": journal.record if journal else {}}
    refuse_decided(rotation, journal, abandon_commit)
    if rotation.check_mode:
        lost = going_back(rotation, journal).get("lost_writes")
        more = f", and lose what was written {lost}" if lost else ""
        return would(f"go back to the old value from phase {journal.phase}{more}" if until == "rolled_back" else "")
    with application.lock("rollback", LOCK_WAIT_SECONDS):
        # the call that held the lock may have gone on
        journal = open_journal(rotation)
        if journal.closed:
            return result(journal, changed=False)
        refuse_decided(rotation, journal, abandon_commit)
        _refuse_dead_value(rotation, journal)
        decided: JournalRecord = {
            **going_back(rotation, journal),
            "decision": "rollback",
            "failure": journal.record.get("failure") or cause,
        }
        if until == "allowed":
            return result(journal, changed=False)
        journal.update(**decided)
        if journal.touched and not journal.record.get("turned_back"):
            (LIST_STEPS if rotation.separator else STEPS)[until](rotation, journal)
        if until != "rolled_back":
            return result(journal, changed=True)
        return _end(rotation, journal, withdrawn)


def _end(rotation: Rotation, journal: Journal, withdrawn: bool) -> HostAnswer:
    """End the rotation on a host that is back, unless a new value that lives beside the old one has yet to be taken back."""
    open_start_gate(rotation)
    journal.record.pop("attention", None)
    # a host that was down meanwhile could not start them behind the gate
    with _tolerating(rotation, journal):
        start([service for service in rotation.service_list() if not service.healthy()], procfs.now())
    _note(journal, start_companions(rotation.service_list()))
    if withdrawn:
        journal.update(withdrawn=True)
    if _still_issued(rotation, journal):
        return result(journal, changed=True)
    outcome = _outcome(rotation, journal)
    values.discard_pending(journal)
    for consumer in rotation.consumers():
        consumers.clean(consumer)
    close(rotation, journal, outcome)
    return result(journal, changed=True)


def _still_issued(rotation: Rotation, journal: Journal) -> bool:
    """Tell whether a new value that lives beside the old one has yet to be taken back: it is when all hosts are back."""
    issuer = rotation.entry["issuer"]
    return bool(issuer and issuers.old_lives(issuer) and journal.reached("issuing") and not journal.has("withdrawn"))


def _outcome(rotation: Rotation, journal: Journal) -> str:
    """Look at what the files hold in the end, and return how the rotation has ended. What somebody else has put there stays."""
    old = journal.old
    try:
        held = fingerprints(rotation.current_values())
        surprise = ", ".join(f"{name} is {held[name]} and not {was}" for name, was in old.items() if held[name] != was)
    except KeyturnError as error:
        held, surprise = {}, str(error)
    found = list(filter(None, [journal.record.get("attention")]))
    if surprise:
        kept = journal.path(values.PREVIOUS)
        found.append(
            f"{surprise}, which this rotation has not put there: if that is right, rotate again; if not, put the right one back "
            f"first{f' ({kept} holds the one from before)' if kept.exists() else ''}"
        )
    ended: JournalRecord = {"held": held}
    if found:
        ended["attention"] = "; ".join(found)
    journal.update(**ended)
    return "needs_attention" if found else "rolled_back"


def _refuse_dead_value(rotation: Rotation, journal: Journal) -> None:
    """What a provider gave out is put back only when it was asked, and still accepts it (``ask_provider``).

    Where an issuer may have been told, a new value that is still needed is not forgotten either.
    """
    said = journal.record.get("old_credential", {})
    puts_back = rotation.entry["provider"] and journal.reached("issuing")
    # to take a value back at its issuer is a decision as well, and that may have failed
    assessed = journal.decision == "rollback" and not rotation.entry["issuer"]
    if puts_back and not assessed and said.get("verdict") != "accepted":
        raise KeyturnError(
            f"the old value is {said.get('verdict', 'unknown')} at its provider and is not put back: mend what failed, then "
            "run resume.yml; if the new value is dead as well, run rollback.yml with keyturn_override_dead_value: REASON"
        )


def _halt(rotation: Rotation, journal: Journal) -> None:
    check_files(rotation, rotation.staged_values(journal))
    services = rotation.service_list()
    if all(service.healthy() for service in services):
        # the switch had brought them up: its downtime counts, and a second one begins
        down = journal.record.get("downtime_seconds", 0.0)
        journal.update(stopped=stamp(), down_before=down)
    journal.update(down=down_now(journal, [one.name for one in services if one.name not in rotation.reloaded]))
    close_start_gate(rotation)
    stop(services, rotation.reloaded)


def _rows_back(rotation: Rotation, journal: Journal) -> None:
    staged = rotation.staged_values(journal)
    store = rotation.migration(staged.old, staged.new)
    if store is None:
        return
    store.recall(journal.folder, journal.prepared)
    left = _turn_rows(store)
    _note(journal, left and f"left as they are: {left}")
    if rotation.shares:
        journal.update(rows_under="old", speaker=rotation.speaker)


def _turn_back(rotation: Rotation, journal: Journal) -> None:
    _halt(rotation, journal)
    staged = rotation.staged_values(journal)
    if rotation.speaks and journal.record.get("rows_under") != "old":
        _rows_back(rotation, journal)
    elif (store := rotation.migration(staged.old, staged.new)) is not None:
        check_turned(rotation, store, "old")
    rotation.replace_values(staged.old, journal.record)
    journal.update(changed=instant(), held=dict(journal.old))
    open_start_gate(rotation)
    with _tolerating(rotation, journal):
        _note(journal, _start_on_old(rotation, journal))
        down = journal.record.get("down_before", 0.0) + seconds_since(journal.stopped)
        journal.update(downtime_seconds=round(down, 3) if rotation.stops else 0.0)
        prove_back(rotation, journal, staged)
    journal.update(turned_back=True)


def _start_on_old(rotation: Rotation, journal: Journal) -> str:
    try:
        return start_again(journal, rotation.service_list(), rotation.reloaded)
    except NotStarted as error:
        raise KeyturnError(
            f"{' and '.join(error.services)} is down: the old value is back in files and rows, and it does not start on that: {error}. "
            "Mend that, then run rollback.yml"
        ) from error


def _accept_again(rotation: Rotation, journal: Journal) -> None:
    from . import key_list  # most rotations have none

    key_list.accept_back(rotation, journal)


def _list_rows_back(rotation: Rotation, journal: Journal) -> None:
    from . import key_list

    key_list.rows_back(rotation, journal)


def _list_back(rotation: Rotation, journal: Journal) -> None:
    from . import key_list

    with _tolerating(rotation, journal):
        key_list.turn_back(rotation, journal)
    journal.update(turned_back=True)


STEPS = {"stopped": _halt, "turned": _rows_back, "rolled_back": _turn_back}
LIST_STEPS = {"accepts": _accept_again, "turned": _list_rows_back, "rolled_back": _list_back}


@contextlib.contextmanager
def _tolerating(rotation: Rotation, journal: Journal) -> Iterator[None]:
    """Go on where what does not work is none of this rotation's doing, and tell it.

    A person may end a rotation on a value that is dead, so that another can begin. A host that was not switched is as it was.
    """
    try:
        yield
    except KeyturnError as error:
        if rotation.overrides.get("dead_value"):
            journal.update(findings=[*journal.findings, f"left on a value that is dead: {error}"])
        elif journal.touched:
            raise
        else:
            journal.update(attention=f"{error}; this rotation has switched nothing here")


def _note(journal: Journal, finding: str) -> None:
    if finding:
        journal.update(findings=[*journal.findings, finding])


def _turn_rows(store: RowStore) -> str:
    """Put the rows of each store under the old value and return which were left as they are."""
    left = [(part.name, _turn_one(part)) for part in store.parts]
    return "; ".join(told if len(left) == 1 else f"{name}: {told}" for name, told in left if told)


def _turn_one(store: RowStore) -> str:
    """Do that with one store.

    Whatever made the switch fail, such as a process that holds the database, may be there still. Where no row has to be
    turned, it does not keep the service down.
    """
    try:
        return str(store.switch("old")["left"])
    except KeyturnError:
        if _needs_turning(store):
            raise
        return ""


def _needs_turning(store: RowStore) -> bool:
    try:
        census = store.census()
    except KeyturnError:  # also where an interrupted transaction has to be taken back first
        return True
    return bool(census["under"]["new"] or census["refused"])
