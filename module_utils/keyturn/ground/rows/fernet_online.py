"""Turning rows while the application, which reads both keys and writes under one, goes on to serve and to write."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator, Sequence

from ...base.sides import Side, other
from .. import owner
from .contract import Census, Online
from .fernet_pages import Pages
from .fernet_sqlite import FernetSqlite, Goal
from .row_counts import Refusals
from .side_file import SideFile
from .sqlite_file import Cell, Column, Row, chunk, pages, write
from .sqlite_schema import triggers_away

# Without a WAL who writes waits for as long as all rows are read under one lock: about half a second for as many.
LOCKED_ROWS = 100_000


def turn_online(columns: FernetSqlite, to: Side, place: SideFile, seconds: float = math.inf) -> Online:
    """Turn rows to the key of ``to`` for ``seconds``, a page in a transaction, going on from where ``place`` has come to.

    When all are read, ``place`` is forgotten, and one look at all rows says how many are left.
    """
    deadline = time.monotonic() + seconds
    read = turned = 0
    with columns.database.writing() as connection:
        targets = columns.columns(connection)
        (encoding,) = connection.execute("PRAGMA encoding").fetchone()
        with place.build(targets, encoding) as side:
            for index, (target, values) in enumerate(zip(targets, columns.turners, strict=True)):
                for rows, goals, after in _pages(connection, columns, target, values, to, place.place(side, index)):
                    turned += _put(connection, target, goals)
                    read += rows
                    place.add(side, index, [], after)
                    if time.monotonic() > deadline:
                        return Online(read, turned, finished=False)
        with owner.own():
            place.remove()
        census = _at_one_moment(columns, connection, targets)
        if not census["under"][other(to)]:
            columns.database.checkpoint(connection)
    return Online(read, turned, True, census["under"][other(to)], census["refusals"])


def _pages(
    connection: sqlite3.Connection,
    columns: FernetSqlite,
    target: Column,
    values: Pages,
    to: Side,
    after: Sequence[Cell],
) -> Iterator[tuple[int, list[Goal], Sequence[Cell]]]:
    """Yield how many rows a page has, what those of the other key are to hold, and the locator of its last one."""
    while True:
        piece = chunk(connection, target, after, with_rowids=False)
        opened = values.open_chunk(piece) if piece else None
        if piece and opened and opened.side == to:
            after = (piece.last,)
            yield piece.rows, [], after
            continue
        page: list[Row] = next(pages(connection, target, after), [])
        if not page:
            return
        after = page[-1].locator
        yield len(page), list(columns.turned(page, target, values, to, Refusals())), after


def _put(connection: sqlite3.Connection, target: Column, goals: Sequence[Goal]) -> int:
    """Write a page and return how many rows still stood as they were read: of the others somebody else knows better."""
    if not goals:
        return 0
    # an error closes the connection, which takes the page back
    connection.execute("BEGIN IMMEDIATE")
    with triggers_away(connection, target):
        written = write(connection, target, [(goal.row, goal.stored) for goal in goals])
    connection.execute("COMMIT")
    return written


def _at_one_moment(columns: FernetSqlite, connection: sqlite3.Connection, targets: Sequence[Column]) -> Census:
    """Open every row as of one moment, so that none is missed that moves meanwhile; by pages where too many would wait for that."""
    wal = connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    counts = [connection.execute(f"SELECT count(*) FROM main.{target.table}").fetchone()[0] for target in targets]  # noqa: S608
    if not wal and sum(counts) > LOCKED_ROWS:
        return columns.census_of(connection, targets)
    connection.execute("BEGIN")
    try:
        return columns.census_of(connection, targets)
    finally:
        connection.execute("ROLLBACK")
