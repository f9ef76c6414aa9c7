"""The migration ``fernet_sqlite``: columns of an SQLite database that hold Fernet tokens of the rotated key."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.fernet import Fernet, MultiFernet

from ...base.errors import KeyturnError
from ...base.sides import Side, other
from . import fernet_forms, token_scan
from .contract import Census, Prepared, Spec, Turned
from .fernet_forms import FORMS, JSON, Opened, Stored, Turner, Unreadable, of_any_shape
from .fernet_json import JsonPages
from .fernet_pages import BROKEN, OpenedChunk, Pages
from .row_counts import Refusals, Tally
from .side_file import (
    SIDES,
    Differing,
    SideFile,
    StagedRow,
    attach,
    attach_copy,
    counted,
    differing,
    encrypted,
    loose,
    put_staged,
)
from .sqlite_file import Cell, Chunk, Column, Database, Row, check_schema_size, chunk, column, pages, unquote, write
from .sqlite_schema import schema_alone, triggers_away

# of each file; a gigabyte of what an application writes takes some seconds
RESIDUE_SECONDS = 120.0


class Goal(NamedTuple):
    """What a row is to hold, and whether that was computed under the stop."""

    row: Row
    stored: Stored
    on_the_fly: bool


class WholeCensus(Census):
    """The declared rows, and the columns with tokens that are not declared (``token_scan.Undeclared``)."""

    undeclared_opening: list[str]
    undeclared_copies: list[str]
    undeclared: list[str]
    unseen: list[str]


class Alike(NamedTuple):
    """A page in one piece, and what it protects."""

    chunk: Chunk
    opened: OpenedChunk


class FernetSqlite:
    """Census, prepare, switch and check of the declared columns of one database."""

    def __init__(
        self,
        spec: Spec,
        app_root: Path,
        variable: str,
        keys: Mapping[Side, str],
        accepted: Collection[str] = (),
        older: Sequence[str] = (),
    ) -> None:
        """``spec`` is the catalogue's migration; ``keys`` those that are known (KeyturnError if one is none).

        ``accepted`` are the keys of rows that may have another shape than is declared. ``older`` are the further keys of an old list of
        keys, which open rows and encrypt none.
        """
        self.accepted = accepted
        self.spec = spec
        self.database = Database(app_root / spec["database"], app_root)
        self.ciphers: dict[Side, Fernet | MultiFernet] = {
            side: fernet_forms.cipher(variable, [key, *(older if side == "old" else ())]) for side, key in keys.items()
        }
        self.keys = keys
        self.turners = [self._pages(declared) for declared in spec["columns"]]
        self.forms = (*FORMS, JSON) if any(declared.get("paths") for declared in spec["columns"]) else FORMS

    def _pages(self, declared: Spec) -> Pages:
        turner = Turner(self.ciphers, declared.get("plaintext"))
        return JsonPages(turner, self.keys, declared["paths"]) if declared.get("paths") else Pages(turner, self.keys)

    def columns(self, connection: sqlite3.Connection) -> list[Column]:
        """Return the declared columns as the database has them."""
        try:
            check_schema_size(connection)
            found = [
                column(connection, item["table"], item["key"], item["column"], flag=item.get("flag") or "")
                for item in self.spec["columns"]
            ]
            for target in found:
                if target.column in target.keys:
                    raise KeyturnError(f"{target.name}: `key` must be another column, since messages name rows by it")
                if target.column == target.flag:
                    raise KeyturnError(
                        f"{target.name}: `flag` must be another column, which says whether this one is encrypted"
                    )
        except KeyturnError as error:
            raise KeyturnError(f"{self.database.path}: {error}") from None
        return [target._replace(weigh=values.weigh) for target, values in zip(found, self.turners, strict=True)]

    # -- census ----------------------------------------------------------------------------------------------------

    def open_rows(self) -> Census:
        """Open every row, reading only. Returns ``rows`` (by form), ``under`` (old, new), ``refused`` (up to ten named)."""
        with self.database.reading() as connection:
            return self.census_of(connection, self.columns(connection))

    def census(self) -> WholeCensus:
        """Do what ``open_rows`` does and also look for tokens elsewhere: returns the columns with ``undeclared`` ones."""
        with self.database.reading() as connection:
            targets = self.columns(connection)
            census = self.census_of(connection, targets)
            found = token_scan.undeclared(connection, targets, self._opens)
            return {
                **census,
                "undeclared_opening": found.undeclared_opening,
                "undeclared_copies": found.undeclared_copies,
                "undeclared": found.undeclared,
                "unseen": found.unseen,
            }

    def census_of(self, connection: sqlite3.Connection, targets: Sequence[Column]) -> Census:
        """Open every row of the columns ``targets``."""
        rows: Counter[str] = Counter(dict.fromkeys(self.forms, 0))
        under: Counter[str] = Counter(old=0, new=0)
        refusals = Refusals()
        empty_tables: list[str] = []
        for target, values in zip(targets, self.turners, strict=True):
            before = rows.total() + refusals.count
            version = _version(connection)
            for page in _read(connection, target, values, with_rowids=False):
                if isinstance(page, Alike):
                    rows[page.opened.form] += page.chunk.rows
                    under[page.opened.side] += page.chunk.rows
                    continue
                for _, opened in self._open_page(page, target, values, refusals):
                    rows[opened.form] += 1
                    under.update(side for side in SIDES if opened.under(side))
            table = unquote(target.table)
            read = rows.total() + refusals.count - before
            (there,) = connection.execute(f"SELECT count(*) FROM main.{target.table}").fetchone()  # noqa: S608
            # beside an application that writes the two may differ
            if read != there and version == _version(connection):
                raise KeyturnError(f"{self.database.path}: {table} has {there} rows, and {read} are found one by one")
            if not read and table not in empty_tables:
                empty_tables.append(table)
        return {
            "rows": {form: rows[form] for form in self.forms},
            "under": {side: under[side] for side in ("old", "new")},
            "refused": refusals.count,
            "refusals": str(refusals),
            "empty_tables": empty_tables,
        }

    def refusal(self, census: Census) -> str:
        """Return the sentence about rows that cannot be turned, empty where all can."""
        count, named = census["refused"], census["refusals"]
        return f"{self.database.path}: {count} rows cannot be turned, nothing was changed: {named}" if count else ""

    def check_census(
        self, census: WholeCensus, allow_empty: Sequence[str], encrypt_plaintext: bool = False
    ) -> list[str]:
        """Raise KeyturnError where the census forbids a rotation; return findings that do not."""
        path = self.database.path
        if refusal := self.refusal(census):
            raise KeyturnError(refusal)
        if census["undeclared_opening"]:
            raise KeyturnError(
                f"{path}: tokens of this key stand where the catalogue declares none: "
                f"{', '.join(census['undeclared_opening'])}; add these columns to the migration"
            )
        if census["undeclared_copies"]:
            raise KeyturnError(
                f"{path}: SQLite keeps tokens of this key in {', '.join(census['undeclared_copies'])}, which nothing turns: make that "
                "virtual table, statistic or default anew without the token's column, and first copy elsewhere what it alone holds"
            )
        forbidden = [table for table in census["empty_tables"] if table not in allow_empty]
        if forbidden:
            raise KeyturnError(
                f"{path}: table {', '.join(forbidden)} has no rows, so nothing would prove the new key; "
                f"if that is right, set keyturn_allow_empty_tables: [{', '.join(forbidden)}]"
            )
        findings = [f"{name} holds Fernet-like text that neither value opens" for name in census["undeclared"]]
        findings += [
            f"{name} is a virtual table that cannot be read without the application (SQLite has not its module, or it is damaged)"
            for name in census["unseen"]
        ]
        if census["rows"]["plaintext"]:
            may = any(not (item.get("flag") or item.get("paths")) for item in self.spec["columns"])
            stay = " and stay so" + (" unless keyturn_encrypt_plaintext_rows is true" if may else "")
            findings.append(f"{census['rows']['plaintext']} rows are plaintext{'' if encrypt_plaintext else stay}")
        return findings

    def _open_page(
        self, page: Sequence[Row], target: Column, values: Pages, refusals: Refusals, tally: Tally | None = None
    ) -> Iterator[tuple[Row, Opened]]:
        for row, opened in zip(page, values.open_rows(page, unquote(target.flag)), strict=True):
            found = of_any_shape(opened) if self.accepts(row) else opened
            if tally is not None:
                identity = (*target.identity(row), type(row.stored).__name__)
                tally.add(identity, row.stored if isinstance(found, Unreadable) else found.plaintext)
            if isinstance(found, Unreadable):
                refusals.add(target, row, str(found), found.hint)
            else:
                yield row, found

    def accepts(self, row: Row) -> bool:
        """Tell whether a person has said that the row may have another shape."""
        return str(row.item) in self.accepted

    def _opens(self, token: bytes) -> bool:
        return any(fernet_forms.opens(cipher, token) for cipher in self.ciphers.values())

    # -- rehearsal -------------------------------------------------------------------------------------------------

    def rehearse(self, copy: Path) -> None:
        """Turn the first page of each column of a copy, and take it back: KeyturnError for what would refuse that under the stop.

        An index, a constraint or a trigger may forbid the very statements of the switch, and reading shows nothing of it.
        """
        with self._told("the backup"), Database(copy).writing() as connection:
            self._try(connection)

    def check_schema(self) -> None:
        """Do the same with no row, and so without a backup: SQLite compiles those statements. Nothing is written anywhere."""
        with self._told("an empty copy"), self.database.reading() as connection, schema_alone(connection) as copy:
            self._try(copy)

    def _try(self, copy: sqlite3.Connection) -> None:
        copy.execute("BEGIN")
        for target, values in zip(self.columns(copy), self.turners, strict=True):
            with triggers_away(copy, target):
                page = next(pages(copy, target), [])
                _write(copy, target, list(self.turned(page, target, values, "new", Refusals())))
        copy.execute("ROLLBACK")

    @contextlib.contextmanager
    def _told(self, where: str) -> Iterator[None]:
        try:
            yield
        except KeyturnError as error:
            raise KeyturnError(
                f"{self.database.path}: its rows could not be turned in a trial on {where}; nothing was changed: {error}"
            ) from None

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
            for target, values in zip(targets, self.turners, strict=True):
                # the side file would hold the plaintext, and a rollback would not find the row again
                what = "part of the primary key" if target.moves else "JSON" if isinstance(values, JsonPages) else ""
                what = what or (f"told by {unquote(target.flag)}" if target.flag else "")
                if encrypt_plaintext and what:
                    raise KeyturnError(
                        f"{target.name} is {what}: unset keyturn_encrypt_plaintext_rows, its plaintext stays"
                    )
            (encoding,) = connection.execute("PRAGMA encoding").fetchone()
            with side_file.build(targets, encoding) as side:
                for index, (target, values) in enumerate(zip(targets, self.turners, strict=True)):
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
    ) -> Iterator[tuple[Row, StagedRow]]:
        """Yield what is staged for a page."""
        turning = [(row, opened) for row, opened in page if opened.side == "old"]
        turned = values.turn([(row.stored, opened) for row, opened in turning], "new")
        for (row, _), new in zip(turning, turned, strict=True):
            yield row, StagedRow(row.stored, new)
        for row, opened in page:
            if encrypt_plaintext and opened.form == "plaintext":
                yield row, StagedRow(None, values.encrypt(row.stored, opened, "new"))

    @staticmethod
    def _stage_chunk(side: sqlite3.Connection, index: int, page: Alike, values: Pages, after: Sequence[Cell]) -> None:
        """Stage a page in one piece. What counts is what stands in the side file: the page, and the same under the new key."""
        sealed = values.turn_chunk(page.chunk, page.opened, "new")
        written = SideFile.add_chunk(side, index, page.chunk, sealed, after)
        expected = (page.chunk, sealed._replace(rowids=""))
        if written != expected or not values.holds(expected[1], page.opened, "new"):
            raise KeyturnError(BROKEN)

    # -- switch ----------------------------------------------------------------------------------------------------

    def switch(self, to: Side, side_file: SideFile | None, tell_encrypted: bool = False) -> Turned:
        """Put every row under the key of ``to``: one transaction, each row checked before the commit.

        The services are stopped. Rows that ``side_file`` does not know are turned by what opens them. Towards ``new`` an
        unreadable row takes everything back; towards ``old`` it is left as it is and named, since it is none of ours.
        ``tell_encrypted`` names the rows that were staged as plaintexts, which costs a reading of ``side_file``.
        """
        self.database.check_unused()
        turned = 0
        on_the_fly = 0
        left, sealed = Refusals(), Refusals()
        key = os.urandom(32)
        with self.database.writing() as connection:
            targets = self.columns(connection)
            attach(connection, side_file, targets)
            with self.database.transaction(connection):
                for index, (target, values) in enumerate(zip(targets, self.turners, strict=True)):
                    before = Tally(key)
                    rows, _ = self._held(connection, index, target, values, before)
                    with triggers_away(connection, target):
                        turned += put_staged(connection, index, target, to)
                        for page in loose(connection, index, target, [to]) if before.rows else ():
                            goals = list(self._goals(page, target, values, to, left))
                            _write(connection, target, goals)
                            turned += len(goals)
                            on_the_fly += sum(goal.on_the_fly for goal in goals)
                        if left.count and to == "new":
                            raise KeyturnError(f"{self.database.path}: {left.count} rows cannot be turned: {left}")
                        self._check(connection, index, target, values, to, rows, before)
                    for item in encrypted(connection, index, target) if tell_encrypted else ():
                        sealed.add(target, Row((), item, None), "was plaintext and is encrypted")
            self.database.truncate_wal(connection)
        told: Turned = {"turned": turned, "on_the_fly": on_the_fly, "left": str(left)}
        return told | {"encrypted": str(sealed)} if sealed.count else told

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
        yield from self.turned(unknown, target, values, to, left)

    def turned(
        self, page: Sequence[Row], target: Column, values: Pages, to: Side, refusals: Refusals
    ) -> Iterator[Goal]:
        """Yield what the rows of a page that are under the other key hold under the key of ``to``."""
        turning = [
            (row, opened) for row, opened in self._open_page(page, target, values, refusals) if opened.under(other(to))
        ]
        turned = values.turn([(row.stored, opened) for row, opened in turning], to)
        for (row, _), new in zip(turning, turned, strict=True):
            yield Goal(row, new, on_the_fly=True)

    def _held(
        self,
        connection: sqlite3.Connection,
        index: int,
        target: Column,
        values: Pages,
        tally: Tally,
        to: Side | None = None,
    ) -> tuple[int, Refusals]:
        """Count the rows of the table, and in ``tally`` what those hold that the side file does not vouch for.

        With ``to`` it vouches for what stands under that key alone; the refusals are rows that are still under the other one.
        """
        sides = [to] if to else SIDES
        rows, unknown = counted(connection, index, target, sides)
        missed = Refusals()
        for page in loose(connection, index, target, sides) if unknown else ():
            for row, opened in self._open_page([row for row, _ in page], target, values, Refusals(), tally):
                if to and opened.under(other(to)):
                    missed.add(target, row, f"is still under the {other(to)} value")
        if tally.rows != unknown:
            raise KeyturnError(
                f"{self.database.path}: {target.name} has {unknown} rows to be opened, and {tally.rows} are found one by one"
            )
        return rows, missed

    def _check(
        self,
        connection: sqlite3.Connection,
        index: int,
        target: Column,
        values: Pages,
        to: Side,
        rows: int,
        before: Tally,
    ) -> None:
        """Show, after the last write of the transaction, that each row holds what it held: as many ``rows``, the same plaintexts.

        A row that stands as it was staged under ``to`` does: prepare has opened both of its ciphertexts, and ``_held`` has seen
        one of them there before. Every other row is opened, and its plaintext held against the one of ``before``.
        """
        after = Tally(before.key)
        now, missed = self._held(connection, index, target, values, after, to)
        why = str(missed)
        if now != rows:
            why = f"{unquote(target.table)} had {rows} rows and would have {now}"
        elif not missed.count and (after.rows, after.sum) != (before.rows, before.sum):
            why = f"a row of {target.name} would not hold the plaintext that it held before"
        if why:
            raise KeyturnError(f"{self.database.path}: the check before the commit failed, all rows stay: {why}")

    # -- what another program has turned ---------------------------------------------------------------------------

    def tally(self, key: bytes) -> list[tuple[int, int]]:
        """Return of each column its number of rows, and what they hold as one number (``Tally``)."""
        found = []
        with self.database.reading() as connection:
            for target, values in zip(self.columns(connection), self.turners, strict=True):
                held = Tally(key)
                for page in pages(connection, target):
                    for _ in self._open_page(page, target, values, Refusals(), held):
                        pass
                found.append((held.rows, held.sum))
        return found

    def put_back(self, copy: Path) -> None:
        """Give rows what ``copy`` has of them in one transaction, but for those that open under the old key."""
        with self.database.writing() as connection:
            targets = self.columns(connection)
            attach_copy(connection, copy)
            with self.database.transaction(connection):
                for target, values in zip(targets, self.turners, strict=True):
                    with triggers_away(connection, target):
                        for page in differing(connection, target):
                            opened = self._open_page([row for row, _ in page], target, values, Refusals())
                            right = {row.locator for row, one in opened if one.under("old")}
                            goals = [
                                Goal(row, kept, on_the_fly=False) for row, kept in page if row.locator not in right
                            ]
                            _write(connection, target, goals)
            self.database.truncate_wal(connection)

    # -- check -----------------------------------------------------------------------------------------------------

    def residue(self) -> dict[str, int | None]:
        """Count the tokens under the old key that are left in each file of the database, None where that takes too long."""
        found: dict[str, int | None] = {}
        with self.database.acting():
            for path in self.database.files:
                count = token_scan.left_over(
                    path, self.keys["new"], functools.partial(fernet_forms.opens, self.ciphers["old"]), RESIDUE_SECONDS
                )
                if count != 0:
                    found[path.name] = count
        return found


def _read(
    connection: sqlite3.Connection, target: Column, values: Pages, after: Sequence[Cell] = (), *, with_rowids: bool
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


def _version(connection: sqlite3.Connection) -> int:
    """Return a number that is another one after somebody else has written to the database."""
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return int(version)


def _plaintexts(page: Sequence[Differing], values: Pages) -> Iterator[tuple[Row, Stored, Stored]]:
    """Yield rows that were staged as plaintexts: the row, its ciphertext, and the plaintext that the side file leaves out."""
    known = [(row, sealed) for row, sealed in page if sealed is not None]
    for (row, sealed), opened in zip(known, values.open([sealed for _, sealed in known]), strict=True):
        if isinstance(opened, Opened):
            yield row, sealed, opened.plaintext.decode() if isinstance(sealed, str) else opened.plaintext


def _write(connection: sqlite3.Connection, target: Column, goals: Sequence[Goal]) -> None:
    written = write(connection, target, [(goal.row, goal.stored) for goal in goals])
    if written != len(goals):
        raise KeyturnError(f"{target.name}: {len(goals)} rows were to be written, and {written} were: all stay")
