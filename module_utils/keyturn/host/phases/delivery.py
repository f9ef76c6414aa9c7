"""How the values reach the application: from `.env` into a systemd credential that only this host opens, or back.

What holds now is decided by evidence, so that a run which was killed is simply run again; one that fails is undone by itself.
At every moment the application, if something starts it, finds all values in one place at least.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...base import durable, leaks, procfs
from ...base.errors import KeyturnError
from ...base.fingerprint import fingerprint
from ...ground import consumers
from ...ground.consumers import Consumer, dotenv, systemd_credential_file, systemd_creds
from ...services.service import Service
from ...services.systemd import SystemdService
from .. import probes, values
from ..journal import RECOVERY
from ..probes import Question
from ..rotation import LOCK_WAIT_SECONDS, Holding
from .answers import HostAnswer
from .common import check_reader, start, stop


@dataclass(frozen=True)
class Layout:
    """Where the values stand: the files in clear, whole and with their modes, and the systemd credential as it lies on disk, if any."""

    files: Mapping[Path, bytes]
    modes: Mapping[Path, int]
    systemd_credential: bytes | None

    @property
    def sealed(self) -> bool:
        """Whether a systemd credential delivers the values."""
        return self.systemd_credential is not None


class Host:
    """One application on this host, for some secrets of the catalogue."""

    def __init__(self, holdings: Sequence[Holding]) -> None:
        self.holdings = holdings
        self.application = holdings[0].application
        self.systemd_credential = holdings[0].systemd_credential

    @cached_property
    def services(self) -> list[SystemdService]:
        """The units that read one of the secrets; KeyturnError for one that is none."""
        named = {service.name: service for holding in self.holdings for service in holding.service_list()}
        return [self._checked(service) for service in named.values()]

    @staticmethod
    def _checked(service: Service) -> SystemdService:
        if not isinstance(service, SystemdService):
            raise KeyturnError(
                f"service {service.name} is started by a script, and only systemd hands over a credential: make it a unit"
            )
        service.check()
        return service

    def consumer(self, path: Path) -> Consumer:
        """Return the file in clear as a consumer."""
        return Consumer("dotenv", path, root=self.holdings[0].app_root)

    def files(self) -> dict[Path, list[str]]:
        """The files in clear, and the names that the catalogue has for values in each."""
        found: dict[Path, list[str]] = {}
        for holding in self.holdings:
            for item in holding.entry["consumers"]:
                if item["format"] == "dotenv":
                    if item["keys"] is not None or item["inside"]:
                        raise KeyturnError(
                            f"{item['path']} has the value of {holding.secret} under another name or inside a URL, and a credential holds "
                            "values by their own names alone: leave keyturn_delivery at dotenv"
                        )
                    names = [*holding.variables, *holding.entry["aliases"]]
                    found.setdefault(holding.app_root / item["path"], []).extend(names)
        return found

    def check(self) -> None:
        """Refuse what would fail under the stop, a host on which a rotation is open, and a file that would stay in clear."""
        opened = self.application.open_journal()
        if opened is not None:
            raise KeyturnError(
                f"rotation {opened.folder.name} is open on this host: with keyturn_delivery as it was, {RECOVERY}"
            )
        durable.check_private_folder(self.systemd_credential.path.parent)
        for holding in self.holdings:
            holding.check_durable()
        for path in self.files():
            consumers.check_replaceable(self.consumer(path))
            for service in self.services:
                check_reader(service, self.consumer(path))
        for service in self.services if self.holdings[0].sealed else ():
            service.check_launch(self.systemd_credential.path)
        for holding in self.holdings if self.holdings[0].sealed else ():
            _check_none_in_clear(holding)

    def now(self) -> Layout:
        """Where the values stand now."""
        files = self.files()
        modes = {path: consumers.mode(self.consumer(path)) for path in files}
        clear = {path: consumers.content(self.consumer(path)) for path in files}
        path = self.systemd_credential.path
        return Layout(clear, modes, path.read_bytes() if path.exists() else None)

    def values(self, layout: Layout) -> dict[str, str]:
        """All values, wherever they stand; KeyturnError for one that two places disagree on."""
        name = self.systemd_credential.sealed
        sealed = layout.systemd_credential
        found = systemd_credential_file.all_values(systemd_creds.unseal(sealed, name)) if sealed else {}
        for path, names in self.files().items():
            for name, value in dotenv.read(layout.files[path], names).items():
                if value and found.setdefault(name, value) != value:
                    raise KeyturnError(
                        f"{name} is {fingerprint(value)} in {path} and {fingerprint(found[name])} in {self.systemd_credential.path}: "
                        f"find out which one the application uses, and keep both until then; if {path} has the other one, remove it there"
                    )
        return found

    def origin(self, layout: Layout, held: Mapping[str, str], sealed: bool) -> Layout:
        """Where a failure leads back to: a systemd credential beside files that hold everything is what a killed call has left."""
        whole = {name for path, names in self.files().items() for name in _set_in(layout.files[path], names)} >= set(
            held
        )
        return Layout(layout.files, layout.modes, None) if sealed and whole else layout

    def wanted(self, layout: Layout, held: Mapping[str, str], sealed: bool) -> Layout:
        """Where the values are to stand; KeyturnError where one would get lost, or stay in clear."""
        modes = {path: mode & 0o600 for path, mode in layout.modes.items()}
        if sealed:
            files = {path: self._emptied(path, layout.files[path], names, held) for path, names in self.files().items()}
            return Layout(files, modes, self._sealed(layout.systemd_credential, held))
        self._check_none_lost(held)
        files = {path: _filled(layout.files[path], names, held) for path, names in self.files().items()}
        return Layout(files, modes, None)

    def _check_none_lost(self, held: Mapping[str, str]) -> None:
        unknown = sorted(set(held) - {name for names in self.files().values() for name in names})
        if unknown:
            raise KeyturnError(
                f"{self.systemd_credential.path} holds {', '.join(unknown)}, which no entry of keyturn_secrets with a `.env` names: it "
                "would be lost, add the entry again"
            )

    @staticmethod
    def _emptied(path: Path, content: bytes, names: Sequence[str], held: Mapping[str, str]) -> bytes:
        """Return a file without its values; KeyturnError where one stands in it beside its place."""
        content = dotenv.without(content, names)
        left = sorted(leaks.names_in(content.decode(errors="replace"), held))
        if left:
            raise KeyturnError(
                f"{path} would go on to hold {', '.join(left)} in clear, in a comment or under another name: remove it there"
            )
        return content

    def _sealed(self, sealed: bytes | None, held: Mapping[str, str]) -> bytes:
        """Return the values as a systemd credential: the one that is there where it holds them, since each sealing gives another."""
        name = self.systemd_credential.sealed
        if sealed is not None and systemd_credential_file.all_values(systemd_creds.unseal(sealed, name)) == held:
            return sealed
        # systemd makes the host's key when it is first asked
        return b"" if self.holdings[0].check_mode else systemd_creds.seal(systemd_credential_file.written(held), name)

    def is_at(self, layout: Layout) -> bool:
        """Tell whether the values stand so, old ones too, and the services run on them."""
        return (
            self.now() == layout
            and all(self._launched(service, layout.sealed) and service.pid() is not None for service in self.services)
            and all(values.stands_sealed(journal, layout.sealed) for journal in self.application.journals())
        )

    def _launched(self, service: SystemdService, sealed: bool) -> bool:
        return service.is_launched_with(self.systemd_credential.path) if sealed else not service.launched_with()

    def put(self, layout: Layout) -> None:
        """Bring the values there, with the services stopped.

        New places are filled before old ones are emptied, and units change in between.
        """
        if layout.systemd_credential is not None:
            durable.make_private_folder(self.systemd_credential.path.parent)
            durable.write_file(self.systemd_credential.path, layout.systemd_credential)
        stop(self.services)
        if layout.sealed:
            self._launch(sealed=True)
            self._write(layout)
        else:
            self._write(layout)
            self._launch(sealed=False)
        for journal in self.application.journals():
            values.reseal(journal, layout.sealed)

    def start(self) -> None:
        """Start the services on what stands now."""
        down = start(self.services, procfs.now())
        if down:
            raise KeyturnError(down)

    def back(self, layout: Layout) -> str:
        """Go back after a failure, and start the services whatever comes of that; return how it went."""
        told = []
        try:
            self.put(layout)
            self.settle(layout)
        except Exception as error:
            told.append(_text(error))
        try:
            self.start()
        except Exception as error:
            told.append(_text(error))
        return f"and going back failed: {'; '.join(told)}: run this again" if told else "the values are where they were"

    def settle(self, layout: Layout) -> None:
        """Forget the place that nobody reads any more."""
        if not layout.sealed:
            durable.remove(self.systemd_credential.path)

    def _launch(self, sealed: bool) -> None:
        for service in self.services:
            if sealed:
                service.launch_with(self.systemd_credential.path)
            else:
                service.launch_alone()

    def _write(self, layout: Layout) -> None:
        for path, content in layout.files.items():
            consumer = self.consumer(path)
            if (consumers.content(consumer), consumers.mode(consumer)) != (content, layout.modes[path]):
                consumers.write(consumer, content, layout.modes[path])
            consumers.clean(consumer)

    def prove(self, held: Mapping[str, str], sealed: bool) -> None:
        """Ask each process what it was started with, and every probe of the catalogue whether the values work."""
        for service in self.services:
            pid = service.pid()
            given = procfs.environment(pid, held) if pid is not None else {}
            for name, value in held.items() if sealed else ():
                if given.get(name) != value:
                    raise KeyturnError(
                        f"service {service.name} was not started with the {name} of {self.systemd_credential.path}"
                    )
        for holding in self.holdings:
            mine = {name: held[name] for name in holding.variables}
            migration = holding.migration(mine, None)
            question = Question("old", mine, None, holding.service_list(), migration, value_of=holding.value_of)
            failure = probes.first_failure(list(probes.ask(holding.entry["probes"], question)))
            if failure:
                raise KeyturnError(failure)


def run(holdings: Sequence[Holding]) -> HostAnswer:
    """Deliver the values as the inventory says. A repetition changes nothing."""
    first = holdings[0]
    if os.geteuid() != 0:
        raise KeyturnError("units and credentials of the system belong to root: run with become")
    host = _used(holdings)
    holdings = host.holdings
    host.check()
    now = host.now()
    held = host.values(now)
    first.hide(held.values())
    missing = [name for holding in holdings for name in holding.variables if name not in held]
    if missing:
        raise KeyturnError(
            f"{', '.join(missing)} has no value on this host: add it to `.env`, with its current value; where it needs none, "
            "leave it out of keyturn_secrets_here"
        )
    before, after = host.origin(now, held, first.sealed), host.wanted(now, held, first.sealed)
    told: HostAnswer = {
        "delivery": first.delivery,
        "names": sorted(held),
        "services": [service.name for service in host.services],
    }
    if host.is_at(after):
        host.prove(held, first.sealed)
        return {"changed": False, **told}
    if first.check_mode:
        where = host.systemd_credential.path if first.sealed else ", ".join(str(path) for path in after.files)
        return {"changed": True, **told, "would": f"move {', '.join(sorted(held))} to {where} and restart the services"}
    with host.application.lock("delivery", LOCK_WAIT_SECONDS):
        host.check()
        if host.now() != now:
            raise KeyturnError("somebody has changed the files meanwhile; nothing was changed: run this again")
        for path in host.files():
            consumers.rehearse(host.consumer(path))
        host.services[0].reload()  # one that is refused now would be under the stop as well
        began = time.monotonic()
        try:
            host.put(after)
            host.start()
            seconds = round(time.monotonic() - began, 3)
            host.prove(held, first.sealed)
            host.settle(after)
        except Exception as cause:
            raise KeyturnError(f"{_text(cause)}; {host.back(before)}") from None
    return {"changed": True, **told, "downtime_seconds": seconds}


def _used(holdings: Sequence[Holding]) -> Host:
    """The host with the secrets that are used there: of another it need not have a value, nor a service."""
    whole = Host(holdings)
    held = whole.values(whole.now())
    used = [one for one in holdings if one.is_used(not held.keys().isdisjoint([*one.variables, *one.entry["aliases"]]))]
    if not used:
        raise KeyturnError(
            "no secret of the catalogue is used on this host: take it out of the inventory, or add the values"
        )
    return Host(used)


def _text(error: Exception) -> str:
    """What may be told of an error: the text of a foreign one may hold a value."""
    return str(error) if isinstance(error, KeyturnError | OSError) else type(error).__name__


def _check_none_in_clear(holding: Holding) -> None:
    """Refuse a file beside `.env` that holds a value itself: the credential takes the place of `.env` alone."""
    for consumer in (one for one in holding.consumers() if not one.sealed):
        if literal := sorted(consumers.read(consumer, holding.variables)):
            remedy = (
                "see that `.env` has the same, then empty it there, or write a reference, so that the environment counts"
                if consumer.format == "json"
                else "its format knows no other way; leave keyturn_delivery at dotenv, or let the application read the environment alone"
            )
            raise KeyturnError(f"{consumer.path} holds {', '.join(literal)} in clear, and would go on to: {remedy}")


def _filled(content: bytes, names: Sequence[str], held: Mapping[str, str]) -> bytes:
    """Return a file with the values that belong into it; what is there already stays as it is."""
    mine = {name: held[name] for name in names if name in held}
    empty = [name for name, value in dotenv.read(content, list(mine)).items() if not value]
    return dotenv.with_added(dotenv.without(content, empty), mine)


def _set_in(content: bytes, names: Sequence[str]) -> set[str]:
    return {name for name, value in dotenv.read(content, names).items() if value}
