"""What no argument spec can say of the migration ``fernet_sqlite``: only the controller asks this, and no host gets it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...base.errors import KeyturnError
from ...base.generate import GENERATORS
from ...base.json_text import PATH
from .contract import Spec


def check(where: str, entry: Mapping[str, Any]) -> None:
    """Raise KeyturnError for what is wrong in a secret's ``entry`` of the catalogue."""
    _check_key(where, entry)
    if not entry["migration"]["columns"]:
        raise KeyturnError(f"{where}: migration.columns is empty: no row would be turned")
    for column in entry["migration"]["columns"]:
        _check_plaintext(where, column)
        _check_paths(where, column)
        if not column["key"]:
            raise KeyturnError(f"{where}: key of {column['table']}.{column['column']} is empty: rows are named by it")


def _check_plaintext(where: str, column: Spec) -> None:
    name = f"plaintext of {column['table']}.{column['column']}"
    try:
        matches_all = column["plaintext"] is not None and re.search(column["plaintext"], "")
    except re.error as error:
        raise KeyturnError(f"{where}: {name} is no regular expression: {error}") from None
    if matches_all:
        raise KeyturnError(
            f"{where}: {name} matches everything, so a damaged token would pass for a plaintext: leave it out where a token may "
            "protect any text"
        )


def _check_key(where: str, entry: Mapping[str, Any]) -> None:
    """The value that is generated must be what the rule makes a key of; a text of any kind is what the other rules take."""
    rule = (entry["migration"]["key"] or {}).get("rule")
    needed = {None: ("fernet",), "hex": ("hex",)}.get(rule, tuple(GENERATORS))
    if entry["source"]["generator"] not in needed or len(entry["variables"]) != 1:
        wanted = needed[0] if len(needed) == 1 else f"one of {', '.join(needed)}"
        raise KeyturnError(
            f"{where}: migration {entry['migration']['kind']} needs the generator {wanted} and exactly one variable"
        )


def _check_paths(where: str, column: Spec) -> None:
    if column["paths"] == []:
        raise KeyturnError(
            f"{where}: paths of {column['table']}.{column['column']} is empty: leave it out where the column is no JSON"
        )
    for path in column["paths"] or ():
        if not PATH.fullmatch(path):
            raise KeyturnError(
                f"{where}: {path} in paths of {column['table']}.{column['column']} is no path: keys with dots between them, [2] or [*] "
                "for places of a list, such as banks[*].login.secret"
            )
