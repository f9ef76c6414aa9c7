"""What no argument spec can say of the migration ``fernet_postgresql``: only the controller asks this, and no host gets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...base.errors import KeyturnError
from . import fernet_sqlite_meaning
from .contract import LOGIN_PARTS


def check(where: str, entry: Mapping[str, Any]) -> None:
    """Raise KeyturnError for what is wrong in a secret's ``entry`` of the catalogue."""
    fernet_sqlite_meaning.check(where, entry)
    parts = entry["migration"]["login"]["parts"] or {}
    if unknown := sorted(set(parts) - set(LOGIN_PARTS)):
        raise KeyturnError(
            f"{where}: parts of login names {', '.join(unknown)}, and a login has: {', '.join(LOGIN_PARTS)}"
        )
