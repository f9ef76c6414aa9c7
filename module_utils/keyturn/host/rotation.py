"""A secret, and its rotation, as a host sees them: what the controller said, and the places that follow from it.

A call on a host compiles every module that it imports, so each is imported where it is used.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.errors import KeyturnError
from ..base.fingerprint import fingerprints
from ..ground import rows
from .journal import Application, Journal, JournalRecord

if TYPE_CHECKING:
    from ..base.sides import Side
    from ..ground.consumers import Consumer
    from ..ground.rows.contract import RowStore
    from ..ground.scripts import Scripts
    from ..inputs.catalogue import Entry, ServiceSpec
    from ..providers import Reply
    from ..services.service import Service
    from .values import Staged

LOCK_WAIT_SECONDS = 60


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Holding:
    """A secret of the application as this host has it; ``entry`` is that of the catalogue, paths filled in."""

    secret: str
    entry: Entry
    app_root: Path
    app_user: str | None
    state_dir: Path
    services: Mapping[str, ServiceSpec]
    accept_shapes: Mapping[str, str] = field(default_factory=dict)
    delivery: str = "dotenv"
    secrets_here: tuple[str, ...] | None = None
    check_mode: bool = False
    hide: Callable[[Iterable[str]], None] = field(default=lambda values: None)

    @property
    def application(self) -> Application:
        """The folder of this application in the state folder."""
        return Application(self.state_dir, self.app_root)

    @property
    def variables(self) -> list[str]:
        """The names of the variables that make up the secret."""
        return list(self.entry["variables"])

    @property
    def sealed(self) -> bool:
        """Whether this host's key encrypts what the host keeps of the values."""
        return self.delivery == "systemd_credential"

    @property
    def systemd_credential(self) -> Consumer:
        """The encrypted file that takes the place of `.env` for the values."""
        from ..ground.consumers import Consumer, systemd_creds

        name = self.application.folder.name
        return Consumer("systemd_credential", systemd_creds.STORE / name, self.entry["aliases"], sealed=name)

    def consumers(self, forms: Mapping[str, Mapping[str, str]] | None = None) -> list[Consumer]:
        """The places that the application reads the secret from. ``forms``, by path, are wanted instead of the entry's."""
        from ..ground.consumers import Consumer

        found = []
        for item in self.entry["consumers"]:
            path = self.app_root / item["path"]
            if item["format"] == "dotenv" and self.sealed:
                found.append(self.systemd_credential)
                continue
            if item["optional"] and not path.exists():
                continue
            wanted = (forms or {}).get(str(path)) or dict.fromkeys(item["keys"] or {}, item["form"])
            aliases = self.entry["aliases"] if item["keys"] is None else {}
            references = {name: self._references(item["reference"], name) for name in item["keys"] or {}}
            # a file of one value has no keys, and no other name has a value in it
            keys = item["keys"] or ({self.variables[0]: "its value"} if item["format"] == "file" else {})
            inside = {"section": item["section"] or "", "inside": item["inside"] or ""}
            found.append(
                Consumer(item["format"], path, aliases, keys, wanted, references, root=self.app_root, **inside)
            )
        return found

    def _references(self, pattern: str, name: str) -> list[str]:
        """The texts that leave ``name`` to the environment: by its own name, or by a second one."""
        names = [name, *(alias for alias, known in self.entry["aliases"].items() if known == name)]
        return [pattern.replace("NAME", known) for known in names]

    def replace_values(self, values: Mapping[str, str], before: JournalRecord | None = None) -> None:
        """Put ``values`` into every file; with the forms and modes that the journal says were there ``before``, if given."""
        from ..ground import consumers

        record: JournalRecord = before or {}
        for consumer in self.consumers(record.get("forms")):
            consumers.replace(consumer, values, record.get("modes", {}).get(str(consumer.path)))

    def forms(self) -> dict[str, dict[str, str]]:
        """The form in which each value stands now, by path, where a file knows more than one."""
        from ..ground import consumers

        found = {str(consumer.path): consumers.forms(consumer, self.variables) for consumer in self.consumers()}
        return {path: held for path, held in found.items() if held}

    def modes(self) -> dict[str, int]:
        """The permissions of each file, by path."""
        from ..ground import consumers

        return {str(consumer.path): consumers.mode(consumer) for consumer in self.consumers()}

    def in_environment(self) -> dict[str, tuple[str, bool]]:
        """Return the names under which a process may be given a value: which variable's, and whether as the password of a URL.

        They are the variables, their second names, and the keys of each file that is an environment.
        """
        found = {name: (name, False) for name in self.variables}
        found |= {alias: (name, False) for alias, name in self.entry["aliases"].items()}
        for item in self.entry["consumers"]:
            if item["format"] == "dotenv":
                keys = item["keys"] or {name: name for name in self.variables if item["inside"]}
                found |= {key: (name, item["inside"] == "url") for name, key in keys.items()}
        return found

    def given(self, pid: int) -> dict[str, tuple[str, str]]:
        """Return what a process was started with: by the name in its environment the variable, and the value, or what stands there."""
        from ..base import procfs
        from ..ground.consumers import url

        named, found = self.in_environment(), dict[str, tuple[str, str]]()
        for key, text in procfs.environment(pid, named).items():
            name, inside = named[key]
            try:
                found[key] = (name, url.password(text) if inside else text)
            except KeyturnError:
                found[key] = (name, text)  # no URL: another value
        return found

    def service_list(self) -> list[Service]:
        """The services that read the secret, in the order in which they start; KeyturnError for one that is not there."""
        from ..services.managers import service

        for name in self.entry["services"]:
            if name not in self.services:
                raise KeyturnError(f"service {name} is not in keyturn_services of this host")
        given = (self.app_root, self.app_user, self.application.folder)
        return [service(name, self.services[name], *given) for name in self.entry["services"]]

    @property
    def reloaded(self) -> list[str]:
        """The services that read this secret anew when they are reloaded, so that they are not stopped for it."""
        return [
            name for name in self.entry["services"] if self.secret in self.services.get(name, {}).get("reloads", [])
        ]

    @property
    def stops(self) -> bool:
        """Whether any service is stopped."""
        return len(self.reloaded) < len(self.entry["services"])

    def lost_in_a_boot(self) -> list[tuple[str, str]]:
        """Say what would be gone after a boot, each with the remedy: nothing there is durable, whatever is synced."""
        from ..base import mounts

        places = {self.state_dir: "set keyturn_state_dir to a folder on a disk"}
        places |= {consumer.path: "name the file on a disk that it is made from" for consumer in self.consumers()}
        places |= dict.fromkeys(self.row_places(), "put it on a disk")
        found = []
        for place, remedy in places.items():
            with contextlib.suppress(OSError):  # what cannot be reached is told by what reads it
                if what := mounts.in_memory(place):
                    found.append((f"{place} is on {what}, and gone after a boot", remedy))
        return found

    def check_durable(self) -> None:
        """Refuse where something would be gone after a boot. Changes nothing."""
        for what, remedy in self.lost_in_a_boot():
            raise KeyturnError(f"{what}: {remedy}")

    def value_of(self, variable: str) -> str:
        """Return the value that any variable has now, of the file that holds every value; KeyturnError where it is not there.

        What the entry says of keys, second names and URLs is of its own values: any other stands under its own name.
        """
        from ..ground import consumers

        first = self.consumers()[0]
        if variable not in self.variables:
            first = replace(first, keys={}, aliases={}, inside="")
        held = consumers.read(first, [variable])
        self.hide(held.values())
        return held[variable]

    @property
    def scripts(self) -> Scripts | None:
        """What runs a program of the application's, as whoever may change its folder where no user is named and root would run it.

        None where only the service itself gets the values, and no file has them.
        """
        from ..ground import owner
        from ..ground.scripts import Scripts

        if self.sealed:
            return None
        mine = None if self.app_user else owner.alone(self.app_root / "any file")
        return Scripts(self.app_root, mine.name if mine else self.app_user, self.check_mode)

    def ask_provider(self, held: Mapping[str, str]) -> Reply:
        """Ask the provider of the secret about values. Only for a secret that has one.

        An address that stands in the application's files its user has chosen: it is asked as that user, who may not come wherever root may.
        """
        from .. import providers
        from ..ground import owner

        spec = self.entry["provider"]
        files = (self.app_root / item["path"] for item in self.entry["consumers"])
        theirs = owner.on_behalf(self.app_root / "any file", *files)
        with theirs if providers.leads(spec) else contextlib.nullcontext():
            return providers.ask(spec, [held[name] for name in self.variables])

    @property
    def _delivered_otherwise(self) -> bool:
        return not self.sealed and os.path.exists(self.systemd_credential.path)  # noqa: PTH110 - of a folder that only root may enter

    def values_here(self) -> dict[str, str] | None:
        """Return what ``current_values`` does, None where the secret is not used on this host."""
        from ..ground import consumers

        held = self._delivered_otherwise or any(consumers.holds(one, self.variables) for one in self.consumers())
        return self.current_values() if self.is_used(held) else None

    def is_used(self, held: bool) -> bool:
        """Tell whether the secret is used on this host, by whether a part of it is ``held`` there.

        ``secrets_here`` says what a host holds. Where the inventory does not, a secret is used as soon as there is a part of it, data
        that depends on it, or a rotation that has turned it here: one that was there and is gone is missed.
        """
        if self.secrets_here is None:
            return held or self._has_left_traces()
        if held and self.secret not in self.secrets_here:
            raise KeyturnError(
                f"{' or '.join(self.variables)} is set, and keyturn_secrets_here leaves out {self.secret}: add it there; only a "
                "value that nothing on this host needs any more may be removed"
            )
        return self.secret in self.secrets_here

    def _has_left_traces(self) -> bool:
        turned = (journal.secret for journal in self.application.journals())
        return any(place.exists() for place in self.row_places()) or self.secret in turned

    def current_values(self) -> dict[str, str]:
        """Read the values that the consumers hold; KeyturnError when two consumers differ."""
        from ..ground import consumers

        if self._delivered_otherwise:
            raise KeyturnError(
                f"{self.systemd_credential.path} holds the values of this host: set keyturn_delivery: systemd_credential in the "
                "inventory, or take them back into `.env` by migrate_delivery.yml"
            )
        found = [(consumer, consumers.read(consumer, self.variables)) for consumer in self.consumers()]
        self.hide(value for _, held in found for value in held.values())
        origin, first = found[0]
        for consumer, held in found[1:]:
            for name in held:
                if held[name] != first[name]:
                    raise KeyturnError(
                        f"{name} differs: {origin.path} holds {fingerprints(first)[name]}, "
                        f"{consumer.place(name)} holds {fingerprints(held)[name]}; make them equal first, to the one "
                        "that the application works with"
                    )
        return first

    def staged_values(self, journal: Journal) -> Staged:
        """Read old and new from the host's own store."""
        from . import values

        staged = values.read(journal)
        self.hide([*staged.old.values(), *staged.new.values()])
        return staged

    @property
    def separator(self) -> str:
        """What stands between the keys of a list; empty where the application reads one key alone."""
        return str(self.entry["key_list"]["separator"]) if self.entry["overlap"] == "key_list" else ""

    @property
    def shares(self) -> bool:
        """Whether the data that depends on the value is one for all hosts."""
        return rows.shared(self.entry["migration"])

    def row_places(self) -> list[Path]:
        """The files with the data that depends on the value."""
        return rows.places(self.entry["migration"], self.app_root)

    def migration(self, old: Mapping[str, str], new: Mapping[str, str] | None) -> RowStore | None:
        """The data that depends on the value; None where there is none."""
        kind = rows.KINDS.get(self.entry["migration"]["kind"])
        if kind is None:
            return None
        if self.accept_shapes:
            from ..inputs.reason import check_reason

            for item, why in self.accept_shapes.items():
                check_reason(str(why), f"keyturn_accept_shapes of {item}")
        values: dict[Side, Mapping[str, str]] = {"old": old} if new is None else {"old": old, "new": new}
        spec = self.entry["migration"] | ({"separator": self.separator} if self.separator else {})
        if kind.runs:
            spec |= {"scripts": self.scripts}
        store = kind.open(spec, self.app_root, self.variables, values, self.accept_shapes)
        self.hide(store.secrets)
        return store


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Rotation(Holding):
    """The parameters of every call of a rotation on a host."""

    rotation_id: str
    environment: str
    reason: str
    operator: str
    encrypt_plaintext_rows: bool = False
    allow_empty_tables: tuple[str, ...] = ()
    backup_retention_days: int = 30
    overrides: Mapping[str, str] = field(default_factory=dict)
    error_lines: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    # of what all hosts share: who turns it, whether this host does, and the side that it has said to have brought it to
    speaker: str = ""
    speaks: bool = True
    rows_under: str = ""
    # of who tells the issuer, where the controller has read it in the secret store
    admins_password: str | None = None
