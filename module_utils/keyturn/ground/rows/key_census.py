"""Which key opens what in a database of which nothing is declared: counts by column and, in JSON texts, by the place in them.

What a server holds is looked through by ``postgresql_census``, with what stands here for both.

It only reads, and nothing that it returns has content of a row but the keys of JSON objects, where those are names.
"""

from __future__ import annotations

import base64
import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.fernet import Fernet, InvalidToken

from ...base import json_text
from ...base.errors import KeyturnError
from . import fernet_forms, fernet_pages, token_scan
from .sqlite_file import Cell, Column, Database, columns, quote, unquote

# how many tokens are opened together, and of how many a look at what they protect is taken
TOGETHER, LOOKED_INTO = 1000, 100
MOST_PLACES, LONGEST_PATH = 20, 500
# less than SQLite gets for what it does by one connection: the end of that ends the whole look
MOST_SECONDS = 540
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
WHOLE = re.compile(rb"(?:gAAAAA|Z0FBQUFB)[A-Za-z0-9_-]{92,}={0,2}")
PREFIXES = (fernet_forms.ONE_LAYER_PREFIX, fernet_forms.TWO_LAYER_PREFIX)
FLAG = re.compile(r"encrypt|cipher|secured")
NOT_JSON, OTHER_PLACES = "(within a longer text)", "(other places)"


@dataclass
class Place:
    """A column, or a place in its JSON texts: tokens by the name of the key that opens them, empty for none."""

    table: str
    column: str
    path: str
    key: Sequence[str] = ()
    flag: str = ""
    rows: int = 0
    empty: int = 0
    plain: int = 0
    under: Counter[str] = field(default_factory=Counter)
    # whether all that was looked into is a JSON object
    objects: bool = True
    # rows of the column in which a token could stand
    with_prefix: int = 0

    def count(self, rows: int, empty: int) -> None:
        """Take in how many rows the column has, and in how many of them nothing stands."""
        self.rows, self.empty, self.plain = rows, empty, rows - empty - self.with_prefix


class Opener:
    """Tries keys in the order in which they have opened something last."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """``keys`` are Fernet keys by a name."""
        self._keys = dict(keys)
        self._ciphers = {name: Fernet(key) for name, key in keys.items()}
        self._ends = time.monotonic() + MOST_SECONDS

    def check_time(self) -> None:
        """Refuse to go on with a database for longer than a look may take."""
        if time.monotonic() > self._ends:
            raise KeyturnError(
                f"has not been looked through within {MOST_SECONDS} s: name fewer databases, or ask at a quieter time"
            )

    def count(self, texts: Sequence[bytes]) -> Counter[str]:
        """Return how many of the texts each key opens."""
        self.check_time()
        left, found = list(texts), Counter[str]()
        for name, key in list(self._keys.items()):
            opened = fernet_pages.opened_by(key, left)
            opened |= {text for text in left if text not in opened and self.plaintext(name, text) is not None}
            if opened:
                self._keys = {name: key, **self._keys}
            found[name] = sum(text in opened for text in left)
            left = [text for text in left if text not in opened]
        found[""] = len(left)
        return +found

    def plaintext(self, name: str, text: bytes) -> bytes | None:
        """Return what a text protects, None where the key of this name does not open it."""
        try:
            token = text if text.startswith(fernet_forms.ONE_LAYER_PREFIX) else base64.urlsafe_b64decode(text)
            return self._ciphers[name].decrypt(token)
        except (InvalidToken, ValueError):
            return None

    def opens(self, text: bytes) -> bool:
        """Tell whether any key opens a text."""
        return any(self.plaintext(name, text) is not None for name in self._ciphers)

    def protects_object(self, text: bytes) -> bool | None:
        """Tell whether a text protects a JSON object, None where no key opens it."""
        plain = next((one for name in self._ciphers if (one := self.plaintext(name, text)) is not None), None)
        return None if plain is None else isinstance(_parsed(plain), dict)


def census(database: Database, keys: Mapping[str, str]) -> list[Place]:
    """Return the columns with tokens, each by its places; KeyturnError for a database that cannot be read."""
    opener, found = Opener(keys), []
    with database.reading() as connection:
        tables = [row[1] for row in connection.execute("PRAGMA main.table_list") if row[2] == "table"]
        for table in sorted(name for name in tables if not name.startswith("sqlite_")):
            opener.check_time()
            described = list(connection.execute(f"PRAGMA main.table_xinfo({quote(table)})"))
            targets = columns(connection, table, [row[1] for row in described if not row[6]])
            values = ((unquote(one.column), value) for one, value in token_scan.suspicious(connection, targets))
            by_name = {unquote(target.column): target for target in targets}
            for name, places in in_columns(table, values, opener).items():
                counts = _rows(connection, by_name[name])
                for place in places:
                    place.count(*counts)
                    place.key, place.flag = _key(described), _flag(connection, place, described)
                    found.append(place)
    return found


def in_columns(table: str, values: Iterable[tuple[str, bytes]], opener: Opener) -> dict[str, list[Place]]:
    """Return the places of a table by its columns, of ``values``: what stands where a prefix of a token is in the row."""
    found: dict[str, dict[str, Place]] = {}
    waiting: dict[tuple[str, str], list[bytes]] = {}
    looked_at: Counter[str] = Counter()
    for name, value in values:
        if not any(prefix in value for prefix in PREFIXES):
            continue  # beside a token, in the same row
        looked_at[name] += 1
        mine = found.setdefault(name, {})
        for path, token in _tokens(value, opener):
            at = path if path in mine or len(mine) < MOST_PLACES else OTHER_PLACES
            mine.setdefault(at, Place(table=table, column=name, path=at))
            tokens = waiting.setdefault((name, at), [])
            tokens.append(token)
            if len(tokens) >= TOGETHER:
                _count(mine[at], waiting.pop((name, at)), opener)
    for (name, at), tokens in waiting.items():
        _count(found[name][at], tokens, opener)
    for name, places in found.items():
        for place in places.values():
            place.with_prefix = looked_at[name]
    return {name: list(places.values()) for name, places in found.items() if places}


def _rows(connection: sqlite3.Connection, target: Column) -> tuple[int, int]:
    """Return how many rows a column has, and in how many of them nothing stands."""
    empty = f"sum({target.column} IS NULL OR length({target.column}) = 0)"
    rows, without = connection.execute(f"SELECT count(*), {empty} FROM main.{target.table}").fetchone()  # noqa: S608 - quoted names
    return rows, without or 0


def _count(place: Place, tokens: Sequence[bytes], opener: Opener) -> None:
    if sum(place.under.values()) < LOOKED_INTO:
        looked = [opener.protects_object(token) for token in tokens[:LOOKED_INTO]]
        place.objects &= all(one for one in looked if one is not None)
    place.under += opener.count(tokens)


def _tokens(value: bytes, opener: Opener) -> Iterator[tuple[str, bytes]]:
    """Yield the tokens of what a row stores: itself, the strings of a JSON text that are tokens, or what stands in a longer text."""
    if WHOLE.fullmatch(value):
        yield "", value
        return
    parsed = _parsed(value)
    if not isinstance(parsed, dict | list | str):
        yield from (
            (NOT_JSON, token) for token in fernet_forms.tokens_in(value.replace(b"\0", b"")) if opener.opens(token)
        )
        return
    for path, text in _strings(parsed):
        if WHOLE.fullmatch(encoded := text.encode(errors="replace")):
            yield path, encoded


def _strings(found: object) -> Iterator[tuple[str, str]]:
    """Yield the strings of JSON with their paths, as the catalogue writes them; a key that is no name may be a person's."""
    left = [(json_text.WHOLE if isinstance(found, str) else "", found)]
    while left:  # a document may be nested as deep as it likes
        path, one = left.pop()
        if isinstance(one, str):
            yield path, one
        elif len(path) > LONGEST_PATH:
            left += (
                (path, inner)
                for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
            )
        elif isinstance(one, dict):
            named = ((key if NAME.fullmatch(key) else "(another key)", inner) for key, inner in one.items())
            left += ((f"{path}.{key}".lstrip("."), inner) for key, inner in named)
        elif isinstance(one, list):
            left += ((f"{path}[*]", inner) for inner in one)


def _parsed(text: bytes) -> object:
    try:
        json_text.check_size(text)
        return json.loads(text)
    except (json_text.NoJson, ValueError, RecursionError):
        return None


def _key(columns: Sequence[Sequence[Cell]]) -> list[str]:
    """Return the columns by which people know a row: the primary key, or the first of all."""
    return [str(row[1]) for row in sorted(columns, key=lambda row: int(row[5] or 0)) if row[5]] or [str(columns[0][1])]


def flags(place: Place, others: Iterable[str]) -> list[str]:
    """Return which of the ``others`` of a table may say of each row whether it is encrypted, the likeliest first.

    It must be right of every row. Where no row is in clear every column of ones would be, so its name has to tell as well.
    """
    names = [name for name in others if name != place.column and (place.plain or FLAG.search(name.lower()))]
    # is_extra_encrypted is of the column extra, and is_encrypted of any other
    names.sort(key=lambda name: (not FLAG.search(name.lower()), place.column.lower() not in name.lower()))
    return [] if place.path else names


def _flag(connection: sqlite3.Connection, place: Place, columns: Sequence[Sequence[Cell]]) -> str:
    """Return the column that says of each row whether it is encrypted, empty where there is none."""
    for name in flags(place, [str(row[1]) for row in columns if not row[6]]):
        wrong = connection.execute(
            f"SELECT count(*) FROM main.{quote(place.table)} WHERE length({quote(place.column)}) > 0 AND "  # noqa: S608
            f"coalesce({quote(name)}, 0) <> coalesce({token_scan.holds_prefix(quote(place.column))}, 0)"
        ).fetchone()[0]
        if not wrong:
            return name
    return ""
