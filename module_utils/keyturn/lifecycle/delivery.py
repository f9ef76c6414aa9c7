"""How the values reach the application: from `.env` into a credential that only this host opens, or back.

What holds now is decided by evidence, so that a run which was killed is simply run again; one that fails takes itself back.
At every moment the application, if something starts it, finds all values in one place at least.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import consumers, credential_file, dotenv, durable, leaks, probes, procfs, systemd_creds, values
from ..consumers import Consumer
from ..errors import KeyturnError
from ..fingerprint import fingerprint
from ..journal import RECOVERY
from ..probes import Question
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from ..service import Service
from ..systemd import SystemdService
from .common import check_reader, start, stop


@dataclass(frozen=True)
class Layout:
    """Where the values stand: the files in clear, whole and with their modes, and the credential as it lies on disk, if any."""

    files: Mapping[Path, bytes]
    modes: Mapping[Path, int]
    credential: bytes | None

    @property
    def sealed(self) -> bool:
        """Whether a credential delivers the values."""
        return self.credential is not None


class Host:
    """One application on this host, for all secrets of the catalogue."""

    def __init__(self, rotations: Sequence[Rotation]) -> None:
        self.rotations = rotations
        self.application = rotations[0].application
        self.credential = rotations[0].credential
        named = {service.name: service for rotation in rotations for service in rotation.service_list()}
        self.services = [self._checked(service) for service in named.values()]

    @staticmethod
    def _checked(service: Service) -> SystemdService:
        if not isinstance(service, SystemdService):
            raise KeyturnError(
                f"service {service.name} is started by a script, and only systemd hands over a credential: make it a unit"
            )
        service.check()
        return service

    def files(self) -> dict[Path, list[str]]:
        """The files in clear, and the names that the catalogue has for values in each."""
        found: dict[Path, list[str]] = {}
        for rotation in self.rotations:
            for item in rotation.entry["consumers"]:
                if item["format"] == "dotenv":
                    names = [*rotation.variables, *rotation.entry["aliases"]]
                    found.setdefault(rotation.app_root / item["path"], []).extend(names)
        return found

    def check(self) -> None:
        """Refuse what would fail under the stop, a host on which a rotation is open, and a file that would stay in clear."""
        opened = self.application.open_journal()
        if opened is not None:
            raise KeyturnError(
                f"rotation {opened.folder.name} is open on this host: with keyturn_delivery as it was, {RECOVERY}"
            )
        durable.check_private_folder(self.credential.path.parent)
        for path in self.files():
            consumers.check_replaceable(Consumer("dotenv", path))
            for service in self.services:
                check_reader(service, Consumer("dotenv", path))
        for service in self.services if self.rotations[0].sealed else ():
            service.check_launch(self.credential.path)
        for rotation in self.rotations if self.rotations[0].sealed else ():
            for consumer in rotation.consumers():
                forms = {} if consumer.sealed else consumers.forms(consumer, rotation.variables)
                literal = sorted(name for name, form in forms.items() if form == "literal")
                if literal:
                    raise KeyturnError(
                        f"{consumer.path} holds {', '.join(literal)} in clear, and would go on to: empty it there, or write a "
                        "reference, so that the environment counts"
                    )

    def now(self) -> Layout:
        """Where the values stand now."""
        files = self.files()
        modes = {path: consumers.mode(Consumer("dotenv", path)) for path in files}
        path = self.credential.path
        return Layout({path: path.read_bytes() for path in files}, modes, path.read_bytes() if path.exists() else None)

    def values(self, layout: Layout) -> dict[str, str]:
        """All values, wherever they stand; KeyturnError for one that two places disagree on."""
        name = self.credential.sealed
        found = credential_file.all_values(systemd_creds.unseal(layout.credential, name)) if layout.credential else {}
        for path, names in self.files().items():
            for name, value in dotenv.read(layout.files[path], names).items():
                if value and found.setdefault(name, value) != value:
                    raise KeyturnError(
                        f"{name} is {fingerprint(value)} in {path} and {fingerprint(found[name])} in {self.credential.path}: "
                        f"remove the one that is wrong from {path}"
                    )
        return found

    def origin(self, layout: Layout, held: Mapping[str, str], sealed: bool) -> Layout:
        """Where a failure leads back to: a credential beside files that hold everything is what a killed call has left."""
        whole = {name for path, names in self.files().items() for name in _set_in(layout.files[path], names)} >= set(
            held
        )
        return Layout(layout.files, layout.modes, None) if sealed and whole else layout

    def wanted(self, layout: Layout, held: Mapping[str, str], sealed: bool) -> Layout:
        """Where the values are to stand; KeyturnError where one would get lost, or stay in clear."""
        files = {}
        modes = {path: mode & 0o600 for path, mode in layout.modes.items()}
        unknown = sorted(set(held) - {name for names in self.files().values() for name in names})
        if unknown and not sealed:
            raise KeyturnError(
                f"{self.credential.path} holds {', '.join(unknown)}, which no entry of keyturn_secrets with a `.env` names: it "
                "would be lost, add the entry again"
            )
        for path, names in self.files().items():
            mine = {name: held[name] for name in names if name in held}
            content = layout.files[path]
            if sealed:
                files[path] = dotenv.without(content, names)
                left = sorted(leaks.names_in(files[path].decode(errors="replace"), held))
                if left:
                    raise KeyturnError(
                        f"{path} would go on to hold {', '.join(left)} in clear, in a comment or under another name: remove it there"
                    )
            else:
                empty = [name for name, value in dotenv.read(content, list(mine)).items() if not value]
                files[path] = dotenv.with_added(dotenv.without(content, empty), mine)
        if not sealed:
            return Layout(files, modes, None)
        kept = layout.credential
        if kept is None or credential_file.all_values(systemd_creds.unseal(kept, self.credential.sealed)) != held:
            content = credential_file.written(held)
            # systemd makes the host's key when it is first asked
            kept = b"" if self.rotations[0].check_mode else systemd_creds.seal(content, self.credential.sealed)
        return Layout(files, modes, kept)

    def is_at(self, layout: Layout) -> bool:
        """Tell whether the values stand so, old ones too, and the services run on them."""
        return (
            self.now() == layout
            and all(self._launched(service, layout.sealed) and service.pid() is not None for service in self.services)
            and all(values.stands_sealed(journal, layout.sealed) for journal in self.application.journals())
        )

    def _launched(self, service: SystemdService, sealed: bool) -> bool:
        return service.is_launched_with(self.credential.path) if sealed else not service.launched_with()

    def put(self, layout: Layout) -> None:
        """Bring the values there, with the services stopped.

        New places are filled before old ones are emptied, and units change in between.
        """
        if layout.credential is not None:
            durable.make_private_folder(self.credential.path.parent)
            durable.write_file(self.credential.path, layout.credential)
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
        start(self.services, procfs.now())

    def settle(self, layout: Layout) -> None:
        """Forget the place that nobody reads any more."""
        if not layout.sealed:
            durable.remove(self.credential.path)

    def _launch(self, sealed: bool) -> None:
        for service in self.services:
            if sealed:
                service.launch_with(self.credential.path)
            else:
                service.launch_alone()

    def _write(self, layout: Layout) -> None:
        for path, content in layout.files.items():
            consumer = Consumer("dotenv", path)
            if (path.read_bytes(), consumers.mode(consumer)) != (content, layout.modes[path]):
                consumers.write(consumer, content, layout.modes[path])
            durable.clean(path.resolve())

    def prove(self, held: Mapping[str, str], sealed: bool) -> None:
        """Ask each process what it was started with, and every probe of the catalogue whether the values work."""
        for service in self.services:
            pid = service.pid()
            given = procfs.environment(pid) if pid is not None else {}
            for name, value in held.items() if sealed else ():
                if given.get(name) != value:
                    raise KeyturnError(
                        f"service {service.name} was not started with the {name} of {self.credential.path}"
                    )
        for rotation in self.rotations:
            mine = {name: held[name] for name in rotation.variables}
            question = Question("old", mine, None, rotation.service_list(), rotation.migration(mine, None))
            failure = probes.first_failure(list(probes.ask(rotation.entry["probes"], question)))
            if failure:
                raise KeyturnError(failure)


def run(rotations: Sequence[Rotation]) -> dict[str, Any]:
    """Deliver the values as the inventory says. A repetition changes nothing."""
    first = rotations[0]
    host = Host(rotations)
    if os.geteuid() != 0:
        raise KeyturnError("units and credentials of the system belong to root: run with become")
    host.check()
    now = host.now()
    held = host.values(now)
    first.hide(held.values())
    missing = [name for rotation in rotations for name in rotation.variables if name not in held]
    if missing:
        raise KeyturnError(f"{', '.join(missing)} has no value on this host: add it to `.env`, with its current value")
    before, after = host.origin(now, held, first.sealed), host.wanted(now, held, first.sealed)
    told = {"delivery": first.delivery, "names": sorted(held), "services": [service.name for service in host.services]}
    if host.is_at(after):
        host.prove(held, first.sealed)
        return {"changed": False, **told}
    if first.check_mode:
        where = host.credential.path if first.sealed else ", ".join(str(path) for path in after.files)
        return {"changed": True, **told, "would": f"move {', '.join(sorted(held))} to {where} and restart the services"}
    with host.application.lock("delivery", LOCK_WAIT_SECONDS):
        host.check()
        if host.now() != now:
            raise KeyturnError("somebody has changed the files meanwhile; nothing was changed: run this again")
        began = time.monotonic()
        try:
            host.put(after)
            host.start()
            seconds = round(time.monotonic() - began, 3)
            host.prove(held, first.sealed)
            host.settle(after)
        except Exception as cause:
            try:
                host.put(before)
                host.settle(before)
                host.start()
            except Exception as second:
                raise KeyturnError(f"{_text(cause)}; and going back failed: {_text(second)}: run this again") from None
            raise KeyturnError(f"{_text(cause)}; the values are where they were") from None
    return {"changed": True, **told, "downtime_seconds": seconds}


def _text(error: Exception) -> str:
    """What may be told of an error: the text of a foreign one may hold a value."""
    return str(error) if isinstance(error, KeyturnError | OSError) else type(error).__name__


def _set_in(content: bytes, names: Sequence[str]) -> set[str]:
    return {name for name, value in dotenv.read(content, names).items() if value}
