"""One rotation as a host sees it: what the controller said, and the places that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import consumers, values
from .errors import KeyturnError
from .fingerprint import fingerprints
from .journal import Application, Journal
from .service import Service, service

if TYPE_CHECKING:  # cryptography costs 0.1 s to import, and many secrets need no migration
    from .fernet_sqlite import FernetSqlite

LOCK_WAIT_SECONDS = 60


@dataclass(frozen=True)
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

    def consumers(self) -> list[consumers.Consumer]:
        """The places that the application reads the secret from."""
        return [consumers.Consumer(item["format"], self.app_root / item["path"]) for item in self.entry["consumers"]]

    def service_list(self) -> list[Service]:
        """The services that read the secret, in the order in which they start."""
        return [service(name, self.services[name], self.app_root, self.app_user) for name in self.entry["services"]]

    def current_values(self) -> dict[str, str]:
        """Read the values that the consumers hold; KeyturnError when two consumers differ."""
        found = [(consumer.path, consumers.read(consumer, self.variables)) for consumer in self.consumers()]
        self.hide(value for _, held in found for value in held.values())
        first_path, first = found[0]
        for path, held in found[1:]:
            for name in self.variables:
                if held[name] != first[name]:
                    raise KeyturnError(
                        f"{name} differs: {first_path} holds {fingerprints(first)[name]}, "
                        f"{path} holds {fingerprints(held)[name]}; make them equal first"
                    )
        return first

    def staged_values(self, journal: Journal) -> values.Staged:
        """Read old and new from the host's own store."""
        staged = values.read(journal)
        self.hide([*staged.old.values(), *staged.new.values()])
        return staged

    def migration(self, old: Mapping[str, str], new: Mapping[str, str] | None) -> FernetSqlite | None:
        """The data that depends on the value, None where there is none."""
        kind = self.entry["migration"]["kind"]
        return None if kind == "none" else MIGRATIONS[kind](self, old, new)


def _fernet_sqlite(rotation: Rotation, old: Mapping[str, str], new: Mapping[str, str] | None) -> FernetSqlite:
    from .fernet_sqlite import FernetSqlite

    name = rotation.variables[0]
    keys = {"old": old[name]} if new is None else {"old": old[name], "new": new[name]}
    return FernetSqlite(rotation.entry["migration"], rotation.app_root, name, keys)  # type: ignore[arg-type]


MIGRATIONS: dict[str, Callable[..., FernetSqlite]] = {"fernet_sqlite": _fernet_sqlite}
