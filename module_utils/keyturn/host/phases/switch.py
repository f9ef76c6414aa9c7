"""Switch: the only downtime. Stop, turn the rows in one transaction, replace the files, start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...base import procfs
from ...base.errors import KeyturnError
from ...ground import consumers
from .. import probes
from ..journal import Journal
from ..rotation import Rotation
from ..values import Staged
from .common import (
    check_files,
    close_start_gate,
    down_now,
    fit_start_gate,
    instant,
    open_start_gate,
    seconds_since,
    stamp,
    start_again,
    start_companions,
    stop,
)
from .prepare import backup
from .prove import tells_apart
from .shared import check_turned

if TYPE_CHECKING:
    from ...ground.rows.contract import RowStore, Turned


def would(rotation: Rotation, begun: Journal | None) -> str:
    """Say what would be done; nothing where the host runs on the new value."""
    if begun is not None and begun.reached("switched") and _runs_on_new(rotation, begun):
        return ""
    names = ", ".join(name for name in rotation.entry["services"] if name not in rotation.reloaded) or "nothing"
    files = ", ".join(str(consumer.path) for consumer in rotation.consumers())
    again = f", reload {', '.join(rotation.reloaded)}" if rotation.reloaded else ""
    rows = ", turn the rows" if rotation.entry["migration"]["kind"] != "none" and rotation.speaks else ""
    return f"stop {names}{rows}, replace {', '.join(rotation.variables)} in {files}, start {names}{again}"


def run(rotation: Rotation, journal: Journal) -> bool:
    """Switch this host to the new value. What holds now is decided by evidence."""
    if journal.closed:
        return False
    services = rotation.service_list()
    if journal.reached("switched"):
        if _runs_on_new(rotation, journal):
            _check(start_companions(services))
            return False
        stop(services, rotation.reloaded)
    else:
        staged = rotation.staged_values(journal)
        check_files(rotation, staged, journal.reached("switching"))
        _turn(rotation, journal, staged)
    open_start_gate(rotation)
    down = start_again(journal, services, rotation.reloaded)
    down_for = seconds_since(journal.stopped) if rotation.stops else 0.0
    journal.update(downtime_seconds=down_for)
    _check(down)
    return True


def _check(down: str) -> None:
    if down:
        raise KeyturnError(down)


def halt(rotation: Rotation, journal: Journal) -> bool:
    """Stop the services, and let nothing start them: for rows that all hosts share, before the speaker turns them."""
    if journal.reached("switched"):
        return False
    check_files(rotation, rotation.staged_values(journal), journal.reached("switching"))
    _halt(rotation, journal)
    return True


def turn_rows(rotation: Rotation, journal: Journal) -> bool:
    """Turn the rows that all hosts share, once all of them are stopped."""
    staged = rotation.staged_values(journal)
    store = rotation.migration(staged.old, staged.new)
    if store is None or journal.reached("switched"):
        return False
    if journal.has("rows_under") and not store.sample()["under"]["old"]:
        return False
    store.recall(journal.folder, journal.prepared)
    _turn_rows(rotation, journal, store)
    return True


def _turn(rotation: Rotation, journal: Journal, staged: Staged) -> None:
    store = rotation.migration(staged.old, staged.new)
    turns = store is not None and rotation.speaks and not journal.has("rows_under")
    if store is not None and turns:
        store.recall(journal.folder, journal.prepared)  # a checksum takes its time: before anything stops
    _check_issued(rotation, staged)
    _halt(rotation, journal)
    turned = journal.record.get("turned", {})
    if store is not None and turns:
        turned = _turn_rows(rotation, journal, store)
    elif store is not None:
        check_turned(rotation, store, "new")
    rotation.replace_values(staged.new)
    if _has_one_from_before(rotation) and not tells_apart(rotation, journal, staged):
        raise KeyturnError(
            f"the probes of {rotation.secret} have held before {', '.join(rotation.reloaded)} was reloaded, so they do not show which "
            "value it has: give it one that fails on the old value, or take the secret out of its reloads"
        )
    journal.enter("switched", changed=instant(), turned=turned)


def _halt(rotation: Rotation, journal: Journal) -> None:
    fit_start_gate(rotation)
    if not journal.reached("switching"):
        stopping = [name for name in rotation.entry["services"] if name not in rotation.reloaded]
        journal.enter("switching", stopped=stamp(), down=down_now(journal, stopping))
    close_start_gate(rotation)
    stop(rotation.service_list(), rotation.reloaded)


def _turn_rows(rotation: Rotation, journal: Journal, store: RowStore) -> Turned:
    store.check_unused()
    if not journal.has("backup"):
        journal.update(backup=backup(journal, store, online=False))
    turned: Turned = store.switch("new", rotation.encrypt_plaintext_rows)
    if rotation.shares:
        journal.update(turned=turned, rows_under="new", speaker=rotation.speaker)
    return turned


def _has_one_from_before(rotation: Rotation) -> bool:
    """Tell whether a service that is reloaded runs since before its files changed: one that has started since has read them."""
    again = [service for service in rotation.service_list() if service.name in rotation.reloaded]
    if not again:
        return False
    changed = procfs.moment_of(max(consumers.changed_at(consumer) for consumer in rotation.consumers()))
    return any(procfs.older(service.processes(), changed) for service in again)


def _check_issued(rotation: Rotation, staged: Staged) -> None:
    """Refuse to stop anything for a value that its issuer does not accept from this host."""
    if not rotation.entry["issuer"]:
        return
    reply = rotation.ask_provider(staged.new)
    if reply.verdict != "accepted":
        raise KeyturnError(
            f"the new value is {reply.verdict} from this host ({reply.detail}); nothing was stopped here: see why, then rotate again"
        )


def _runs_on_new(rotation: Rotation, journal: Journal) -> bool:
    if rotation.reloaded:
        return False  # no process shows it, and a second reload does no harm
    proofs = probes.process(rotation.service_list(), journal.changed)
    return probes.first_failure(proofs) is None and all(service.healthy() for service in rotation.service_list())
