"""Switch: the only downtime. Stop, turn the rows in one transaction, replace the files, start."""

from __future__ import annotations

from typing import Any

from .. import probes, procfs
from ..journal import Journal
from ..procfs import Moment
from ..rotation import Rotation
from ..values import Staged
from .common import (
    check_files,
    close_gate,
    open_gate,
    replace_files,
    seconds_since,
    side_file,
    stamp,
    start,
    stop,
)
from .prepare import backup


def would(rotation: Rotation, begun: Journal | None) -> str:
    """Say what would be done; nothing where the host runs on the new value."""
    if begun is not None and begun.reached("switched") and _runs_on_new(rotation, begun):
        return ""
    names = ", ".join(rotation.entry["services"])
    files = ", ".join(str(consumer.path) for consumer in rotation.consumers())
    return f"stop {names}, turn the rows, replace {', '.join(rotation.variables)} in {files}, start {names}"


def run(rotation: Rotation, journal: Journal) -> bool:
    """Switch this host to the new value. What holds now is decided by evidence."""
    if journal.closed:
        return False
    services = rotation.service_list()
    if journal.reached("switched"):
        if _runs_on_new(rotation, journal):
            return False
        stop(services)
    else:
        staged = rotation.staged_values(journal)
        check_files(rotation, staged)
        _turn(rotation, journal, staged)
    open_gate(rotation)
    start(services, Moment(*journal.record["changed"]))
    journal.update(downtime_seconds=seconds_since(journal.record["stopped"]))
    return True


def _turn(rotation: Rotation, journal: Journal, staged: Staged) -> None:
    migration = rotation.migration(staged.old, staged.new)
    side = side_file(journal)
    if not journal.reached("switching"):
        journal.enter("switching", stopped=stamp())
    close_gate(rotation)
    stop(rotation.service_list())
    turned: dict[str, Any] = {}
    if migration is not None:
        migration.database.check_unused()
        if "backup" not in journal.record:
            journal.update(backup=backup(journal, migration, online=False))
        turned = migration.switch("new", side)
    replace_files(rotation, staged.new)
    journal.enter("switched", changed=list(procfs.now()), turned=turned)


def _runs_on_new(rotation: Rotation, journal: Journal) -> bool:
    proofs = probes.process(rotation.service_list(), Moment(*journal.record["changed"]))
    return probes.first_failure(proofs) is None and all(service.healthy() for service in rotation.service_list())
