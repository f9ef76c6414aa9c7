"""Which key opens what in a database of a PostgreSQL server of which nothing is declared: read in one snapshot that cannot write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from . import postgresql_scan
from .key_census import Opener, Place, flags, in_columns
from .postgresql_session import Cursor, Login, transaction
from .sqlite_file import quote

KEYS = """
SELECT a.attname FROM pg_index i CROSS JOIN LATERAL unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k(number, place)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number WHERE i.indrelid = %s AND i.indisprimary ORDER BY k.place
"""
# with the kind of each column: what says yes or no of a row is a truth value or a number
NAMES = """
SELECT a.attname, t.typcategory IN ('B', 'N') FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


class _Table(NamedTuple):
    """A table as the server knows it, as the catalogue names it, and quoted for SQL."""

    oid: int
    name: str
    quoted: str


def census(login: Login, keys: Mapping[str, str]) -> tuple[list[Place], list[str]]:
    """Return the columns with tokens, and names of columns that the login may not read whole; KeyturnError where it reads none."""
    found: list[Place] = []
    unseen: list[str] = []
    opener = Opener(keys)
    with login.connected() as connection, transaction(connection, snapshot=True) as cursor:
        cursor.execute(postgresql_scan.AS_TEXT)
        cursor.execute(postgresql_scan.COLUMNS)
        for (oid, schema, name), columns in groupby(cursor.fetchall(), key=lambda row: tuple(row[:3])):
            told = name if schema == "public" else f"{schema}.{name}"
            opener.check_time()
            seen = {}
            for *_, column, is_bytes, may in columns:
                if may:
                    seen[column] = is_bytes
                else:
                    unseen.append(f"{told}.{column}")
            found += _of_table(cursor, _Table(oid, told, f"{quote(schema)}.{quote(name)}"), seen, opener)
    return found, unseen


def _of_table(cursor: Cursor, table: _Table, columns: Mapping[str, bool], opener: Opener) -> Iterator[Place]:
    def values() -> Iterator[tuple[str, bytes]]:
        for name, is_bytes in columns.items():
            for value in postgresql_scan.suspicious(cursor, table.quoted, quote(name), is_bytes):
                opener.check_time()  # a server in other hands has rows without end
                yield name, value
            opener.check_time()

    for name, places in in_columns(table.name, values(), opener).items():
        cursor.execute(KEYS, (table.oid,))
        primary = [key for (key,) in cursor.fetchall()]
        cursor.execute(NAMES, (table.oid,))
        others = cursor.fetchall()
        column = quote(name)
        cursor.execute(
            f"SELECT count(*), count(*) FILTER (WHERE {column} IS NULL OR length({_text(name, columns)}) = 0) FROM {table.quoted}"  # noqa: S608
        )
        counts = cursor.fetchone()
        for place in places:
            place.count(*counts)
            place.key = primary or [others[0][0]]
            place.flag = _flag(cursor, table, place, columns, [other for other, tells in others if tells])
            yield place


def _text(name: str, columns: Mapping[str, bool]) -> str:
    return quote(name) if columns[name] else postgresql_scan.as_text(quote(name))


def _flag(cursor: Cursor, table: _Table, place: Place, columns: Mapping[str, bool], others: Sequence[str]) -> str:
    """Return the column that says of each row whether it is encrypted, empty where there is none."""
    value = _text(place.column, columns)
    for name in flags(place, others):
        cursor.execute(
            f"SELECT count(*) FROM {table.quoted} WHERE length({value}) > 0 AND "  # noqa: S608 - quoted names
            f"coalesce(lower({quote(name)}::text) IN ('true', '1'), false) <> "
            f"({postgresql_scan.holds_prefix(value, columns[place.column])})"
        )
        if cursor.fetchone() == (0,):
            return name
    return ""
