"""The migration ``fernet_sqlite``: columns of an SQLite database that hold Fernet tokens of the rotated key."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from . import fernet_forms
from .errors import KeyturnError
from .fernet_forms import FORMS, Opened, Side, Stored, Turner, Unreadable
from .side_file import SideFile, Staged
from .sqlite_file import Column, Database, Row, column, pages, quote, triggers_away, unquote

NAMED_ROWS = 10
SCAN_BYTES = 1 << 20
SCAN_OVERLAP = 1 << 12


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
        self.turners = [Turner(self.ciphers, declared["plaintext"]) for declared in spec["columns"]]

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

    def census(self) -> dict[str, Any]:
        """Open every row and look for undeclared tokens, reading only.

        Returns ``rows`` (by form), ``under`` (old, new), ``refused`` (up to ten named), ``undeclared`` (findings).
        """
        rows: Counter[str] = Counter(dict.fromkeys(FORMS, 0))
        under: Counter[str] = Counter(old=0, new=0)
        refusals = Refusals()
        empty_tables: list[str] = []
        with self.database.reading() as connection:
            targets = self.columns(connection)
            for target, turner in zip(targets, self.turners, strict=True):
                before = rows.total() + refusals.count
                for page in pages(connection, target):
                    for _, opened in self._open_page(page, target, turner, refusals):
                        rows[opened.form] += 1
                        under[opened.side or "none"] += 1
                table = unquote(target.table)
                if rows.total() + refusals.count == before and table not in empty_tables:
                    empty_tables.append(table)
            opening, other = self._undeclared(connection, targets)
        return {
            "rows": {form: rows[form] for form in FORMS},
            "under": {side: under[side] for side in ("old", "new")},
            "refused": refusals.count,
            "refusals": str(refusals),
            "empty_tables": empty_tables,
            "undeclared_opening": opening,
            "undeclared": other,
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
        self, page: Sequence[Row], target: Column, turner: Turner, refusals: Refusals
    ) -> Iterator[tuple[Row, Opened]]:
        for row in page:
            try:
                yield row, turner.open(row.stored)
            except Unreadable as reason:
                refusals.add(target, row, str(reason))

    def _undeclared(self, connection: sqlite3.Connection, targets: Sequence[Column]) -> tuple[list[str], list[str]]:
        """Return the undeclared columns with tokens that a known key opens, and those with other Fernet-like text."""
        declared = {(target.table, target.column) for target in targets}
        opening: list[str] = []
        other: list[str] = []
        tables = [row[1] for row in connection.execute("PRAGMA main.table_list") if row[2] == "table"]
        for table in sorted(tables):
            names = [row[1] for row in connection.execute(f"PRAGMA main.table_info({quote(table)})")]
            for name in names:
                target = column(connection, table, name, name)
                if (target.table, target.column) in declared:
                    continue
                tokens = (token for page in pages(connection, target) for row in page for token in _tokens(row.stored))
                first = next(tokens, None)
                if first is None:
                    continue
                known = any(self._opens(token) for token in itertools.chain([first], tokens))
                (opening if known else other).append(target.name)
        return opening, other

    def _opens(self, token: bytes) -> bool:
        return any(fernet_forms.opens(cipher, token) for cipher in self.ciphers.values())

    # -- prepare ---------------------------------------------------------------------------------------------------

    def prepare(self, side_file: SideFile, encrypt_plaintext: bool) -> int:
        """Compute the new ciphertexts of all rows beside the running service; return how many were staged.

        Each staged value is opened again before it is written down.
        """
        staged = 0
        refusals = Refusals()
        with self.database.reading() as connection:
            targets = self.columns(connection)
            for target in targets:
                if encrypt_plaintext and target.column in target.locators:
                    # the side file would hold the plaintext, and a rollback would not find the row again
                    raise KeyturnError(
                        f"{target.name} is part of the primary key: unset keyturn_encrypt_plaintext_rows, its plaintext stays"
                    )
            with side_file.build(targets) as side:
                for index, (target, turner) in enumerate(zip(targets, self.turners, strict=True)):
                    for page in pages(connection, target):
                        opened_page = list(self._open_page(page, target, turner, refusals))
                        rows = [
                            (row, self._stage(row.stored, opened, turner))
                            for row, opened in opened_page
                            if opened.side == "old" or (encrypt_plaintext and opened.form == "plaintext")
                        ]
                        staged += side_file.add(side, index, rows)
        if refusals.count:
            raise KeyturnError(f"{self.database.path}: {refusals.count} rows cannot be turned: {refusals}")
        return staged

    @staticmethod
    def _stage(stored: Stored, opened: Opened, turner: Turner) -> Staged:
        if opened.form == "plaintext":
            result = Staged(None, turner.encrypt(stored, opened, "new"))
        else:
            result = Staged(stored, turner.turn(stored, opened, "new"))
        again = turner.open(result.new)
        if again.side != "new" or again.plaintext != opened.plaintext:
            raise KeyturnError("a new ciphertext did not open again: the cryptography library of this host is broken")
        return result

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
        with self.database.writing() as connection, _optional(side_file) as side:
            targets = self.columns(connection)
            with self.database.transaction(connection):
                for index, (target, turner) in enumerate(zip(targets, self.turners, strict=True)):
                    before = left.count
                    with triggers_away(connection, target):
                        for page in pages(connection, target):
                            staged = _staged(side, index, target, turner, page)
                            changes = list(self._changes(page, staged, target, turner, to, left))
                            _write(connection, target, changes)
                            turned += len(changes)
                            on_the_fly += sum(goal != _goal(staged.get(row.locator), to) for row, goal in changes)
                        if left.count and to == "new":
                            raise KeyturnError(f"{self.database.path}: {left.count} rows cannot be turned: {left}")
                        self._check(connection, side, index, target, turner, to, left.count - before)
            self.database.truncate_wal(connection)
        return {"turned": turned, "on_the_fly": on_the_fly, "left": str(left)}

    def _changes(
        self,
        page: Sequence[Row],
        staged: Mapping[tuple[Any, ...], Staged],
        target: Column,
        turner: Turner,
        to: Side,
        left: Refusals,
    ) -> Iterator[tuple[Row, Stored]]:
        """Yield the rows that must change, with what they change to."""
        for row in page:
            known = staged.get(row.locator)
            if known is not None and row.stored == _goal(known, to):
                continue
            if known is not None and row.stored == _goal(known, fernet_forms.other(to)):
                yield row, _goal(known, to)
                continue
            try:
                opened = turner.open(row.stored)
            except Unreadable as reason:
                left.add(target, row, str(reason))
                continue
            if opened.side == fernet_forms.other(to):
                yield row, turner.turn(row.stored, opened, to)

    def _check(
        self,
        connection: sqlite3.Connection,
        side: sqlite3.Connection | None,
        index: int,
        target: Column,
        turner: Turner,
        to: Side,
        allowed: int,
    ) -> None:
        """Read every row again inside the transaction: it stands as staged (and opened then), or opens under ``to``.

        ``allowed`` rows are left because nothing opens them.
        """
        unreadable, missed = Refusals(), Refusals()
        for page in pages(connection, target):
            staged = _staged(side, index, target, turner, page)
            unknown = [row for row in page if row.stored != _goal(staged.get(row.locator), to)]
            for row, opened in self._open_page(unknown, target, turner, unreadable):
                if opened.side == fernet_forms.other(to):
                    missed.add(target, row, f"is still under the {opened.side} value")
        if missed.count or unreadable.count > allowed:
            raise KeyturnError(
                f"{self.database.path}: the check before the commit failed, all rows stay: "
                f"{missed if missed.count else unreadable}"
            )

    # -- check -----------------------------------------------------------------------------------------------------

    def residue(self) -> dict[str, int]:
        """Count the tokens under the old key that are left in the bytes of each file of the database."""
        return {path.name: count for path in self.database.files if (count := self._tokens_under_old(path))}

    def _tokens_under_old(self, path: Path) -> int:
        found: set[bytes] = set()
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return 0
        with file:
            tail = b""
            while chunk := file.read(SCAN_BYTES):
                # in a UTF-16 database a NUL stands beside each character of a token
                tokens = fernet_forms.tokens_in((tail + chunk).replace(b"\0", b""))
                found.update(token for token in tokens if fernet_forms.opens(self.ciphers["old"], token))
                tail = chunk[-SCAN_OVERLAP:]
        return len(found)


def _staged(
    side: sqlite3.Connection | None, index: int, target: Column, turner: Turner, page: Sequence[Row]
) -> dict[tuple[Any, ...], Staged]:
    """Return what is staged for the rows, with the plaintext that the side file itself does not hold."""
    staged = SideFile.page(side, index, target, page)
    return {
        locator: both if both.old is not None else _with_plaintext(both, turner) for locator, both in staged.items()
    }


def _with_plaintext(staged: Staged, turner: Turner) -> Staged:
    plaintext = turner.open(staged.new).plaintext
    return Staged(plaintext.decode() if isinstance(staged.new, str) else plaintext, staged.new)


def _goal(staged: Staged | None, to: Side) -> Any:
    return None if staged is None else staged.new if to == "new" else staged.old


def _write(connection: sqlite3.Connection, target: Column, changes: Sequence[tuple[Row, Stored]]) -> None:
    where = " AND ".join(f"{locator} = ?" for locator in target.locators)
    connection.executemany(
        f"UPDATE main.{target.table} SET {target.column} = ? WHERE {where}",  # noqa: S608 - quoted names
        [(goal, *row.locator) for row, goal in changes],
    )


def _optional(side_file: SideFile | None) -> contextlib.AbstractContextManager[sqlite3.Connection | None]:
    return contextlib.nullcontext() if side_file is None else side_file.reading()


def _tokens(stored: Any) -> Iterator[bytes]:
    if isinstance(stored, str):
        stored = stored.encode(errors="replace")
    return fernet_forms.tokens_in(stored) if isinstance(stored, bytes) else iter(())
