"""The schema of an SQLite database: what in it may forbid a statement, and how it is kept out of the way."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from .sqlite_file import Column, check_schema_size, distrust, named_errors, quote, unquote


@contextlib.contextmanager
def schema_alone(source: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A database in memory with the schema of ``source`` as it stands there, and no row.

    Its text is not run: to make an index or a table anew may need a function that a statement on its rows does not. As when SQLite opens
    a file, it is only read. Each table and index needs an empty tree of its sort, which an empty table of ours is made for.
    """
    check_schema_size(source)
    keyed = {row[1] for row in source.execute("PRAGMA main.table_list") if row[4]}
    entries = list(source.execute("SELECT type, name, tbl_name, sql, rootpage FROM main.sqlite_master ORDER BY rowid"))
    with named_errors("its schema"), contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        for number, (kind, name, _, _, root) in enumerate(entries):
            if root:
                by_key = kind == "index" or name in keyed
                copy.execute(f'CREATE TABLE "{number}" {"(k PRIMARY KEY) WITHOUT ROWID" if by_key else "(k)"}')
        trees = iter(copy.execute("SELECT rootpage FROM sqlite_master ORDER BY rowid").fetchall())
        copy.execute("PRAGMA writable_schema=ON")
        copy.execute("DELETE FROM sqlite_master")
        for *entry, root in entries:
            copy.execute(
                "INSERT INTO sqlite_master (type, name, tbl_name, sql, rootpage) VALUES (?, ?, ?, ?, ?)",
                (*entry, *(next(trees) if root else (0,))),
            )
        copy.execute("PRAGMA writable_schema=RESET")
        distrust(copy)
        yield copy


@contextlib.contextmanager
def triggers_away(connection: sqlite3.Connection, target: Column) -> Iterator[None]:
    """Work inside a transaction without the table's triggers: a new ciphertext is no event for the application."""
    query = (
        "SELECT name, sql FROM main.sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE ORDER BY rowid"
    )
    triggers = list(connection.execute(query, (unquote(target.table),)))
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER main.{quote(name)}")
    yield
    for name, sql in triggers:
        with named_errors(f"trigger {name} of {unquote(target.table)} cannot be made again from its own text"):
            connection.execute(sql)
