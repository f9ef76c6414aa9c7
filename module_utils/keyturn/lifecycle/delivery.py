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

from .. import consumers, credential_file, dotenv, durable, probes, procfs, systemd_creds, values
from ..consumers import Consumer
from ..errors import KeyturnError
from ..fingerprint import fingerprint
from ..journal import RECOVERY
from ..probes import Question
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from ..service import Service
from ..systemd import SystemdService
from .common import start, stop


@dataclass(frozen=True)
class Layout:
    """Where the values stand: the files in clear, whole, and the credential as it lies on disk, None without one."""

    files: Mapping[Path, bytes]
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
        """Refuse a host on which a rotation is open, or a file that would go on to hold a value in clear."""
        opened = self.application.open_journal()
        if opened is not None:
            raise KeyturnError(f"rotation {opened.folder.name} is open on this host: {RECOVERY}")
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
        held = {path: path.read_bytes() for path in self.files()}
        path = self.credential.path
        return Layout(held, path.read_bytes() if path.exists() else None)

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

    def wanted(self, layout: Layout, held: Mapping[str, str], sealed: bool) -> Layout:
        """Where the values are to stand."""
        files = {}
        for path, names in self.files().items():
            mine = {name: held[name] for name in names if name in held}
            content = layout.files[path]
            files[path] = dotenv.without(content, names) if sealed else dotenv.with_added(content, mine)
        if not sealed:
            return Layout(files, None)
        kept = layout.credential
        if kept is None or credential_file.all_values(systemd_creds.unseal(kept, self.credential.sealed)) != held:
            kept = systemd_creds.seal(credential_file.written(held), self.credential.sealed)
        return Layout(files, kept)

    def is_at(self, layout: Layout) -> bool:
        """Tell whether the values stand so, and the units know it."""
        name = self.credential.sealed if layout.sealed else ""
        return self.now() == layout and all(service.launched_with() == name for service in self.services)

    def put(self, layout: Layout) -> float:
        """Bring the values there and start the services on them; return the seconds that they were down.

        New places are filled before old ones are emptied, and units change in between.
        """
        if layout.credential is not None:
            durable.make_private_folder(self.credential.path.parent)
            durable.write_file(self.credential.path, layout.credential)
        began = time.monotonic()
        stop(self.services)
        if layout.sealed:
            self._launch(sealed=True)
            self._write(layout)
        else:
            self._write(layout)
            self._launch(sealed=False)
        for journal in self.application.journals():
            values.reseal(journal, layout.sealed)
        start(self.services, procfs.now())
        if not layout.sealed:
            durable.remove(self.credential.path)
        return round(time.monotonic() - began, 3)

    def _launch(self, sealed: bool) -> None:
        for service in self.services:
            if sealed:
                service.launch_with(self.credential.path)
            else:
                service.launch_alone()

    def _write(self, layout: Layout) -> None:
        for path, content in layout.files.items():
            if path.read_bytes() != content:
                consumers.write(Consumer("dotenv", path), content)

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
    before = host.now()
    held = host.values(before)
    first.hide(held.values())
    missing = [name for rotation in rotations for name in rotation.variables if name not in held]
    if missing:
        raise KeyturnError(f"{', '.join(missing)} has no value on this host: add it to `.env`, with its current value")
    after = host.wanted(before, held, first.sealed)
    told = {"delivery": first.delivery, "names": sorted(held), "services": [service.name for service in host.services]}
    if host.is_at(after):
        host.prove(held, first.sealed)
        return {"changed": False, **told}
    if first.check_mode:
        where = host.credential.path if first.sealed else ", ".join(str(path) for path in after.files)
        return {"changed": True, **told, "would": f"move {', '.join(sorted(held))} to {where} and restart the services"}
    with host.application.lock("delivery", LOCK_WAIT_SECONDS):
        try:
            seconds = host.put(after)
            host.prove(held, first.sealed)
        except KeyturnError as cause:
            try:
                host.put(before)
            except KeyturnError as second:
                raise KeyturnError(f"{cause}; and going back failed: {second}: run this again") from None
            raise KeyturnError(f"{cause}; the values are where they were") from None
    return {"changed": True, **told, "downtime_seconds": seconds}
