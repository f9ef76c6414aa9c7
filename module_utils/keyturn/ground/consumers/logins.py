"""Logins to PostgreSQL servers in a file of settings: an address, or variables for its parts, found by the words of their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from . import settings

# a driver behind the scheme is SQLAlchemy's
_SERVER = re.compile(r"postgres(?:ql)?(?:\+\w+)?://.+")
PORT = "5432"
# of a name the last word, by the part of a login that it tells of; of several the first
WORDS = {
    "host": ("HOST", "HOSTNAME", "SERVER"),
    "port": ("PORT",),
    "user": ("USER", "USERNAME", "LOGIN"),
    "password": ("PASSWORD", "PASSWD", "PASS", "PWD"),
    "dbname": ("DATABASE", "DBNAME", "DB", "NAME"),
    "sslmode": ("SSLMODE",),
}
NEEDED = {"host", "user", "dbname"}
# what stands before the word, as in SHOP_DB_HOST, PGHOST and DBHOST
_GROUP = re.compile(r".*_|(?:.*_)?(?:PG|DB)")
_POSTGRESQL = re.compile(r"postgres|psycopg|pgsql|asyncpg|(?:^|_)pg")
# the names of a group that belong to any database, unless one of these says which kind it is
_ANY_DATABASE = re.compile(r"(?:^|_)(?:DB|DATABASE|SQL)_*")
_KINDS = {"ADAPTER", "BACKEND", "CLIENT", "CONNECTION", "DIALECT", "DRIVER", "ENGINE", "KIND", "TYPE"}


class Login(NamedTuple):
    """A login: where it leads to, which stays on the host, the format of its file, and the variables: of ``url``, or of each part."""

    address: tuple[str, ...]
    format: str
    names: Mapping[str, str]


def logins(path: PurePath, content: bytes, as_environment: bool = False) -> Iterator[Login]:
    """Yield the logins in a file of settings; nothing of a file of another kind."""
    format_, values = settings.values(path, content, as_environment)
    for name, value in values.items():
        if _SERVER.fullmatch(value):
            yield Login(_address(value), format_, {"url": name})
    by_name = {name.upper(): value for name, value in values.items()}
    for group, names in _groups(values).items():
        if names.keys() >= NEEDED and _is_postgresql(group, by_name):
            held = {part: values[name] for part, name in names.items()}
            address = held["host"].lower(), held.get("port", PORT), held["user"], held["dbname"]
            yield Login(address, format_, names)


def _groups(values: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the variables by what their names begin with, and by the part that they end with."""
    found: dict[str, dict[str, str]] = {}
    by_word = {name.upper(): name for name in values}
    for part, words in WORDS.items():
        for word in words:
            for upper, name in by_word.items():
                group = upper.removesuffix(word)
                if group != upper and _GROUP.fullmatch(group):
                    found.setdefault(group, {}).setdefault(part, name)
    return found


def _is_postgresql(group: str, values: Mapping[str, str]) -> bool:
    """Tell whether a group says by its name, or by what stands beside it, that it is of PostgreSQL, or says nothing of a kind."""
    kinds = [values[group + kind] for kind in _KINDS if group + kind in values]
    if any(_POSTGRESQL.search(text.lower()) for text in (group, *kinds)):
        return True
    return _ANY_DATABASE.search(group) is not None and not kinds


def _address(url: str) -> tuple[str, ...]:
    try:
        parts = urlsplit(url)
        if parts.hostname:
            port = str(parts.port or PORT)
            return parts.hostname, port, unquote(parts.username or ""), unquote(parts.path.strip("/"))
    except ValueError:
        pass
    return (url,)
