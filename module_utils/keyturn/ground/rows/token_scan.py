"""Tokens where they should not be: in columns that the catalogue does not declare, and left over in the bytes of a file."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...base import files
from . import fernet_forms, fernet_pages
from .fernet_forms import ONE_LAYER_PREFIX, SHORTEST_TOKEN, TWO_LAYER_PREFIX
from .sqlite_file import Cell, Column, behind, columns, quote

# SQLite looks for the prefixes in this many rows under one lock, some ten milliseconds.
SCAN_ROWS = 10_000
# a table may have 2,000 columns, and a condition 1,000 parts
SCAN_COLUMNS = 500
# what SQLite's list calls a module's table, and the tables that such a module writes for itself
TABLES = ("table", "virtual", "shadow")
# what SQLite says of a virtual table whose module it does not have, and of one whose content its module does not understand
UNREADABLE = ("SQLITE_ERROR", "SQLITE_CORRUPT_VTAB")
SCAN_BYTES = 1 << 20
SCAN_OVERLAP = 1 << 12

Opens = Callable[[bytes], bool]


class Undeclared(NamedTuple):
    """Columns that the catalogue does not declare and that hold tokens.

    ``undeclared_opening`` could be declared, ``undeclared_copies`` not: SQLite or a module of it writes them. No key opens what
    ``undeclared`` has. ``unseen`` are virtual tables that cannot be read here; the tables that their modules write were.
    """

    undeclared_opening: list[str]
    undeclared_copies: list[str]
    undeclared: list[str]
    unseen: list[str]


def undeclared(connection: sqlite3.Connection, declared: Sequence[Column], opens: Opens) -> Undeclared:
    """Look for tokens, which ``opens`` accepts, beside the columns ``declared``: in whatever is no view, since a view stores nothing."""
    known = {(target.table, target.column) for target in declared}
    found: dict[str, set[str]] = {name: set() for name in Undeclared._fields}
    opening, copies, other, unseen = found.values()
    tables = {row[1]: row[2] for row in connection.execute("PRAGMA main.table_list") if row[2] in TABLES}
    for table, kind in tables.items():
        mine = opening if kind == "table" and not table.startswith("sqlite_") else copies
        try:
            names = [row[1] for row in connection.execute(f"PRAGMA main.table_info({quote(table)})")]
            targets = columns(connection, table, names, TABLES)
            looked_at = [target for target in targets if (target.table, target.column) not in known]
            for target, value in suspicious(connection, looked_at):
                if target.name not in mine:
                    for token in fernet_forms.tokens_in(value):
                        (mine if opens(token) else other).add(target.name)
        except sqlite3.DatabaseError as error:
            if kind != "virtual" or error.sqlite_errorname not in UNREADABLE:
                raise
            unseen.add(table)
    return Undeclared(sorted(opening), sorted(copies), sorted(other - opening - copies), sorted(unseen))


def suspicious(connection: sqlite3.Connection, targets: Sequence[Column]) -> Iterator[tuple[Column, bytes]]:
    """Yield what the columns of one table hold where a prefix of a token is in it, and its neighbours."""
    for at in range(0, len(targets), SCAN_COLUMNS):
        yield from _suspicious(connection, targets[at : at + SCAN_COLUMNS])


def _suspicious(connection: sqlite3.Connection, targets: Sequence[Column]) -> Iterator[tuple[Column, bytes]]:
    select = f"SELECT {', '.join(target.column for target in targets)} FROM main.{targets[0].table}"  # noqa: S608
    filtered = " OR ".join(holds_prefix(target.column) for target in targets)
    for condition, parameters in _spans(connection, targets[0]):
        for row in connection.execute(f"{select} WHERE {condition} ({filtered})", parameters):
            for target, value in zip(targets, row, strict=True):
                if isinstance(value, str | bytes):
                    yield target, value.encode(errors="replace") if isinstance(value, str) else value


def _spans(connection: sqlite3.Connection, target: Column) -> Iterator[tuple[str, tuple[Cell, ...]]]:
    """Yield conditions, each ending in AND, that cut the table into parts of ``SCAN_ROWS`` rows."""
    locators, after = ", ".join(target.locators), behind(target)
    begin: tuple[Cell, ...] = ()
    while True:
        where, condition = (f"WHERE {after}", f"{after} AND") if begin else ("", "")
        query = f"SELECT {locators} FROM main.{target.table} {where} ORDER BY {locators} LIMIT 1 OFFSET {SCAN_ROWS - 1}"  # noqa: S608
        end = connection.execute(query, begin).fetchone()
        if end is None:
            yield condition, begin
            return
        yield f"{condition} NOT {after} AND", (*begin, *end)
        begin = end


def holds_prefix(column: str) -> str:
    """Return the SQL condition that text or bytes have a token's prefix in them; SQLite compares only like with like."""
    prefixes = (ONE_LAYER_PREFIX, TWO_LAYER_PREFIX)
    text = " OR ".join(f"instr({column}, '{prefix.decode()}')" for prefix in prefixes)
    raw = " OR ".join(f"instr({column}, x'{prefix.hex()}')" for prefix in prefixes)
    # nearly all columns of an application are shorter than a token, and to know that is cheaper
    long_enough = f"length(CAST({column} AS BLOB)) >= {SHORTEST_TOKEN}"
    return f"CASE WHEN {long_enough} THEN CASE typeof({column}) WHEN 'text' THEN {text} WHEN 'blob' THEN {raw} END END"


def _written(fd: int) -> Iterator[bytes]:
    """Yield what has ever been written to a file, in pieces: a hole in it, which may have any size, is none."""
    at = 0
    try:
        while True:
            at = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, at, os.SEEK_HOLE)
            while at < end and (piece := os.pread(fd, min(SCAN_BYTES, end - at), at)):
                yield piece
                at += len(piece)
    except OSError as error:
        if error.errno != errno.ENXIO:  # behind the last of it; what cannot be read is not free of tokens
            raise


def left_over(path: Path, live: str, opens: Opens, seconds: float) -> int | None:
    """Count the tokens in the bytes of ``path`` that ``opens`` accepts; 0 without a file, None where ``seconds`` are not enough.

    Those under the key ``live`` are what should be there, and are passed over in batches. Of bytes that only begin as tokens do there
    may be as many as an application likes, and each is tried.
    """
    found: set[bytes] = set()
    end = time.monotonic() + seconds
    try:
        file = files.opened(path)
    except FileNotFoundError:
        return 0
    with file:
        tail = b""
        for chunk in _written(file.fileno()):
            # in a UTF-16 database a NUL stands beside each character of a token
            texts = fernet_forms.texts_in((tail + chunk).replace(b"\0", b""))
            passed = fernet_pages.opened_by(live, texts)
            rest = (text for text in texts if text not in passed)
            for token in (token for text in rest for token in fernet_forms.tokens_in(text)):
                if time.monotonic() > end:
                    return None
                if opens(token):
                    found.add(token)
            tail = chunk[-SCAN_OVERLAP:]
    return len(found)
