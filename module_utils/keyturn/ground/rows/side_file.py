"""New ciphertexts beside the database: what prepare computes while the service runs, and switch only writes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...base import durable
from ...base.sides import Side, other
from .. import owner
from . import backup_file
from .sqlite_file import PAGE_ROWS, Cell, Chunk, Column, Row, behind, chunk, named_errors, roots, some

SIDES: tuple[Side, ...] = ("old", "new")
NAME = "the file of prepared ciphertexts in keyturn_state_dir"


class StagedRow(NamedTuple):
    """Both forms of one stored value. ``old`` is None for a plaintext: it is not written down a second time."""

    old: Any
    new: Any


class Differing(NamedTuple):
    """A row that does not stand as staged; ``sealed`` is what was staged for it when it was a plaintext."""

    row: Row
    sealed: Any


class SideFile:
    """A database of ciphertexts (0600): for each declared column a table, and the place that its reading has come to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def build(self, columns: Sequence[Column], encoding: str) -> Iterator[sqlite3.Connection]:
        """Make the file or go on with it: all of the block is durable when it ends, or nothing.

        ``encoding`` is that of the database: SQLite compares only texts of one encoding.
        """
        with owner.own():
            if not self.path.exists():
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with roots(self.path) as connection:
            with owner.own(), named_errors(NAME):
                connection.execute(f"PRAGMA encoding='{encoding}'")
                connection.execute("BEGIN")
                create_tables(connection, "main", columns)
            yield connection
            with owner.own(), named_errors(NAME):
                connection.execute("COMMIT")
        with owner.own():
            durable.sync_folder(self.path.parent)

    @staticmethod
    @owner.own()
    def place(connection: sqlite3.Connection, index: int) -> tuple[Cell, ...]:
        """Return the locator of the row that was read last; nothing before the first."""
        with named_errors(NAME):
            return tuple(connection.execute(f"SELECT * FROM place_{index}").fetchone() or ())  # noqa: S608

    @staticmethod
    @owner.own()
    def add(
        connection: sqlite3.Connection, index: int, rows: Iterable[tuple[Row, StagedRow]], place: Sequence[Cell]
    ) -> int:
        """Write one page and the place that it leads to; return its number of rows."""
        values = [(*row.locator, staged.old, staged.new) for row, staged in rows]
        marks = ", ".join("?" * len(place))
        with named_errors(NAME):
            connection.executemany(f"INSERT INTO staged_{index} VALUES ({marks}, ?, ?)", values)  # noqa: S608
            SideFile._move(connection, index, place)
        return len(values)

    @staticmethod
    @owner.own()
    def add_chunk(
        connection: sqlite3.Connection, index: int, old: Chunk, new: Chunk, after: Sequence[Cell]
    ) -> tuple[Chunk | None, Chunk | None]:
        """Write one page in one piece, and the place that it leads to; return both columns as they stand now.

        ``after`` is the place before it.
        """
        cut = f"substr(?, 1 + key * {old.width}, {old.width})"
        cut = f"CAST({cut} AS TEXT)" if old.as_text else cut
        with named_errors(NAME):
            connection.execute(
                f"INSERT INTO staged_{index} SELECT value, {cut}, {cut} FROM json_each(?)",  # noqa: S608
                (old.stored, new.stored, old.rowids),
            )
            SideFile._move(connection, index, (old.last,))
            both = [Column(f"staged_{index}", ("k0",), name, ("k0",), NAME) for name in ("old", "new")]
            # as many rows behind one place: what the rowids of one column are, those of the other are
            written = [chunk(connection, column, after, old.rows + 1, with_rowids=column is both[0]) for column in both]
        return written[0], written[1]

    @staticmethod
    def _move(connection: sqlite3.Connection, index: int, place: Sequence[Cell]) -> None:
        connection.execute(f"DELETE FROM place_{index}")  # noqa: S608
        connection.execute(f"INSERT INTO place_{index} VALUES ({', '.join('?' * len(place))})", tuple(place))  # noqa: S608

    def mark(self) -> list[int]:
        """Mark the file as it stands, and return the mark: every later write moves the time that this sets back."""
        status = self.path.stat()
        os.utime(self.path, ns=(status.st_atime_ns, status.st_mtime_ns - 10**9))
        return self._identity()

    def bears(self, mark: object) -> bool:
        """Tell whether nobody has written to the file since it was marked. That holds within a boot."""
        return self._identity() == mark

    def _identity(self) -> list[int]:
        status = self.path.stat()
        return [status.st_ino, status.st_size, status.st_mtime_ns]

    @property
    def interrupted(self) -> bool:
        """Whether a call was killed in its transaction, which SQLite takes back when the file is opened."""
        return self._journal.exists()

    @property
    def _journal(self) -> Path:
        return self.path.with_name(f"{self.path.name}-journal")

    def checksum(self) -> str:
        """Return the SHA-256 of the file, after SQLite has taken back what a killed call had begun."""
        with (
            contextlib.suppress(sqlite3.Error),
            roots(self.path) as connection,
        ):  # a damaged file has another sum anyway
            connection.execute("SELECT count(*) FROM sqlite_master")
        return backup_file.checksum(self.path)

    def remove(self) -> None:
        """Remove the file, durably."""
        durable.remove(self.path)
        durable.remove(self._journal)


def create_tables(connection: sqlite3.Connection, schema: str, columns: Sequence[Column]) -> None:
    """Make the tables of a side file where they are missing."""
    for index, column in enumerate(columns):
        keys = _keys(column)
        named, ending = f"{', '.join(keys)}, old, new, PRIMARY KEY ({', '.join(keys)})", "WITHOUT ROWID"
        if column.by_rowid:
            named, ending = "k0 INTEGER PRIMARY KEY, old, new", ""
        connection.execute(f"CREATE TABLE IF NOT EXISTS {schema}.staged_{index} ({named}) {ending}")
        connection.execute(f"CREATE TABLE IF NOT EXISTS {schema}.place_{index} ({', '.join(keys)})")


def attach(connection: sqlite3.Connection, side: SideFile | None, columns: Sequence[Column]) -> None:
    """Let statements of ``connection`` see the staged rows as the schema ``side``; without a file there are none.

    Root opens that file, in the midst of what is done as the owner of the database: SQLite keeps it open, and reads what it needs by
    that. Nothing here touches the database itself, whose schema was read when its columns were looked up.
    """
    with owner.own(), named_errors(NAME):
        if side is None:
            connection.execute("ATTACH ':memory:' AS side")
            create_tables(connection, "side", columns)
            return
        connection.execute("ATTACH ? AS side", (f"{side.path.absolute().as_uri()}?mode=ro",))
        for index in range(len(columns)):
            connection.execute(f"SELECT 1 FROM side.staged_{index} LIMIT 1").fetchone()  # noqa: S608


def attach_copy(connection: sqlite3.Connection, copy: Path) -> None:
    """Let statements of ``connection`` see a copy of its database as the schema ``kept``: as with ``attach``, root opens it."""
    with owner.own(), named_errors(str(copy)):
        connection.execute("ATTACH ? AS kept", (f"{copy.absolute().as_uri()}?mode=ro",))
        connection.execute("SELECT count(*) FROM kept.sqlite_master").fetchone()


def differing(connection: sqlite3.Connection, target: Column) -> Iterator[list[Differing]]:
    """Yield in pages the rows that do not stand as they do in the copy, each with what that has of it."""
    same = " AND ".join(f"k.{locator} = t.{locator}" for locator in target.locators)
    order = ", ".join(f"t.{locator}" for locator in target.locators)
    after: Sequence[Cell] = ()
    while True:
        where = f"AND {behind(target, 't.')}" if after else ""
        query = (
            f"SELECT {target.row('t.')}, k.{target.column} FROM main.{target.table} AS t JOIN kept.{target.table} AS k ON {same} "  # noqa: S608
            f"WHERE t.{target.column} IS NOT k.{target.column} COLLATE BINARY {where} ORDER BY {order} LIMIT {PAGE_ROWS}"
        )
        rows = [
            Differing(target.found(row[:-1]), row[-1]) for row in some(connection.execute(query, after), target.weigh)
        ]
        if not rows:
            return
        yield rows
        after = rows[-1].row.locator


def put_staged(connection: sqlite3.Connection, index: int, target: Column, to: Side) -> int:
    """Give every row that stands as staged under the other key its staged value under ``to``; return how many."""
    staged = f"FROM side.staged_{index} WHERE old IS NOT NULL AND {_same_row(target)}"
    said = f"AND t.{target.flag} IS 1" if target.flag else ""
    return connection.execute(
        f"UPDATE OR ABORT main.{target.table} AS t SET {target.column} = (SELECT {to} {staged}) "  # noqa: S608 - quoted names
        f"WHERE t.{target.column} = (SELECT {other(to)} {staged}) COLLATE BINARY {said}"
    ).rowcount


def encrypted(connection: sqlite3.Connection, index: int, target: Column) -> Iterator[Cell]:
    """Yield the keys of the rows that were staged as plaintexts and stand encrypted."""
    query = (
        f"SELECT {target.item('t.')} FROM side.staged_{index} AS s JOIN main.{target.table} AS t ON {_same_row(target)} "  # noqa: S608
        f"WHERE s.old IS NULL AND s.new IS t.{target.column} COLLATE BINARY"
    )
    return (item for (item,) in connection.execute(query))


def counted(
    connection: sqlite3.Connection, index: int, target: Column, sides: Sequence[Side] = SIDES
) -> tuple[int, int]:
    """Return how many rows the table has, and how many of them do not stand as staged under a key of ``sides``."""
    rows = f"SELECT count(*) FROM main.{target.table}"  # noqa: S608 - quoted names
    query = f"SELECT ({rows}), count(*) {_beside(index, target)} WHERE {_loose(target, sides)}"
    return connection.execute(query).fetchone()  # type: ignore[no-any-return]


def loose(
    connection: sqlite3.Connection, index: int, target: Column, sides: Sequence[Side] = SIDES
) -> Iterator[list[Differing]]:
    """Yield in pages the rows that do not stand as staged under a key of ``sides``.

    The others are known without being opened: prepare has opened both of their ciphertexts, and one of the two stands there.
    """
    locators = ", ".join(f"t.{locator}" for locator in target.locators)
    select = (
        f"SELECT {target.row('t.')}, CASE WHEN s.old IS NULL THEN s.new END "
        f"{_beside(index, target)} WHERE {_loose(target, sides)}"
    )
    after: Sequence[Cell] = ()
    while True:
        where = f"AND {behind(target, 't.')}" if after else ""
        query = f"{select} {where} ORDER BY {locators} LIMIT {PAGE_ROWS}"
        found = some(connection.execute(query, after), target.weigh)
        rows = [Differing(target.found(row[:-1]), row[-1]) for row in found]
        if not rows:
            return
        yield rows
        after = rows[-1].row.locator


def _beside(index: int, target: Column) -> str:
    return f"FROM main.{target.table} AS t LEFT JOIN side.staged_{index} AS s ON {_same_row(target)}"


def _loose(target: Column, sides: Sequence[Side]) -> str:
    if target.moves:
        # where it stands now, the side file does not know the row
        return "TRUE"
    elsewhere = " AND ".join(f"t.{target.column} IS NOT s.{side} COLLATE BINARY" for side in sides)
    # a token that is not said to be one any more is not what prepare has opened
    unsaid = f" OR t.{target.flag} IS NOT 1" if target.flag else ""
    return f"(s.old IS NULL OR {elsewhere}{unsaid})"


def _same_row(target: Column) -> str:
    # "+" takes the type of the column away, or SQLite would convert the keys and not use their index
    pairs = zip(_keys(target), target.locators, strict=True)
    return " AND ".join(f"{key} = +t.{locator}" for key, locator in pairs)


def _keys(column: Column) -> list[str]:
    return [f"k{position}" for position in range(len(column.locators))]
