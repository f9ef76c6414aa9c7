"""The file that a store has backed up to: its checksum, by which it is known as the one that was made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ...base.errors import KeyturnError
from .contract import Backup


def described(path: Path) -> Backup:
    """Return what the journal keeps of a backup that is finished."""
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": checksum(path)}


def check(path: Path, backup: Mapping[str, object]) -> None:
    """Refuse what is not the ``backup`` of the journal any more; KeyturnError without its path."""
    if not path.exists() or checksum(path) != backup["sha256"]:
        raise KeyturnError("the backup is not the file that was made: it is gone, or its checksum is another")


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
