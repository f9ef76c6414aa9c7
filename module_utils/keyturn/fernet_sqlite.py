"""The migration ``fernet_sqlite``: columns of an SQLite database that hold Fernet tokens of the rotated key."""

from __future__ import annotations

import functools
import math
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.fernet import Fernet

from . import fernet_forms, token_scan
from .errors import KeyturnError
from .fernet_forms import FORMS, Opened, Stored, Turner, Unreadable
from .fernet_pages import BROKEN, OpenedChunk, Pages
from .side_file import Differing, SideFile, Staged, attach, differing, put_staged
from .sqlite_file import Chunk, Column, Database, Row, chunk, column, pages, triggers_away, unquote
from .values import Side, other

NAMED_ROWS = 10


class Prepared(NamedTuple):
    """What one call has done: rows staged and read, and whether all are."""

    staged: int
    read: int
    finished: bool


class Goal(NamedTuple):
    """What a row is to hold, and whether that was computed under the stop."""

    row: Row
    stored: Stored
    on_the_fly: bool


class Alike(NamedTuple):
    """A page in one piece, and what it protects."""

    chunk: Chunk
    opened: OpenedChunk


class Refusals:
    """Rows that may not be touched: counted, the first ten named by their key."""

    def __init__(self) -> None:
        self.count = 0
        self.named: list[str] = []

    def add(self, target: Column, row: Row, why: str) -> None:
        """Note one row."""
        self.count += 1
        if self.count <= NAMED_ROWS:
            item = "NULL" if row.item is None else repr(row.item)[:80]
            self.named.append(f"{target.name} of {item} {why}")

    def __str__(self) -> str:
        """Name up to ten rows."""
        more = f"; and {self.count - NAMED_ROWS} more" if self.count > NAMED_ROWS else ""
        return "; ".join(self.named) + more


class FernetSqlite:
    """Census, prepare, switch and check of the declared columns of one database."""

    def __init__(self, spec: Mapping[str, Any], app_root: Path, variable: str, values: Mapping[Side, str]) -> None:
        """``spec`` is the catalogue's migration; ``values`` the keys that are known (KeyturnError if one is none)."""
        self.spec = spec
        self.database = Database(app_root / spec["database"])
        self.ciphers: dict[Side, Fernet] = {side: fernet_forms.fernet(variable, key) for side, key in values.items()}
        self.keys = values
        self.values = [Pages(Turner(self.ciphers, declared["plaintext"]), values) for declared in spec["columns"]]

    def columns(self, connection: sqlite3.Connection) -> list[Column]:
        """Return the declared columns as the database has them."""
        try:
            found = [column(connection, item["table"], item["key"], item["column"]) for item in self.spec["columns"]]
            for target in found:
                if target.key == target.column:
                    raise KeyturnError(f"{target.name}: `key` must be another column, since messages name rows by it")
        except KeyturnError as error:
            raise KeyturnError(f"{self.database.path}: {error}") from None
        return found

    # -- census ----------------------------------------------------------------------------------------------------

    def open_rows(self) -> dict[str, Any]:
        """Open every row, reading only. Returns ``rows`` (by form), ``under`` (old, new), ``refused`` (up to ten named)."""
        with self.database.reading() as connection:
            return self._open_rows(connection, self.columns(connection))

    def census(self) -> dict[str, Any]:
        """Do what ``open_rows`` does and also look for tokens elsewhere: returns the columns with ``undeclared`` ones."""
        with self.database.reading() as connection:
            targets = self.columns(connection)
            census = self._open_rows(connection, targets)
            opening, other = token_scan.undeclared(connection, targets, self._opens)
        return census | {"undeclared_opening": opening, "undeclared": other}

    def _open_rows(self, connection: sqlite3.Connection, targets: Sequence[Column]) -> dict[str, Any]:
        rows: Counter[str] = Counter(dict.fromkeys(FORMS, 0))
        under: Counter[str] = Counter(old=0, new=0)
        refusals = Refusals()
        empty_tables: list[str] = []
        for target, values in zip(targets, self.values, strict=True):
            before = rows.total() + refusals.count
            for page in _read(connection, target, values, with_rowids=False):
                if isinstance(page, Alike):
                    rows[page.opened.form] += page.chunk.rows
                    under[page.opened.side] += page.chunk.rows
                    continue
                for _, opened in self._open_page(page, target, values, refusals):
                    rows[opened.form] += 1
                    under[opened.side or "none"] += 1
            table = unquote(target.table)
            if rows.total() + refusals.count == before and table not in empty_tables:
                empty_tables.append(table)
        return {
            "rows": {form: rows[form] for form in FORMS},
            "under": {side: under[side] for side in ("old", "new")},
            "refused": refusals.count,
            "refusals": str(refusals),
            "empty_tables": empty_tables,
        }

    def check_census(self, census: Mapping[str, Any], allow_empty: Sequence[str]) -> list[str]:
        """Raise KeyturnError where the census forbids a rotation; return findings that do not."""
        path = self.database.path
        if census["refused"]:
            raise KeyturnError(
                f"{path}: {census['refused']} rows cannot be turned, nothing was changed: {census['refusals']}"
            )
        if census["undeclared_opening"]:
            raise KeyturnError(
                f"{path}: tokens of this key stand where the catalogue declares none: "
                f"{', '.join(census['undeclared_opening'])}; add these columns to the migration"
            )
        forbidden = [table for table in census["empty_tables"] if table not in allow_empty]
        if forbidden:
            raise KeyturnError(
                f"{path}: table {', '.join(forbidden)} has no rows, so nothing would prove the new key; "
                f"if that is right, set keyturn_allow_empty_tables: [{', '.join(forbidden)}]"
            )
        findings = [f"{name} holds Fernet-like text that neither value opens" for name in census["undeclared"]]
        if census["rows"]["plaintext"]:
            findings.append(
                f"{census['rows']['plaintext']} rows are plaintext and stay so "
                "unless keyturn_encrypt_plaintext_rows is true"
            )
        return findings

    def _open_page(
        self, page: Sequence[Row], target: Column, values: Pages, refusals: Refusals
    ) -> Iterator[tuple[Row, Opened]]:
        for row, opened in zip(page, values.open([row.stored for row in page]), strict=True):
            if isinstance(opened, Unreadable):
                refusals.add(target, row, str(opened))
            else:
                yield row, opened

    def _opens(self, token: bytes) -> bool:
        return any(fernet_forms.opens(cipher, token) for cipher in self.ciphers.values())

    # -- prepare ---------------------------------------------------------------------------------------------------

    def prepare(self, side_file: SideFile, encrypt_plaintext: bool, seconds: float = math.inf) -> Prepared:
        """Compute new ciphertexts beside the running service, going on from where ``side_file`` has come to.

        After ``seconds`` it stops at the end of a page, the first at the earliest. Each staged value is opened again before
        it is written down.
        """
        deadline = time.monotonic() + seconds
        staged = read = 0
        refusals = Refusals()
        finished = True
        with self.database.reading() as connection:
            targets = self.columns(connection)
            for target in targets:
                if encrypt_plaintext and target.column in target.locators:
                    # the side file would hold the plaintext, and a rollback would not find the row again
                    raise KeyturnError(
                        f"{target.name} is part of the primary key: unset keyturn_encrypt_plaintext_rows, its plaintext stays"
                    )
            (encoding,) = connection.execute("PRAGMA encoding").fetchone()
            with side_file.build(targets, encoding) as side:
                for index, (target, values) in enumerate(zip(targets, self.values, strict=True)):
                    place = side_file.place(side, index)
                    for page in _read(connection, target, values, place, with_rowids=True):
                        if read and time.monotonic() > deadline:
                            finished = False
                            break
                        if isinstance(page, Alike):
                            if page.opened.side == "old":
                                self._stage_chunk(side, index, page, values, place)
                                staged += page.chunk.rows
                            else:
                                side_file.add(side, index, [], (page.chunk.last,))
                            place = (page.chunk.last,)
                            read += page.chunk.rows
                        else:
                            opened = list(self._open_page(page, target, values, refusals))
                            place = page[-1].locator
                            staged += side_file.add(side, index, self._stage(opened, values, encrypt_plaintext), place)
                            read += len(page)
                if refusals.count:
                    raise KeyturnError(f"{self.database.path}: {refusals.count} rows cannot be turned: {refusals}")
        return Prepared(staged, read, finished)

    @staticmethod
    def _stage(
        page: Sequence[tuple[Row, Opened]], values: Pages, encrypt_plaintext: bool
    ) -> Iterator[tuple[Row, Staged]]:
        """Yield what is staged for a page."""
        turning = [(row, opened) for row, opened in page if opened.side == "old"]
        turned = values.turn([(row.stored, opened) for row, opened in turning], "new")
        for (row, _), new in zip(turning, turned, strict=True):
            yield row, Staged(row.stored, new)
        for row, opened in page:
            if encrypt_plaintext and opened.form == "plaintext":
                yield row, Staged(None, values.encrypt(row.stored, opened, "new"))

    @staticmethod
    def _stage_chunk(side: sqlite3.Connection, index: int, page: Alike, values: Pages, after: Sequence[Any]) -> None:
        """Stage a page in one piece. What counts is what stands in the side file: the page, and the same under the new key."""
        sealed = values.turn_chunk(page.chunk, page.opened, "new")
        written = SideFile.add_chunk(side, index, page.chunk, sealed, after)
        expected = (page.chunk, sealed._replace(rowids=""))
        if written != expected or not values.holds(expected[1], page.opened, "new"):
            raise KeyturnError(BROKEN)

    # -- switch ----------------------------------------------------------------------------------------------------

    def switch(self, to: Side, side_file: SideFile | None) -> dict[str, Any]:
        """Put every row under the key of ``to``: one transaction, each row checked before the commit.

        The services are stopped. Rows that ``side_file`` does not know are turned by what opens them. Towards ``new`` an
        unreadable row takes everything back; towards ``old`` it is left as it is and named, since it is none of ours.
        """
        self.database.check_unused()
        turned = 0
        on_the_fly = 0
        left = Refusals()
        with self.database.writing() as connection:
            targets = self.columns(connection)
            attach(connection, side_file, targets)
            with self.database.transaction(connection):
                for index, (target, values) in enumerate(zip(targets, self.values, strict=True)):
                    before, written = left.count, 0
                    with triggers_away(connection, target):
                        turned += put_staged(connection, index, target, to)
                        for page in differing(connection, index, target, to):
                            goals = list(self._goals(page, target, values, to, left))
                            _write(connection, target, goals)
                            written += len(goals)
                            on_the_fly += sum(goal.on_the_fly for goal in goals)
                        if left.count and to == "new":
                            raise KeyturnError(f"{self.database.path}: {left.count} rows cannot be turned: {left}")
                        # where nothing was written since, the reading above is the check
                        if written:
                            self._check(connection, index, target, values, to, left.count - before)
                            turned += written
            self.database.truncate_wal(connection)
        return {"turned": turned, "on_the_fly": on_the_fly, "left": str(left)}

    def _goals(
        self, page: Sequence[Differing], target: Column, values: Pages, to: Side, left: Refusals
    ) -> Iterator[Goal]:
        """Yield what must be written to rows that do not stand as staged."""
        staged = _plaintexts(page, values)
        pairs = {row.locator: (sealed, plain) if to == "new" else (plain, sealed) for row, sealed, plain in staged}
        unknown = []
        for row, _ in page:
            goal, source = pairs.get(row.locator, (None, None))
            if goal is not None and row.stored == source:
                yield Goal(row, goal, on_the_fly=False)
            elif goal is None or row.stored != goal:
                unknown.append(row)
        turning = [
            (row, opened) for row, opened in self._open_page(unknown, target, values, left) if opened.side == other(to)
        ]
        turned = values.turn([(row.stored, opened) for row, opened in turning], to)
        for (row, _), new in zip(turning, turned, strict=True):
            yield Goal(row, new, on_the_fly=True)

    def _check(
        self, connection: sqlite3.Connection, index: int, target: Column, values: Pages, to: Side, allowed: int
    ) -> None:
        """Read every row again after the last write of the transaction: it stands as staged (and opened then), or opens under ``to``.

        ``allowed`` rows are left because nothing opens them.
        """
        unreadable, missed = Refusals(), Refusals()
        for page in differing(connection, index, target, to):
            for row, opened in self._open_page([row for row, _ in page], target, values, unreadable):
                if opened.side == other(to):
                    missed.add(target, row, f"is still under the {opened.side} value")
        if missed.count or unreadable.count > allowed:
            raise KeyturnError(
                f"{self.database.path}: the check before the commit failed, all rows stay: "
                f"{missed if missed.count else unreadable}"
            )

    # -- check -----------------------------------------------------------------------------------------------------

    def residue(self) -> dict[str, int]:
        """Count the tokens under the old key that are left in the bytes of each file of the database."""
        found: dict[str, int] = {}
        for path in self.database.files:
            count = token_scan.left_over(
                path, self.keys["new"], functools.partial(fernet_forms.opens, self.ciphers["old"])
            )
            if count:
                found[path.name] = count
        return found


def _read(
    connection: sqlite3.Connection, target: Column, values: Pages, after: Sequence[Any] = (), *, with_rowids: bool
) -> Iterator[Alike | list[Row]]:
    """Yield all rows behind ``after`` in pages: in one piece where all of it opens so, else as rows."""
    while True:
        piece = chunk(connection, target, after, with_rowids=with_rowids)
        opened = values.open_chunk(piece) if piece else None
        if piece and opened:
            after = (piece.last,)
            yield Alike(piece, opened)
            continue
        page = next(pages(connection, target, after), None)
        if page is None:
            return
        after = page[-1].locator
        yield page


def _plaintexts(page: Sequence[Differing], values: Pages) -> Iterator[tuple[Row, Stored, Stored]]:
    """Yield rows that were staged as plaintexts: the row, its ciphertext, and the plaintext that the side file leaves out."""
    known = [(row, sealed) for row, sealed in page if sealed is not None]
    for (row, sealed), opened in zip(known, values.open([sealed for _, sealed in known]), strict=True):
        if isinstance(opened, Opened):
            yield row, sealed, opened.plaintext.decode() if isinstance(sealed, str) else opened.plaintext


def _write(connection: sqlite3.Connection, target: Column, goals: Sequence[Goal]) -> None:
    where = " AND ".join(f"{locator} = ?" for locator in target.locators)
    connection.executemany(
        f"UPDATE main.{target.table} SET {target.column} = ? WHERE {where}",  # noqa: S608 - quoted names
        [(goal.stored, *goal.row.locator) for goal in goals],
    )
