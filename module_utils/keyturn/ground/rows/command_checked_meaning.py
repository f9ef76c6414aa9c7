"""What no argument spec can say of the migration ``command_checked``: only the controller asks this, and no host gets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...base.errors import KeyturnError
from . import command_meaning, has_inverse

# which value each is told at least; a backup is of the data alone
TOLD = {"turn": "new", "back": "old", "check": "value", "backup": "", "restore": ""}


def check(where: str, entry: Mapping[str, Any]) -> None:
    """Raise KeyturnError for what is wrong in a secret's ``entry`` of the catalogue."""
    if len(entry["variables"]) != 1:
        raise KeyturnError(f"{where}: migration command_checked is for a secret of exactly one variable")
    command_meaning.check_stop(where, entry)
    if not has_inverse(entry["migration"]) and (entry["migration"]["shared"] or entry["value"] != "per_host"):
        raise KeyturnError(
            f"{where}: back is missing, and without it each host goes back by itself, to the backup that it has made: name the program, or "
            "take value per_host, and data that is not shared"
        )
    for name, told in TOLD.items():
        if name == "back" and not entry["migration"][name]:
            continue
        command_meaning.check_program(f"{where}: {name}", entry["migration"][name], told)
