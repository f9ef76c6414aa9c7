"""New ciphertexts beside the database: what prepare computes while the service runs, and switch only writes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import durable
from .sqlite_file import Column, Row, named_errors

NAME = "the file of prepared ciphertexts in keyturn_state_dir"


class Staged(NamedTuple):
    """Both forms of one stored value. ``old`` is None for a plaintext: it is not written down a second time."""

    old: Any
    new: Any


class SideFile:
    """A database of ciphertexts (0600), one table for each declared column."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def build(self, columns: Sequence[Column]) -> Iterator[sqlite3.Connection]:
        """Make the file anew; it is durable when the block ends."""
        durable.remove(self.path)
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            with named_errors(NAME):
                # a kill throws the file away, so a journal for it would be wasted
                connection.execute("PRAGMA journal_mode=OFF")
                connection.execute("PRAGMA synchronous=OFF")
                for index, column in enumerate(columns):
                    keys = ", ".join(_keys(column))
                    connection.execute(
                        f"CREATE TABLE staged_{index} ({keys}, old, new, PRIMARY KEY ({keys})) WITHOUT ROWID"
                    )
            yield connection
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        durable.sync_folder(self.path.parent)

    @staticmethod
    def add(connection: sqlite3.Connection, index: int, rows: Iterable[tuple[Row, Staged]]) -> int:
        """Write one page; return its number of rows."""
        values = [(*row.locator, staged.old, staged.new) for row, staged in rows]
        if values:
            marks = ", ".join("?" * len(values[0]))
            with named_errors(NAME):
                connection.execute("BEGIN")
                # a row may move while the pages are read, and then comes twice
                connection.executemany(f"INSERT OR REPLACE INTO staged_{index} VALUES ({marks})", values)  # noqa: S608
                connection.execute("COMMIT")
        return len(values)

    def checksum(self) -> str:
        """Return the SHA-256 of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that only reads."""
        with named_errors(NAME):
            connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
        with contextlib.closing(connection):
            yield connection

    @staticmethod
    def page(
        connection: sqlite3.Connection | None, index: int, column: Column, rows: Sequence[Row]
    ) -> dict[tuple[Any, ...], Staged]:
        """Return what is staged for ``rows`` (in the order of their locators), by locator."""
        if connection is None:
            return {}
        keys = _keys(column)
        query = f"SELECT {', '.join(keys)}, old, new FROM staged_{index} WHERE "  # noqa: S608
        with named_errors(NAME):
            if column.by_rowid:
                found = connection.execute(
                    query + "k0 BETWEEN ? AND ?", (*rows[0].locator, *rows[-1].locator)
                ).fetchall()
            else:
                # one by one: the database may sort its keys by another collation than this file
                query += " AND ".join(f"{key} = ?" for key in keys)
                found = [staged for row in rows for staged in connection.execute(query, row.locator)]
        return {row[:-2]: Staged(*row[-2:]) for row in found}


def _keys(column: Column) -> list[str]:
    return [f"k{position}" for position in range(len(column.locators))]
