"""The store ``dotenv``: the host itself keeps pending and previous values (0600) in the folder of the rotation.

The current version is what the consumers hold; ``previous.json`` is its copy from the moment of staging, so that the
old value survives every step of the switch. Where the host's key encrypts the consumer, it encrypts these files as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..base import durable
from ..base.errors import KeyturnError
from ..ground.consumers import systemd_creds
from .journal import Journal

PENDING = "pending.json"
PREVIOUS = "previous.json"


class Staged(NamedTuple):
    """The values of both sides, by variable."""

    old: dict[str, str]
    new: dict[str, str]


def stage(journal: Journal, staged: Staged, sealed: bool = False) -> None:
    """Make both sides durable, before anything else changes."""
    for name, held in ((PREVIOUS, staged.old), (PENDING, staged.new)):
        _write(journal, name, held, sealed)


def _write(journal: Journal, name: str, held: Mapping[str, str], sealed: bool) -> None:
    """Replace a file of values durably, sealed so that only this host opens it."""
    path = journal.path(name)
    if sealed:
        durable.write_file(path, systemd_creds.seal(json.dumps(held).encode(), path.stem))
    else:
        journal.write(name, held)


def reseal(journal: Journal, sealed: bool) -> None:
    """Write the values of a rotation that has ended anew, encrypted by the host's key or in clear; nothing where it has none."""
    durable.clean(journal.path(PREVIOUS))
    if not stands_sealed(journal, sealed):
        _write(journal, PREVIOUS, previous(journal), sealed)


def stands_sealed(journal: Journal, sealed: bool) -> bool:
    """Tell whether ``reseal`` has nothing to do."""
    path = journal.path(PREVIOUS)
    return not path.exists() or _is_sealed(path) == sealed


def _is_sealed(path: Path) -> bool:
    return not path.read_bytes().startswith(b"{")


def _read(journal: Journal, name: str) -> dict[str, str] | None:
    path = journal.path(name)
    form = dict.fromkeys([*journal.record.get("old", {}), "*"], str)
    if path.exists() and _is_sealed(path):
        sealed: dict[str, str] = durable.parse_json(path, systemd_creds.unseal(path.read_bytes(), path.stem), form)
        return sealed
    clear: dict[str, str] | None = durable.read_json(path, form)
    return clear


def staged_before(journal: Journal) -> dict[str, str] | None:
    """Return the new values of a stage that was interrupted after they had become durable."""
    return _read(journal, PENDING)


def read(journal: Journal) -> Staged:
    """Return what was staged; KeyturnError where it is gone."""
    old, new = _read(journal, PREVIOUS), _read(journal, PENDING)
    if old is None or new is None:
        raise KeyturnError(
            f"the staged values are missing in {journal.folder}: restore the folder, nothing else holds them"
        )
    return Staged(old, new)


def previous(journal: Journal) -> dict[str, str]:
    """Return the old values; KeyturnError where they are gone."""
    old = _read(journal, PREVIOUS)
    if old is None:
        raise KeyturnError(
            f"{journal.path(PREVIOUS)} is missing, so nobody can be asked about the old value: restore it"
        )
    return old


def discard_pending(journal: Journal) -> None:
    """Forget the new value: after a commit the consumers hold it, after a rollback nobody needs it."""
    durable.remove(journal.path(PENDING))


def destroy_previous(journal: Journal) -> None:
    """Forget the old value."""
    durable.remove(journal.path(PREVIOUS))
