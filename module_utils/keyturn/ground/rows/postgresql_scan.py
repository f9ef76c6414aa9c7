"""Tokens in columns of a PostgreSQL database that the catalogue does not declare: nothing would turn them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from .fernet_forms import ONE_LAYER_PREFIX, SHORTEST_TOKEN, TWO_LAYER_PREFIX, tokens_in
from .postgresql_session import Cursor
from .postgresql_table import Column
from .sqlite_file import quote

# bytes that stand in an array, or in a composite type, are looked through as their text
AS_TEXT = "SET LOCAL bytea_output = 'escape'"
# of rows that may have a token, which may be of any length
FETCHED = 100
# whatever stores something: tables, with their partitions by the parent, and materialized views; no text is in a number or a time
COLUMNS = """
SELECT c.oid, n.nspname, c.relname, a.attname, t.oid = 'bytea'::regtype, has_column_privilege(c.oid, a.attnum, 'SELECT')
       AND NOT row_security_active(c.oid)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
  JOIN pg_type t ON t.oid = a.atttypid
 WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^(pg_|keyturn_[0-9]{8}t)'
   AND t.typcategory NOT IN ('B', 'D', 'E', 'G', 'I', 'N', 'T')
 ORDER BY 2, 3, 4
"""


class Found(NamedTuple):
    """Columns with tokens that the value opens, with tokens of others, and those that may not be read."""

    opening: list[str]
    other: list[str]
    unseen: list[str]


def undeclared(cursor: Cursor, declared: Sequence[Column], opens: Callable[[bytes], bool]) -> Found:
    """Look through every column that could hold a text and is not ``declared``; the server looks for what tokens begin with."""
    known = {(target.oid, target.column) for target in declared}
    found = Found([], [], [])
    cursor.execute(AS_TEXT)
    cursor.execute(COLUMNS)
    for oid, schema, table, name, is_bytes, may in cursor.fetchall():
        if (oid, quote(name)) in known:
            continue
        where = f"{schema}.{table}.{name}"
        if not may:
            found.unseen.append(where)
        elif (state := _look(cursor, f"{quote(schema)}.{quote(table)}", quote(name), is_bytes, opens)) is not None:
            (found.opening if state else found.other).append(where)
    return found


def _look(cursor: Cursor, table: str, column: str, is_bytes: bool, opens: Callable[[bytes], bool]) -> bool | None:
    """Tell whether a column holds a token that opens; None where it holds none at all."""
    state: bool | None = None
    for stored in suspicious(cursor, table, column, is_bytes):
        for token in tokens_in(stored):
            if opens(token):
                return True
            state = False
    return state


def suspicious(cursor: Cursor, table: str, column: str, is_bytes: bool) -> Iterator[bytes]:
    """Yield what a column holds where a prefix of a token is in it; names are quoted for SQL."""
    value = column if is_bytes else as_text(column)
    cursor.execute("CLOSE ALL")  # the one before, where nobody has wanted the rest of it
    cursor.execute(
        f"DECLARE keyturn_scan NO SCROLL CURSOR FOR SELECT {value} FROM {table} WHERE {holds_prefix(value, is_bytes)}"  # noqa: S608
    )
    while True:
        cursor.execute(f"FETCH {FETCHED} FROM keyturn_scan")
        if not (page := cursor.fetchall()):
            return
        for (stored,) in page:
            yield stored.encode(errors="replace") if isinstance(stored, str) else bytes(stored)


def as_text(column: str) -> str:
    """Return a column as text by what its type writes. A cast (``::text``) may be a function of whoever owns the type."""
    return f"concat({column})"


def holds_prefix(value: str, is_bytes: bool) -> str:
    """Return the SQL condition that a text, or bytes, may have a token in them; without a backslash, which has two meanings."""
    has = (
        f"position(decode('{prefix.hex()}', 'hex') IN {value}) > 0"
        if is_bytes
        else f"strpos({value}, '{prefix.decode()}') > 0"
        for prefix in (ONE_LAYER_PREFIX, TWO_LAYER_PREFIX)
    )
    return f"length({value}) >= {SHORTEST_TOKEN} AND ({' OR '.join(has)})"
