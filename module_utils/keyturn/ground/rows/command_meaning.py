"""What no argument spec can say of the migration ``command``: only the controller asks this, and no host gets it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ...base.errors import KeyturnError


def check(where: str, entry: Mapping[str, Any]) -> None:
    """Raise KeyturnError for what is wrong in a secret's ``entry`` of the catalogue: of its rows what their own kind asks."""
    migration = entry["migration"]
    turn, inside = migration["turn"], migration["rows"]
    if entry["overlap"] == "key_list":
        raise KeyturnError(
            f"{where}: with overlap key_list the application serves while its rows are turned, and a program would not keep what it "
            "writes: let Keyturn turn them (the migration of `rows`), or take overlap none_needed"
        )
    if not turn["command"]:
        raise KeyturnError(f"{where}: turn.command is empty: name the program that turns the rows")
    told = [*map(str, turn["environment"].values()), turn["input"] or ""]
    if not any("{new}" in text for text in told):
        raise KeyturnError(
            f"{where}: turn tells {turn['command'][0]} no value: write {{new}}, and {{old}}, where they belong in its environment or input"
        )
    if any(place in part for part in turn["command"] for place in ("{old}", "{new}")):
        raise KeyturnError(
            f"{where}: a value in turn.command would show in the list of processes: give it by environment or input"
        )
    if turn["seconds"] < 1:
        raise KeyturnError(f"{where}: turn.seconds is {turn['seconds']}: give the program a second at least")
    meaning = import_module(f"{__package__}.{inside['kind']}_meaning")
    meaning.check(f"{where}: rows", {**entry, "migration": inside})
