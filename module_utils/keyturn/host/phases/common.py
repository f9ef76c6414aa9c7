"""What the phases that touch the application share: the evidence of the files, the start gate, stop and start."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...base import durable, procfs
from ...base.errors import KeyturnError
from ...base.fingerprint import fingerprints
from ...base.procfs import Moment
from ...ground import consumers
from ...ground.consumers import Consumer
from ...services.service import Service
from .. import key_lists
from ..journal import Instant, Journal, Stamp, utc_now
from ..rotation import Rotation
from ..values import Staged

if TYPE_CHECKING:
    from ...ground.rows.contract import Space

SPARE_BYTES = 1 << 20


class NotStarted(KeyturnError):
    """Why the first of these ``services`` does not start, or is not healthy."""

    def __init__(self, text: str, services: Sequence[str]) -> None:
        super().__init__(text)
        self.services = services


def check_files(rotation: Rotation, staged: Staged, switching: bool = True) -> None:
    """Refuse when a consumer holds neither the old nor the new value: somebody else has changed it.

    What there is to do depends on what has been done: before the host is ``switching`` nothing but a staged value has to go.
    """
    remedy = (
        "keep what stands there, put one of the two back (previous.json and pending.json in the folder of the rotation hold them), then "
        "run resume.yml or rollback.yml"
        if switching
        else "the value that was staged is discarded; see that the right one stands there, then rotate again"
    )
    known = [fingerprints(held) for held in (staged.old, staged.new, *key_lists.between(rotation, staged))]
    for consumer in rotation.consumers():
        held = fingerprints(consumers.read(consumer, rotation.variables))
        for name, found in held.items():
            if found not in [one[name] for one in known]:
                raise KeyturnError(
                    f"{consumer.place(name)}: {name} is {found}, neither the old value {known[0][name]} nor the new "
                    f"{known[1][name]}; nothing was touched: {remedy}"
                )


def check_files_hold_new(rotation: Rotation, staged: Staged, decided: bool) -> None:
    """Refuse when a consumer holds anything but the new value: the next start of the application would read that.

    Only a rotation that is ``decided`` waits for it; any other goes back by itself, and the new value is forgotten.
    """
    remedy = (
        "put the new value back (pending.json in the folder of the rotation holds it), then run resume.yml"
        if decided
        else "somebody has put it there, so the rotation goes back; see that nobody does, then rotate again"
    )
    check_files(rotation, staged)
    for consumer in rotation.consumers():
        held = fingerprints(consumers.read(consumer, rotation.variables))
        for name, wanted in fingerprints(staged.new).items():
            if held.get(name, wanted) != wanted:
                raise KeyturnError(
                    f"{consumer.place(name)}: {name} is the old value {held[name]} again and not the new {wanted}: {remedy}"
                )


def start_gate(rotation: Rotation) -> Path:
    """Return the file that keeps the services from starting while it exists."""
    return rotation.application.folder / "switching"


def fit_start_gate(rotation: Rotation) -> None:
    """See that the managers know the start gate and would heed it, while it is open. What refuses that has stopped nothing yet."""
    for service in rotation.service_list():
        service.fit_start_gate(start_gate(rotation))


def close_start_gate(rotation: Rotation) -> None:
    """Let nothing but keyturn start the services, across reboots, where their manager can do that (``fit_start_gate``)."""
    for service in rotation.service_list():
        service.note_companions()
    durable.write_file(start_gate(rotation), rotation.rotation_id.encode())


def open_start_gate(rotation: Rotation) -> None:
    """Let the services start again."""
    durable.remove(start_gate(rotation))


def stop(services: Sequence[Service], reloaded: Sequence[str] = ()) -> None:
    """Stop the services, the last to start first; those that will be ``reloaded`` run on."""
    for service in reversed(services):
        if service.name not in reloaded:
            service.stop()


def start(services: Sequence[Service], changed: Moment, reloaded: Sequence[str] = ()) -> str:
    """Start or reload the services and wait until each is healthy; one with a process from before ``changed`` is started again.

    The start script of a call that was killed goes on, and may bring up a process that still knows the other value. A service
    that fails keeps no other down: NotStarted comes in the end. Returns what ``start_companions`` says.
    """
    failures = {}
    for service in services:
        try:
            again = service.name in reloaded
            service.reread() if again else service.start()
            service.wait_healthy()
            if not again and procfs.older(service.processes(), changed):
                service.stop()
                service.start()
                service.wait_healthy()
        except KeyturnError as error:
            failures[service.name] = str(error)
    if not failures:
        return start_companions(services)
    for service in services:
        service.start_companions()  # and none is forgotten: the services are stopped and started once more
    raise NotStarted(next(iter(failures.values())), list(failures))


def down_now(journal: Journal, names: Iterable[str]) -> dict[str, str]:
    """Return since when services are down, as a journal keeps it: those of which it says so already, since then."""
    return dict.fromkeys(names, utc_now()) | journal.record.get("down", {})


def start_again(journal: Journal, services: Sequence[Service], reloaded: Sequence[str] = ()) -> str:
    """Start what a rotation has stopped, as ``start`` does. The journal has at once which services stay down."""
    try:
        companions = start(services, journal.changed, reloaded)
    except NotStarted as error:
        known = down_now(journal, error.services)
        journal.update(down={name: known[name] for name in error.services})
        raise
    journal.record.pop("down", None)
    return companions


def start_companions(services: Sequence[Service]) -> str:
    """Start again what stopped with the services, and forget it once it runs; return what does not come up, as a sentence."""
    down = "; ".join(filter(None, [service.start_companions() for service in services]))
    for service in () if down else services:
        service.forget_companions()
    return down


def check_reader(service: Service, consumer: Consumer) -> None:
    """Its process, where it runs, must be able to read the file that takes the place of today's."""
    pid = service.pid()
    reader = procfs.user_and_groups(pid) if pid is not None else None
    if reader is not None and service.reads(consumer.path):
        consumers.check_reader(consumer, reader)


def check_space(state: Path, space: Space) -> None:
    """The state folder takes what is kept of the rows, other folders what the data needs beside it; on one disk it adds up."""
    while not state.exists():
        state = state.parent
    needs: dict[int, tuple[Path, int]] = {}
    for folder, size in ((state, space.kept), *space.beside.items()):
        device = folder.stat().st_dev
        first, before = needs.get(device, (folder, 0))
        needs[device] = (first, before + size + SPARE_BYTES)
    for folder, need in needs.values():
        free = shutil.disk_usage(folder).free
        if free < need:
            raise KeyturnError(f"{folder}: {need >> 20} MiB of disk space are needed and {free >> 20} MiB are free")


def instant() -> Instant:
    """Return the present moment as a journal keeps it."""
    return [*procfs.now()]


def stamp() -> Stamp:
    """Return the present time, by the boot and by the wall."""
    return {"moment": instant(), "time": time.time()}


def seconds_since(then: Stamp) -> float:
    """Return the seconds since a stamp; by the clock of the wall when the host was booted in between."""
    boot_id, began = then["moment"]
    now = procfs.now()
    seconds = now.seconds - float(began) if now.boot_id == boot_id else time.time() - then["time"]
    return round(seconds, 3)
