"""Other values in the files, and the services started on them, without a gate: whatever they read on the way works."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...base import procfs
from ...base.errors import KeyturnError
from ...base.fingerprint import fingerprints
from ...ground import consumers
from .. import readers
from ..journal import Journal, JournalRecord
from ..rotation import Rotation
from .common import down_now, instant, seconds_since, stamp, start_again, stop


def restart(
    rotation: Rotation,
    journal: Journal,
    held: Mapping[str, str],
    before: JournalRecord | None = None,
    stopped: Callable[[], None] = lambda: None,
) -> None:
    """Put ``held`` into the files and start the services anew; KeyturnError where one does not come up. Safe to repeat.

    ``before`` has the forms and modes that the files get back. ``stopped`` is called while nothing runs.
    """
    services = rotation.service_list()
    down = journal.record.get("downtime_seconds", 0.0)
    if not journal.has("stopped") or all(service.healthy() for service in services):
        journal.update(stopped=stamp(), down=down_now(journal, [service.name for service in services]))
    for service in services:
        service.note_companions()
    stop(services)
    stopped()
    rotation.replace_values(held, before)
    journal.update(changed=instant())
    failed = start_again(journal, services)
    journal.update(downtime_seconds=round(down + seconds_since(journal.stopped), 3))
    if failed:
        raise KeyturnError(failed)


def holds(rotation: Rotation, held: Mapping[str, str]) -> bool:
    """Tell whether every file holds ``held``: a call that was killed may have replaced one of two."""
    wanted = fingerprints(held)
    found = [fingerprints(consumers.read(consumer, rotation.variables)) for consumer in rotation.consumers()]
    return all(wanted[name] == mark for one in found for name, mark in one.items())


def runs_on(rotation: Rotation, journal: Journal, held: Mapping[str, str]) -> bool:
    """Tell whether the files hold ``held`` and every service has been started since they do."""
    if not journal.has("changed") or not holds(rotation, held):
        return False
    services = rotation.service_list()
    return all(service.healthy() for service in services) and not any(
        procfs.older(service.processes(), journal.changed) for service in services
    )


def stale(rotation: Rotation, journal: Journal, forgotten: Sequence[Mapping[str, str]]) -> list[str]:
    """Say which processes may write under another key than that of the files.

    Those have the data open since before the files last changed, or one of the ``forgotten`` values in their environment.
    """
    opened = procfs.older(procfs.holders(rotation.row_places()), journal.changed)
    since = "has the data open since before the keys in the files last changed"
    given = [one for held in forgotten for one in readers.others(rotation, held) if one.certain and not one.declared]
    return [*(f"{procfs.command_name(pid)} (pid {pid}) {since}" for pid in opened), *map(str, given)]
