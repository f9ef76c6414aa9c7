"""What a rotation prepares in the database itself, and the statements that turn rows: a schema of its own, with a table for each column.

The tables are logged, so that a crash of the server empties none, and their pages become durable with the last transaction. A host
that goes on finds in the schema how far it has come.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ...base.errors import KeyturnError
from ...base.sides import Side, other
from .fernet_forms import Stored
from .postgresql_session import LOCK_SECONDS, LOCKED, Cursor
from .postgresql_table import Column
from .sqlite_file import PAGE_BYTES, Cell, Row, quote

# of a page: how many rows at first, and so many times more with each while what is made of them fits into memory
FIRST, GROWTH, FETCHED = 100, 4, 5_000
# what its name begins with is the time of a rotation's id
OURS = r"^keyturn_\d{8}t\d{6}z_"
STAGED = ("keyturn old", "keyturn new")
SHAPE = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
 WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
# how a trigger is enabled, by what the server says of it
ENABLED = {"O": "TRIGGER", "A": "ALWAYS TRIGGER", "R": "REPLICA TRIGGER"}
HOLDERS = """
SELECT DISTINCT format('%%s of %%s', l.pid, a.usename) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.relation = ANY (%s) AND l.granted AND l.pid <> pg_backend_pid()
"""
Goal = tuple[Row, Stored]


class Staging:
    """The schema of one rotation. ``marks`` say for which values it is."""

    def __init__(self, rotation_id: str, marks: str) -> None:
        # a name of the server's has 63 characters
        self.name = f"keyturn_{rotation_id.lower().replace('-', '_')[:54]}"
        self._marks = marks

    def table(self, number: int) -> str:
        """Return the table of a declared column."""
        return f"{self.name}.staged_{number}"

    def stands(self, cursor: Cursor) -> bool:
        """Tell whether it was made, for the same values."""
        cursor.execute("SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", (self.name,))
        found = cursor.fetchone()
        return found is not None and found[0] == self._marks

    def check_alone(self, cursor: Cursor, name: str) -> None:
        """Refuse where another rotation has prepared something: it may be at work."""
        others = [one for one in staged_by(cursor) if one != self.name]
        if others:
            raise KeyturnError(
                f"{name}: another rotation has rows prepared there (schema {', '.join(others)}): end it, or, where it has ended, "
                f"DROP SCHEMA {quote(others[0])} CASCADE"
            )

    def fits(self, cursor: Cursor, number: int, target: Column) -> bool:
        """Tell whether what is prepared of a column is by the key and of the type that its table has now."""
        cursor.execute(SHAPE, (self.table(number),))
        names, kind = (*target.keys, *map(quote, STAGED)), "bytea" if target.kind == "bytea" else "text"
        found = [(quote(name), is_of) for name, is_of in cursor.fetchall()]
        return found == list(zip(names, (*target.types, kind, kind), strict=True))

    def make(self, cursor: Cursor, targets: Sequence[Column]) -> None:
        """Make the schema anew."""
        self.begin(cursor, len(targets))
        for number, target in enumerate(targets):
            keys = ", ".join(f"t.{key}" for key in target.keys)
            cursor.execute(f"CREATE TABLE {self.table(number)} AS SELECT {keys} FROM {target.table} t WITH NO DATA")  # noqa: S608
            cursor.execute(
                f'ALTER TABLE {self.table(number)} ADD "keyturn old" {target.stored}, ADD "keyturn new" {target.stored}'
            )
            # rows come in this order, and both tables are joined by it: without, the server sorts all of them while the service is stopped
            cursor.execute(f"CREATE INDEX ON {self.table(number)} ({', '.join(target.keys)})")

    def begin(self, cursor: Cursor, columns: int) -> None:
        """Make the schema anew with the places alone, one for each of so many columns."""
        self.drop(cursor)
        cursor.execute(f"CREATE SCHEMA {self.name}")
        cursor.execute(f"COMMENT ON SCHEMA {self.name} IS %s", (self._marks,))
        cursor.execute(f"CREATE TABLE {self.name}.progress (number int PRIMARY KEY, place text[])")
        cursor.execute(
            f"INSERT INTO {self.name}.progress SELECT * FROM generate_series(0, %s)",  # noqa: S608
            (columns - 1,),
        )

    def drop(self, cursor: Cursor) -> None:
        """Remove the schema; nothing where there is none."""
        cursor.execute("SET LOCAL client_min_messages = error")
        cursor.execute(f"DROP SCHEMA IF EXISTS {self.name} CASCADE")

    def page(self, cursor: Cursor, number: int, target: Column, size: int) -> list[Row]:
        """Return the next rows by their key, behind those that have been read: at most ``size``, and what fits into memory."""
        cursor.execute(f"SELECT place FROM {self.name}.progress WHERE number = %s", (number,))  # noqa: S608
        found = cursor.fetchone()
        place = found[0] if found else None
        keys = ", ".join(f"t.{key}" for key in target.keys)
        rows, order = f"SELECT {target.select()} FROM {target.table} t", f"ORDER BY {keys} LIMIT {size}"  # noqa: S608
        if place and len(place) == len(target.keys):  # who owns the database may write there, too
            behind = ", ".join(f"%s::{_as_it_is(kind)}" for kind in target.types)
            where = f"WHERE ({_as_it_is(keys)}) > ({behind})"
            cursor.execute(f"{_as_it_is(rows)} {where} {_as_it_is(order)}", place)
        else:
            cursor.execute(f"{rows} {order}")
        return portion([target.row(found) for found in cursor.fetchall()], target.weigh)

    def add(self, cursor: Cursor, number: int, target: Column, turned: Sequence[Goal], place: Sequence[Cell]) -> None:
        """Write down what was turned of a page, and how far that is."""
        if turned:
            names = [f"k{place}::{kind}" for place, kind in enumerate(target.types)]
            stored = "bytea" if target.kind == "bytea" else "text"
            cursor.execute(
                f"INSERT INTO {self.table(number)} SELECT {_as_it_is(', '.join(names))}, old::{stored}, new::{stored} "  # noqa: S608
                f"FROM {_unnested(target)}",
                _columns(turned),
            )
        self.reach(cursor, number, place)

    def reach(self, cursor: Cursor, number: int, place: Sequence[Cell]) -> None:
        """Write down the key of the last row that was read; KeyturnError where that cannot be, since there would be no end."""
        cursor.execute(f"UPDATE {self.name}.progress SET place = %s WHERE number = %s", ([*place], number))  # noqa: S608
        if cursor.rowcount != 1:
            raise KeyturnError(
                f"the table {self.name}.progress is not as it was made: somebody has changed it; DROP SCHEMA {self.name} CASCADE, then run "
                "resume.yml"
            )

    def begin_anew(self, cursor: Cursor) -> None:
        """Forget all places, durably with all that was done before."""
        cursor.execute(f"UPDATE {self.name}.progress SET place = NULL")  # noqa: S608

    def finish(self, cursor: Cursor, targets: Sequence[Column]) -> None:
        """Have the server know the tables, so that it joins them well."""
        for number, _ in enumerate(targets):
            cursor.execute(f"ANALYZE {self.table(number)}")
        cursor.execute("SELECT set_config('synchronous_commit', 'on', true)")
        cursor.execute(f"UPDATE {self.name}.progress SET number = number")  # noqa: S608

    def settle(self, cursor: Cursor, columns: int) -> None:
        """Have the server read what is durable now: whoever reads it first writes into each page that it stands (hint bits)."""
        for number in range(columns):
            cursor.execute(f"SELECT count(*) FROM {self.table(number)}")  # noqa: S608


class Known(NamedTuple):
    """Which rows of a column need not be opened: those that stand as staged, under either side or under ``side`` alone."""

    target: Column
    staged: str | None
    side: Side | None = None

    def loose(self) -> str:
        """Return the SQL query of all other rows."""
        target = self.target
        query = f"SELECT {target.select()} FROM {target.table} t"  # noqa: S608
        if self.staged is None:
            return query
        sides = (self.side,) if self.side else ("old", "new")
        differs = " AND ".join(f'{target.value} IS DISTINCT FROM s."keyturn {side}"' for side in sides)
        return f"{query} LEFT JOIN {self.staged} s ON {target.same_row('s')} WHERE s.{target.keys[0]} IS NULL OR ({differs})"


def put_staged(cursor: Cursor, target: Column, staged: str, to: Side) -> int:
    """Give every row that stands as staged its other value by one statement; return their number."""
    cursor.execute(
        f'UPDATE {target.table} t SET {target.column} = s."keyturn {to}"::{target.cast} FROM {staged} s '  # noqa: S608
        f'WHERE {target.same_row("s")} AND {target.value} = s."keyturn {other(to)}"'
    )
    return cursor.rowcount


def write(cursor: Cursor, target: Column, goals: Sequence[Goal]) -> None:
    """Write rows that still hold what was read of them; KeyturnError where one does not."""
    written = put(cursor, target, goals) if goals else 0
    if written != len(goals):
        raise KeyturnError(f"{target.name}: {len(goals)} rows were to be written, and {written} were: all stay")


def put(cursor: Cursor, target: Column, goals: Sequence[Goal]) -> int:
    """Write those of the rows that still hold what was read of them; return their number."""
    same = _same_row(target)
    old, new = ("v.old::bytea", "v.new::bytea") if target.kind == "bytea" else ("v.old", "v.new")
    cursor.execute(
        f"UPDATE {_as_it_is(target.table)} t SET {_as_it_is(f'{target.column} = {new}::{target.cast}')} "  # noqa: S608
        f"FROM {_unnested(target)} WHERE {_as_it_is(f'{same} AND {target.value} = {old}')}",
        _columns(goals),
    )
    return cursor.rowcount


def as_they_are(cursor: Cursor, target: Column, rows: Sequence[Row]) -> list[Row]:
    """Return what stands in rows now, by their keys; one that is gone is missing."""
    cursor.execute(
        _as_it_is(f"SELECT {target.select()} FROM {target.table} t JOIN ")  # noqa: S608
        + f"{_unnested(target)} ON {_as_it_is(_same_row(target))}",
        _columns([(row, None) for row in rows]),
    )
    return [target.row(found) for found in cursor.fetchall()]


def fetched(cursor: Cursor, target: Column, query: str) -> Iterator[list[Row]]:
    """Yield the rows of a query in pages, as they are when it begins; memory is flat."""
    cursor.execute(f"DECLARE keyturn_rows NO SCROLL CURSOR FOR {query}")
    size = FIRST
    while True:
        cursor.execute(f"FETCH {size} FROM keyturn_rows")
        if not (found := cursor.fetchall()):
            break
        rows, longest = [target.row(row) for row in found], 0
        while rows:
            page = portion(rows, target.weigh)
            yield page
            rows, longest = rows[len(page) :], max(longest, len(page))
        size = min(FETCHED, GROWTH * longest)
    cursor.execute("CLOSE keyturn_rows")


def portion(rows: list[Row], weigh: Callable[[str | bytes], int]) -> list[Row]:
    """Return the first of some rows: all of them, or fewer where what is made of them would not fit into memory."""
    left = PAGE_BYTES
    for number, row in enumerate(rows, 1):
        left -= weigh(row.stored) if isinstance(row.stored, str | bytes) else 0
        if left < 0:
            return rows[:number]
    return rows


def lock(cursor: Cursor, targets: Sequence[Column], name: str) -> None:
    """Keep all others from writing to the tables. None is held while another is waited for: nobody waits for us, and no deadlock comes."""
    deadline = time.monotonic() + LOCK_SECONDS
    tables = ", ".join(sorted({target.table for target in targets}))
    while True:
        cursor.execute("SAVEPOINT keyturn_locks")
        try:
            cursor.execute(f"LOCK TABLE {tables} IN EXCLUSIVE MODE NOWAIT")
            return
        except Exception as error:
            if getattr(error, "pgcode", "") != LOCKED:
                raise
        cursor.execute("ROLLBACK TO SAVEPOINT keyturn_locks")
        if time.monotonic() > deadline:
            raise KeyturnError(
                f"{name}: its tables are locked by another session ({holders(cursor, targets)}), nothing was changed: end it, then run "
                "this again"
            )
        time.sleep(0.05)


def holders(cursor: Cursor, targets: Sequence[Column]) -> str:
    """Name the sessions that hold locks on the tables."""
    cursor.execute(HOLDERS, ([target.oid for target in targets],))
    return ", ".join(found for (found,) in cursor.fetchall()) or "one that has ended since, or a prepared transaction"


@contextlib.contextmanager
def triggers_away(cursor: Cursor, target: Column) -> Iterator[None]:
    """Keep the application's triggers from running while rows are turned: nobody else sees it, and it ends with the transaction."""
    for name, _ in target.triggers:
        cursor.execute(f"ALTER TABLE {target.table} DISABLE TRIGGER {quote(name)}")
    yield
    for name, enabled in target.triggers:
        cursor.execute(f"ALTER TABLE {target.table} ENABLE {ENABLED[enabled]} {quote(name)}")


def staged_by(cursor: Cursor) -> list[str]:
    """Return the schemas of all rotations."""
    cursor.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ %s ORDER BY nspname", (OURS,))
    return [name for (name,) in cursor.fetchall()]


def _same_row(target: Column) -> str:
    pairs = enumerate(zip(target.keys, target.types, strict=True))
    return " AND ".join(f"t.{key} = v.k{number}::{kind}" for number, (key, kind) in pairs)


def _unnested(target: Column) -> str:
    """Return rows as a table ``v`` of SQL, of one array for each column: a list of VALUES costs the server as much as the write."""
    names = [*(f"k{number}" for number in range(len(target.keys))), "old", "new"]
    return f"unnest({', '.join(['%s::text[]'] * len(names))}) v({', '.join(names)})"


def _columns(goals: Sequence[Goal]) -> list[str]:
    """Return the arrays of ``_unnested``."""
    rows = [(*goal.locator, goal.stored, new) for goal, new in goals]
    return [f"{{{','.join(map(_element, cells))}}}" for cells in zip(*rows, strict=True)]


def _element(cell: Stored | Cell) -> str:
    if cell is None:
        return "NULL"
    text = f"\\x{cell.hex()}" if isinstance(cell, bytes) else str(cell)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _as_it_is(sql: str) -> str:
    """Return SQL with names of the database's for a statement with parameters, whose places are by ``%``."""
    return sql.replace("%", "%%")
