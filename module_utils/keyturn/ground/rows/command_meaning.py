"""What no argument spec can say of the migration ``command``: only the controller asks this, and no host gets it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ...base.errors import KeyturnError
from .contract import Spec
from .program import PLACE


def check(where: str, entry: Mapping[str, Any]) -> None:
    """Raise KeyturnError for what is wrong in a secret's ``entry`` of the catalogue: of its rows what their own kind asks."""
    migration = entry["migration"]
    check_stop(where, entry)
    check_program(f"{where}: turn", migration["turn"], "new")
    inside = migration["rows"]
    meaning = import_module(f"{__package__}.{inside['kind']}_meaning")
    meaning.check(f"{where}: rows", {**entry, "migration": inside})


def check_stop(where: str, entry: Mapping[str, Any]) -> None:
    """Raise KeyturnError where no service would be stopped."""
    if entry["overlap"] == "key_list":
        raise KeyturnError(
            f"{where}: with overlap key_list the application serves while its rows are turned, and a program would not keep what it "
            "writes: let Keyturn turn them (the migration of `rows`), or take overlap none_needed"
        )


def check_program(where: str, program: Spec, told: str) -> None:
    """Raise KeyturnError for a program that cannot be run, or is not ``told`` that value."""
    if not program["command"]:
        raise KeyturnError(f"{where}.command is empty: name the program")
    texts = [*map(str, program["environment"].values()), program["input"] or ""]
    if told and not any(f"{{{told}}}" in text for text in texts):
        raise KeyturnError(
            f"{where} tells {program['command'][0]} no value: write {{{told}}} where it belongs in its environment or input"
        )
    places = {"value"} if told == "value" else {"new", "old"}
    if unknown := sorted({place for text in texts for place in PLACE.findall(text)} - places):
        raise KeyturnError(
            f"{where} has {{{unknown[0]}}}, and its places are {' and '.join(f'{{{place}}}' for place in sorted(places))}"
        )
    if any(PLACE.search(part) for part in program["command"]):
        raise KeyturnError(
            f"{where}: a value in command would show in the list of processes: give it by environment or input"
        )
    if program["seconds"] < 1:
        raise KeyturnError(f"{where}.seconds is {program['seconds']}: give the program a second at least")
