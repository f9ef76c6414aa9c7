"""One rotation as a host sees it: what the controller said, and the places that follow from it.

A call on a host compiles every module that it imports, so each is imported where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import KeyturnError
from .fingerprint import fingerprints
from .journal import Application, Journal

if TYPE_CHECKING:
    from .consumers import Consumer
    from .fernet_sqlite import FernetSqlite
    from .providers import Reply
    from .service import Service
    from .values import Staged

LOCK_WAIT_SECONDS = 60


@dataclass(frozen=True, eq=False, repr=False)
class Rotation:
    """The parameters of every call on a host; ``entry`` is the secret's entry of the catalogue, paths filled in."""

    rotation_id: str
    environment: str
    secret: str
    entry: Mapping[str, Any]
    app_root: Path
    app_user: str | None
    state_dir: Path
    services: Mapping[str, Mapping[str, Any]]
    reason: str
    operator: str
    encrypt_plaintext_rows: bool = False
    allow_empty_tables: tuple[str, ...] = ()
    backup_retention_days: int = 30
    overrides: Mapping[str, str] = field(default_factory=dict)
    error_lines: Mapping[str, str] = field(default_factory=dict)
    delivery: str = "dotenv"
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
    def credential(self) -> Consumer:
        """The encrypted file that takes the place of `.env` for the values."""
        from . import systemd_creds
        from .consumers import Consumer

        name = self.application.folder.name
        return Consumer("credential", systemd_creds.STORE / name, self.entry["aliases"], sealed=name)

    def consumers(self, forms: Mapping[str, Mapping[str, str]] | None = None) -> list[Consumer]:
        """The places that the application reads the secret from. ``forms``, by path, are wanted instead of the entry's."""
        from .consumers import Consumer

        found = []
        for item in self.entry["consumers"]:
            path = self.app_root / item["path"]
            if item["format"] == "dotenv" and self.sealed:
                found.append(self.credential)
                continue
            if item["optional"] and not path.exists():
                continue
            wanted = (forms or {}).get(str(path)) or dict.fromkeys(item["keys"] or {}, item["form"])
            aliases = self.entry["aliases"] if item["keys"] is None else {}
            found.append(Consumer(item["format"], path, aliases, item["keys"] or {}, wanted))
        return found

    def forms(self) -> dict[str, dict[str, str]]:
        """The form in which each value stands now, by path, where a file knows more than one."""
        from . import consumers

        found = {str(consumer.path): consumers.forms(consumer, self.variables) for consumer in self.consumers()}
        return {path: held for path, held in found.items() if held}

    def modes(self) -> dict[str, int]:
        """The permissions of each file, by path."""
        from . import consumers

        return {str(consumer.path): consumers.mode(consumer) for consumer in self.consumers()}

    def with_aliases(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return ``values`` with the second names of the variables."""
        return {**values, **{alias: values[name] for alias, name in self.entry["aliases"].items()}}

    def service_list(self) -> list[Service]:
        """The services that read the secret, in the order in which they start; KeyturnError for one that is not there."""
        from .service import service

        for name in self.entry["services"]:
            if name not in self.services:
                raise KeyturnError(f"service {name} is not in keyturn_services of this host")
        return [service(name, self.services[name], self.app_root, self.app_user) for name in self.entry["services"]]

    def ask_provider(self, held: Mapping[str, str]) -> Reply:
        """Ask the provider of the secret about values. Only for a secret that has one."""
        from . import providers

        return providers.ask(self.entry["provider"], [held[name] for name in self.variables])

    def current_values(self) -> dict[str, str]:
        """Read the values that the consumers hold; KeyturnError when two consumers differ."""
        from . import consumers

        if not self.sealed and os.path.exists(self.credential.path):  # noqa: PTH110 - of a folder that only root may enter
            raise KeyturnError(
                f"{self.credential.path} holds the values of this host: set keyturn_delivery: systemd_credential in the "
                "inventory, or take them back into `.env` by migrate_delivery.yml"
            )
        found = [(consumer.path, consumers.read(consumer, self.variables)) for consumer in self.consumers()]
        self.hide(value for _, held in found for value in held.values())
        first_path, first = found[0]
        for path, held in found[1:]:
            for name in held:
                if held[name] != first[name]:
                    raise KeyturnError(
                        f"{name} differs: {first_path} holds {fingerprints(first)[name]}, "
                        f"{path} holds {fingerprints(held)[name]}; make them equal first"
                    )
        return first

    def staged_values(self, journal: Journal) -> Staged:
        """Read old and new from the host's own store."""
        from . import values

        staged = values.read(journal)
        self.hide([*staged.old.values(), *staged.new.values()])
        return staged

    def migration(
        self, old: Mapping[str, str], new: Mapping[str, str] | None, root: Path | None = None
    ) -> FernetSqlite | None:
        """The data that depends on the value, in the application or in a copy below ``root``; None where there is none."""
        kind = self.entry["migration"]["kind"]
        return None if kind == "none" else MIGRATIONS[kind](self, old, new, root or self.app_root)


def _fernet_sqlite(
    rotation: Rotation, old: Mapping[str, str], new: Mapping[str, str] | None, root: Path
) -> FernetSqlite:
    from .fernet_sqlite import FernetSqlite

    name = rotation.variables[0]
    keys = {"old": old[name]} if new is None else {"old": old[name], "new": new[name]}
    return FernetSqlite(rotation.entry["migration"], root, name, keys)  # type: ignore[arg-type]


MIGRATIONS: dict[str, Callable[..., FernetSqlite]] = {"fernet_sqlite": _fernet_sqlite}
