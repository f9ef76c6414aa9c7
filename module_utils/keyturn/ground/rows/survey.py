"""Rows under a key in data that nothing declares: which file is such data, what may be a key of it, and which key opens what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from . import fernet_forms, fernet_keys
from .key_census import Place, census
from .sqlite_file import HEADER, Database

HEAD_BYTES = len(HEADER)
SQLITE, POSTGRESQL = "fernet_sqlite", "fernet_postgresql"
# a shorter text is no secret that anything is made of
SMALLEST = 8
HEX = re.compile("[0-9a-fA-F]{64}")


class Key(NamedTuple):
    """What a value may be as a key, and by which rule; empty where it is one as it stands."""

    key: str
    rule: str


def kind(head: bytes) -> str:
    """Return the kind of row store that a file is by its first bytes, empty for none."""
    return SQLITE if head == HEADER else ""


def files(path: Path) -> list[Path]:
    """Return the data and what is kept beside it, whether that is there or not."""
    return Database(path).files


def keys(value: str) -> Iterator[Key]:
    """Yield what a value may be as a key, by the rules that need nothing else."""
    if len(value) < SMALLEST:
        return
    if fernet_forms.KEY.fullmatch(value):
        yield Key(value, "")
    for rule in (["hex"] if HEX.fullmatch(value) else []) + ["sha256"]:
        yield Key(fernet_keys.fernet_key({"rule": rule}, "it", value), rule)


def places(path: Path, by_name: Mapping[str, str]) -> list[Place]:
    """Return where tokens stand, and how many each of the keys opens; KeyturnError for data that cannot be read."""
    return census(Database(path), by_name)


def places_of_server(
    root: Path, path: Path, names: Mapping[str, str], by_name: Mapping[str, str]
) -> tuple[list[Place], list[str]]:
    """Return the same of the database that variables of a file lead to, and names of columns that the login may not read whole.

    ``names`` has the variable of the ``url``, or one for each part of the login.
    """
    from . import postgresql_census  # most hosts have no server
    from .postgresql_session import Login

    url = names.get("url")
    login = Login({"login": {"path": str(path), "url": url, "parts": None if url else names}}, root)
    return postgresql_census.census(login, by_name)
