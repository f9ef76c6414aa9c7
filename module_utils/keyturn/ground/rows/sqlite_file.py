"""One SQLite database of an application, opened with the care that a key rotation needs."""

from __future__ import annotations

import contextlib
import operator
import os
import re
import sqlite3
import stat
import sys
import urllib.parse
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from ...base import durable, files, procfs
from ...base.errors import KeyturnError
from .. import owner
from . import sqlite_time

HEADER = b"SQLite format 3\0"
# the end of a rollback journal that names a super-journal: its name, then length, checksum and these bytes
SUPER_JOURNAL, SUPER_JOURNAL_BYTES = bytes.fromhex("d9d505f920a163d7"), 16
BUSY_SECONDS = 10
# A page is read under one lock, about a millisecond.
PAGE_ROWS = 1000
PAGE_BYTES = 1 << 24
# of a row, which is all in memory at a time; without a limit of ours it is a gigabyte
ROW_BYTES = 1 << 28
# In one piece some milliseconds: with less, memory is asked for and given back more often, a tenth of the cost.
CHUNK_ROWS = 4000
# A chunk holds a page in one piece, so its values are not long; no character of a token takes more than one byte.
CHUNK_WIDTH = 4096
# of its schema: SQLite takes about five times the text
SCHEMA_BYTES = 1 << 24
# of memory, in all of this process; a row is there three times while it is written
HEAP_BYTES = 3 * ROW_BYTES
# what https://www.sqlite.org/security.html advises for files of others; extensions are off unless somebody asks for them
DISTRUST = ("cell_size_check=ON", "mmap_size=0", f"hard_heap_limit={HEAP_BYTES}")
# what SQLite says of a function: a schema may call it always, or never; all else a schema may call that is trusted
INNOCUOUS, DIRECT_ONLY = 0x200000, 0x80000
# SQLite 3.38 to 3.40 takes its JSON for the latter, and cannot even open a database with that in an index or a constraint
JSON = re.compile(r"->>?|json(?:_\w+)?")
# what it would trust as well there, and what reaches nothing outside of the database
WITHIN = re.compile(
    rf"{JSON.pattern}|bm25|fts5(?:_source_id)?|highlight|match(?:info)?|offsets|optimize|rtree\w+|snippet"
)
BACKUP_PAGES = 256
BACKUP_RESTARTS = 3
# What SQLite says of a schema has its names in it, and no value; all else that it says may quote one.
SCHEMA_ERROR = re.compile(
    r"(?:no such|unknown) (?:collation sequence|function|module|tokenizer): \w{1,64}|cannot reference objects in database \w{1,64}"
    r"|unsafe use of \w{1,64}\(\)"
)


# what SQLite gives for a column of a row
Cell = str | bytes | int | float | None


class Row(NamedTuple):
    """One row of a column: where it is, the key that a person knows it by, what is stored, and whether that is said to be encrypted.

    ``flag`` is 1 or 0, None where the column that says it holds neither.
    """

    locator: tuple[Cell, ...]
    item: Cell
    stored: Any
    flag: int | None = 1


class Column(NamedTuple):
    """A column to work on: quoted names, ready for SQL. ``locators`` find a row: rowid, or the primary key without one.

    ``keys`` are what a person knows a row by; ``flag`` says of a row whether it is encrypted, where a column does. ``weigh`` says how many
    bytes of memory it takes to work on a value.
    """

    table: str
    keys: tuple[str, ...]
    column: str
    locators: tuple[str, ...]
    name: str
    flag: str = ""
    weigh: Callable[[str | bytes], int] = len

    @property
    def by_rowid(self) -> bool:
        """Whether rows are found by their rowid: a plain number, the same order everywhere."""
        return not self.locators[0].startswith('"')

    @property
    def moves(self) -> bool:
        """Whether a row gets another locator when it is turned, since the column is part of it."""
        return self.column in self.locators

    def item(self, table: str = "") -> str:
        """Return the SQL of what a row is named by: of several keys their literals, so that no two rows have one name."""
        first, *others = (f"{table}{key}" for key in self.keys)
        return " || ', ' || ".join(f"quote({key})" for key in (first, *others)) if others else first

    def row(self, table: str = "") -> str:
        """Return the SQL of what ``Row`` takes; ``table`` is "t." for a table t."""
        parts = [*(f"{table}{locator}" for locator in self.locators), self.item(table), f"{table}{self.column}"]
        return ", ".join([*parts, *([self.flagged(table)] if self.flag else [])])

    def flagged(self, table: str = "") -> str:
        """Return the SQL of what the flag of a row says: 1, 0, or NULL where it holds neither."""
        flag = f"{table}{self.flag}"
        return f"CASE WHEN {flag} IS 1 THEN 1 WHEN {flag} IS NULL OR {flag} IS 0 THEN 0 END"

    def found(self, selected: Sequence[Cell]) -> Row:
        """Return the row that ``row`` has selected."""
        return Row(tuple(selected[: len(self.locators)]), *cast(Sequence[Any], selected[len(self.locators) :]))

    def identity(self, row: Row) -> tuple[Cell, ...]:
        """Return what a row is known by before and after it is turned."""
        parts = zip(self.locators, row.locator, strict=True)
        return (row.item, *(part for locator, part in parts if locator != self.column))


class Chunk(NamedTuple):
    """A page of alike rows as one column: what they store, all text or all bytes of one ``width``, one behind the other.

    ``rowids`` are a JSON array, which SQLite reads again, where they are asked for; ``last`` is the last of them.
    """

    rows: int
    width: int
    as_text: bool
    stored: bytes
    rowids: str
    last: int


class RestartedTooOften(Exception):
    """The online backup was restarted by the application's writes more often than it pays to go on."""


def quote(name: str) -> str:
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def unquote(identifier: str) -> str:
    """Return the name that ``quote`` was given."""
    return identifier[1:-1].replace('""', '"')


class Database:
    """The file and its companions (journal, WAL, shared memory)."""

    def __init__(self, path: Path, root: Path | None = None) -> None:
        """``root`` is the application's folder, where the database is the application's."""
        self.path = path
        self.root = root

    def acting(self) -> contextlib.AbstractContextManager[None]:
        """Be the user whose ground the database lies on, as ``owner`` says it; what opens it opens its journals as well."""
        return owner.acting(self.path, self.root)

    @property
    def files(self) -> list[Path]:
        """The database and the files that SQLite keeps beside it, whether they exist or not."""
        return [self.path] + [self.path.with_name(self.path.name + end) for end in ("-wal", "-shm", "-journal")]

    @property
    def wal(self) -> bool:
        """Whether the database is in WAL mode (file format, byte 18).

        Never ask while this process has a connection: closing the file drops all locks that the process has on it.
        """
        return self._header()[18:19] == b"\x02"

    @property
    def size(self) -> int:
        """Bytes of the database and its WAL."""
        total = self.path.stat().st_size
        with contextlib.suppress(FileNotFoundError):  # the application may remove it at any time
            total += self.files[1].stat().st_size
        return total

    def check_file(self) -> None:
        """Refuse what is not a database that this user can write."""
        with self.acting():
            if not self._header().startswith(HEADER):
                raise KeyturnError(f"{self.path} is not an SQLite database")
            for path, use in ((self.path, "written"), (self.path.parent, "written (SQLite keeps its journal there)")):
                if not os.access(path, os.W_OK, effective_ids=True):
                    raise KeyturnError(f"{path} cannot be {use} by the user {os.geteuid()}: run as its owner")

    def _header(self) -> bytes:
        try:
            with self.acting(), files.opened(self.path) as file:
                return file.read(20)
        except FileNotFoundError:
            raise KeyturnError(f"{self.path} does not exist: correct `database` of the catalogue's migration") from None
        except PermissionError:
            raise KeyturnError(f"{self.path} cannot be read by the user {os.geteuid()}: run as its owner") from None
        except OSError as error:
            raise KeyturnError(f"{self.path} cannot be read: {error.strerror}") from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that reads and leaves every byte as it is, also beside a running application."""
        # A read-only connection to a WAL database leaves an empty WAL behind; where there is no WAL yet, an ordinary one
        # has nothing to write back and removes what it made.
        with self.acting():
            writable = self.wal and not self.files[1].exists()
            with self._connection("rw" if writable else "ro") as connection:
                yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection that writes: durable at commit, and nothing of what it replaces stays in the file."""
        with self.acting():
            self._header()
            with self._connection("rw") as connection:
                # EXTRA is FULL and also makes the removal of the rollback journal durable
                connection.execute("PRAGMA synchronous=EXTRA")
                connection.execute("PRAGMA foreign_keys=OFF")
                if connection.execute("PRAGMA secure_delete=ON").fetchone() != (1,):
                    raise KeyturnError(f"{self.path}: this SQLite cannot overwrite what it deletes (secure_delete)")
                yield connection

    @contextlib.contextmanager
    def _connection(self, mode: str) -> Iterator[sqlite3.Connection]:
        self._check_companions()
        os.environ.pop("TMPDIR", None)  # SQLite would take root's for another user as well
        uri = f"file:{urllib.parse.quote(str(self.path))}?mode={mode}"
        with named_errors(str(self.path), self.files), files.kept_open(self.files):
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
            # text that is not UTF-8 is the application's business, and sqlite3 would quote it in an error
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, ROW_BYTES)
            connection.text_factory = operator.methodcaller("decode", errors="surrogateescape")
            with contextlib.closing(connection):
                distrust(connection)
                with sqlite_time.limited(connection, self.path):
                    yield connection

    def _check_companions(self) -> None:
        """Refuse what SQLite would wait for for ever, and a journal at whose word it deletes another file."""
        for path in self.files[1:]:
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(path.stat().st_mode):
                    raise KeyturnError(f"{path} is not a regular file: remove it")
        with contextlib.suppress(FileNotFoundError), files.opened(self.files[3]) as journal:
            ended = journal.read(1) in (b"", b"\0")  # nobody takes anything back by it
            size = os.fstat(journal.fileno()).st_size
            journal.seek(max(0, size - SUPER_JOURNAL_BYTES))
            end = journal.read(SUPER_JOURNAL_BYTES)
            if not ended and end.endswith(SUPER_JOURNAL) and any(end[:4]):
                raise KeyturnError(
                    f"{self.files[3]} is of a transaction over several databases that was cut off, and names another file, which SQLite "
                    "would delete: let the application open its databases once, which ends it, then run this again"
                )

    @contextlib.contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """One transaction with nobody else in the database; any error takes all of it back."""
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def truncate_wal(self, connection: sqlite3.Connection) -> None:
        """Write the WAL back and empty it, so that no replaced ciphertext stays in it."""
        wal = connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        if wal and connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] != 0:
            raise KeyturnError(f"{self.path}: the WAL cannot be emptied, somebody still reads the database")

    def checkpoint(self, connection: sqlite3.Connection) -> None:
        """Do the same beside the application, as far as it lets: what it reads just now stays for its own checkpoints."""
        connection.execute("PRAGMA busy_timeout=0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")

    def check_unused(self) -> None:
        """Refuse while another process has the database open; the message names it."""
        pids = procfs.holders(self.files)
        if pids:
            names = ", ".join(f"{procfs.command_name(pid)} (pid {pid})" for pid in pids)
            raise KeyturnError(
                f"{self.path} is still open in {names} after the services were stopped: stop it, then rotate again "
                "(where the rotation stayed open, end it with rollback.yml first)"
            )

    def backup(self, target: Path, online: bool) -> None:
        """Copy the database to ``target`` (0600) by SQLite's backup, durably, and check the copy.

        Online it goes in steps that let the application write; RestartedTooOften after three restarts by its writes.
        Under the stop it may write to the database, and so takes back what a killed application began.
        """
        for path in Database(target).files:
            durable.remove(path)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            with self.reading() if online else self._repairing() as source:
                self._copy(source, target, BACKUP_PAGES if online else -1)
            with target.open("rb") as file:
                os.fsync(file.fileno())
        except BaseException:
            durable.remove(target)
            raise
        durable.sync_folder(target.parent)

    @contextlib.contextmanager
    def _repairing(self) -> Iterator[sqlite3.Connection]:
        with self.acting(), self._connection("rw") as connection:
            yield connection

    def _copy(self, source: sqlite3.Connection, target: Path, pages: int) -> None:
        """Copy as whoever holds ``source``: of the copy SQLite has the file open, and needs no other while its journal is in memory.

        A copy that is cut off is thrown away, so it needs no journal that lasts.
        """
        name = f"the backup {target} of {self.path}"
        with named_errors(name), roots(target) as copy:
            with owner.own():
                copy.execute("PRAGMA journal_mode=MEMORY").fetchone()
            (page_size,) = source.execute("PRAGMA page_size").fetchone()
            source.backup(copy, pages=pages, progress=_Watch(self, 2 * self.size // page_size + BACKUP_PAGES))
            with owner.own():
                copy.execute("PRAGMA journal_mode=DELETE")
                if copy.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                    raise KeyturnError(f"{name} fails SQLite's check; run `PRAGMA integrity_check` on the database")


def check_schema_size(connection: sqlite3.Connection) -> None:
    """Refuse a schema of very much text before it is read."""
    length = "length(name) + ifnull(length(sql), 0)"
    (size,) = connection.execute(f"SELECT total({length}) FROM main.sqlite_master").fetchone()  # noqa: S608
    if size > SCHEMA_BYTES:
        raise KeyturnError(
            f"its schema has more than {SCHEMA_BYTES >> 20} MiB of text, which is not read: drop what the application does not need"
        )


def distrust(connection: sqlite3.Connection) -> None:
    """Let what a schema of others names run nothing that reaches out of the database; its indexes and constraints go on to work."""
    for setting in (*DISTRUST, f"trusted_schema={'ON' if _distrusts_json(connection) else 'OFF'}"):
        connection.execute(f"PRAGMA {setting}")
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)


def _distrusts_json(connection: sqlite3.Connection) -> bool:
    """Tell whether a schema has to be trusted for the JSON in it, and would be for nothing that reaches out of the database."""
    functions = connection.execute("PRAGMA function_list")  # which reads no schema
    trusted = {name for name, *_, flags in functions if not flags & (INNOCUOUS | DIRECT_ONLY)}
    return any(map(JSON.fullmatch, trusted)) and all(map(WITHIN.fullmatch, trusted))


@contextlib.contextmanager
def roots(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a database that root keeps, opened and closed as root in the midst of another user's work.

    A copy has the schema of the one that it was made of.
    """
    with owner.own():
        connection = sqlite3.connect(path, isolation_level=None)
    try:
        distrust(connection)
        with sqlite_time.limited(connection, path):
            yield connection
    finally:
        with owner.own():
            connection.close()


class _Watch:
    """Ends a backup that would go on for ever.

    SQLite starts it again when another connection writes: what remains then is not less than before. And Python tries
    again for as long as the database is locked, each time for the whole timeout.
    """

    def __init__(self, database: Database, most: int) -> None:
        """``most`` is how many pages a copy may come to have: the disk is another one than the database's."""
        self.database = database
        self.most = most
        self.restarts = 0
        self.remaining: int | None = None

    def __call__(self, status: int, remaining: int, total: int) -> None:
        if status == sqlite3.SQLITE_BUSY:
            raise KeyturnError(f"{self.database.path}: {_reason('SQLITE_BUSY', files=self.database.files)}")
        if total > self.most:
            raise KeyturnError(
                f"{self.database.path} has grown to {total} pages while it was copied: see what writes it"
            )
        if self.remaining is not None and remaining >= self.remaining:
            self.restarts += 1
            if self.restarts > BACKUP_RESTARTS:
                raise RestartedTooOften
        self.remaining = remaining


@contextlib.contextmanager
def named_errors(name: str, files: Sequence[Path] = ()) -> Iterator[None]:
    """Turn SQLite's errors into KeyturnError about ``name``, without the library's text: it may quote a value.

    Who has locked one of ``files`` is named.
    """
    try:
        yield
    except sqlite3.Error as error:
        kind = getattr(error, "sqlite_errorname", type(error).__name__)
        said = SCHEMA_ERROR.search(str(error)) if kind.startswith(("SQLITE_ERROR", "SQLITE_CORRUPT")) else None
        raise KeyturnError(f"{name}: {_reason(kind, said.group() if said else '', files)}") from None
    except MemoryError:
        raise KeyturnError(
            f"{name}: SQLite would take more than {HEAP_BYTES >> 20} MiB of memory: its schema, or a row of it, is too large"
        ) from None
    except UnicodeEncodeError:
        raise KeyturnError(
            f"{name}: a primary key is text that is not valid UTF-8, so no statement finds its row: mend that key first"
        ) from None


def _reason(name: str, said: str = "", files: Sequence[Path] = ()) -> str:
    """A reason for the name of an SQLite error, or of the one that it is a kind of (SQLITE_IOERR_WRITE)."""
    if said:
        return (
            f"an index, constraint or trigger needs what only the application has: {said}; make it without that, "
            "or drop it for the time of the rotation, where it is an index that keeps nothing unique"
        )
    named = ", ".join(f"{procfs.command_name(pid)} (pid {pid})" for pid in procfs.lockers(files))
    known = {
        "SQLITE_BUSY": f"locked by {named or 'another process'} for more than {BUSY_SECONDS} s",
        "SQLITE_FULL": "no space left on the disk",
        "SQLITE_IOERR": "the disk or its file system fails",
        "SQLITE_NOTADB": "not an SQLite database",
        "SQLITE_CORRUPT": "damaged; run `PRAGMA integrity_check`",
        "SQLITE_READONLY": "read-only for this user",
        "SQLITE_INTERRUPT": f"it has not come to an end: {sqlite_time.REMEDY}",
        "SQLITE_CONSTRAINT": "a constraint or an index of the table forbids it",
        "SQLITE_CANTOPEN": "cannot be opened by this user",
        "SQLITE_READONLY_ROLLBACK": "a write was interrupted: resume.yml, rollback.yml or the starting application takes it back",
    }
    kind = "_".join(name.split("_")[:2])
    return f"{known.get(name) or known.get(kind, 'SQLite failed')} ({name})"


def column(
    connection: sqlite3.Connection,
    table: str,
    keys: Sequence[str],
    column: str,
    of: Container[str] = ("table",),
    flag: str = "",
) -> Column:
    """Return the declared column, ready for SQL; KeyturnError says what the database has instead.

    ``of`` are the kinds of tables, as SQLite lists them.
    """
    # which does not know SQLite's own by the name that the whole list has
    found = connection.execute(f"PRAGMA main.table_list({quote(table)})").fetchone()
    kinds = [] if found else list(connection.execute("PRAGMA main.table_list"))
    found = found or next((row for row in kinds if row[1].lower() == table.lower()), None)
    if found is None or found[2] not in of:
        tables = ", ".join(sorted(row[1] for row in kinds if row[2] == "table" and not row[1].startswith("sqlite_")))
        raise KeyturnError(f"the database has no table {table} (it has: {tables or 'none'})")
    # table_info leaves out what is computed, and a computed column takes the name of the rowid as any other does
    columns = list(connection.execute(f"PRAGMA main.table_xinfo({quote(table)})"))
    names = {row[1].lower(): row[1] for row in columns}
    computed = [row[1].lower() for row in columns if row[6]]
    for name in (*keys, column, *([flag] if flag else [])):
        if name.lower() not in names:
            raise KeyturnError(f"table {table} has no column {name} (it has: {', '.join(names.values())})")
        if name.lower() in computed:
            raise KeyturnError(f"{table}.{name} is computed from other columns: declare one that is stored")
    table, column = found[1], names[column.lower()]
    primary = [quote(row[1]) for row in sorted(columns, key=lambda row: row[5]) if row[5]]
    aliases = [alias for alias in ("rowid", "_rowid_", "oid") if alias not in names]
    locators = primary if found[4] else aliases[:1]
    if not locators:
        # its primary key would not do: SQLite allows NULL in it
        raise KeyturnError(f"table {table} has columns named rowid, _rowid_ and oid: no row of it can be addressed")
    named = tuple(quote(names[key.lower()]) for key in keys)
    told = quote(names[flag.lower()]) if flag else ""
    return Column(quote(table), named, quote(column), tuple(locators), f"{table}.{column}", told)


def columns(
    connection: sqlite3.Connection, table: str, names: Sequence[str], of: Container[str] = ("table",)
) -> list[Column]:
    """Return columns that a table stores, each known by itself; the table is looked at once, however many it has."""
    first = [column(connection, table, [name], name, of) for name in names[:1]]
    return [
        one._replace(keys=(quote(name),), column=quote(name), name=f"{unquote(one.table)}.{name}")
        for one in first
        for name in names
    ]


def pages(
    connection: sqlite3.Connection, target: Column, after: Sequence[Cell] = (), size: int = PAGE_ROWS
) -> Iterator[list[Row]]:
    """Yield all rows behind the locator ``after`` in pages, in the order of their locators.

    No lock is held between two pages.
    """
    select = f"SELECT {target.row()} FROM main.{target.table}"  # noqa: S608 - quoted names
    while True:
        where = f"WHERE {behind(target)}" if after else ""
        query = f"{select} {where} ORDER BY {', '.join(target.locators)} LIMIT {size}"
        rows = [target.found(row) for row in some(connection.execute(query, after), target.weigh)]
        if not rows:
            return
        yield rows
        after = rows[-1].locator


def some(found: sqlite3.Cursor, weigh: Callable[[str | bytes], int]) -> list[tuple[Cell, ...]]:
    """Return the rows of a page, or fewer where what is made of them would not fit into memory."""
    rows, left = [], PAGE_BYTES
    with contextlib.closing(found):
        for row in found:
            rows.append(row)
            left -= sum(weigh(value) for value in row if isinstance(value, str | bytes))
            if left < 0:
                break
    return rows


def chunk(
    connection: sqlite3.Connection,
    target: Column,
    after: Sequence[Cell] = (),
    size: int = CHUNK_ROWS,
    *,
    with_rowids: bool = True,
) -> Chunk | None:
    """Return the page behind the locator ``after`` in one piece; None where its rows are not alike, or have no rowid.

    SQLite puts the piece together in the order of the subquery, without separators: what has one length can be cut again.
    A length in characters is none in bytes, but no text has fewer bytes, so where the sum is right each of them is.
    """
    if not target.by_rowid:
        return None
    where = f"WHERE {behind(target)}" if after else ""
    rowids = "'[' || group_concat(place) || ']'" if with_rowids else "''"
    # of what is not said to be encrypted it is none
    said = f"CASE {target.flag} IS 1 WHEN 0 THEN 0 ELSE" if target.flag else ""
    page = (
        f"SELECT {target.locators[0]} AS place, {target.column} AS stored, {said} CASE typeof({target.column}) "  # noqa: S608
        f"WHEN 'text' THEN length({target.column}) WHEN 'blob' THEN -length({target.column}) ELSE 0 END {'END' if said else ''} AS size "
        f"FROM main.{target.table} {where} ORDER BY {target.locators[0]} LIMIT {size}"
    )
    query = (
        f"SELECT count(*), min(size), max(size), {rowids}, max(place), "  # noqa: S608
        f"CAST(group_concat(CASE WHEN abs(size) <= {CHUNK_WIDTH} THEN stored END, '') AS BLOB) FROM ({page})"
    )
    rows, least, most, places, last, stored = connection.execute(query, after).fetchone()
    if not rows or not least or least != most or len(stored or b"") != rows * abs(least):
        return None
    return Chunk(rows, abs(least), least > 0, stored, places, last)


def behind(target: Column, table: str = "") -> str:
    """Return the SQL condition for the rows behind a locator, which is its parameters; ``table`` is "t." for a table t."""
    locators = ", ".join(f"{table}{locator}" for locator in target.locators)
    return f"({locators}) > ({', '.join('?' * len(target.locators))})"


def write(connection: sqlite3.Connection, target: Column, goals: Sequence[tuple[Row, Cell]]) -> int:
    """Give rows that stand as they were read another value; return how many did. Without any the statement is compiled.

    A row whose flag says something else by now has another value, whatever it looks like.

    ABORT overrides a constraint of the table that would take away or pass over rows without a word.
    """
    where = " AND ".join(f"{locator} = ?" for locator in target.locators)
    where += f" AND {target.flagged()} IS ?" if target.flag else ""
    statement = f"UPDATE OR ABORT main.{target.table} SET {target.column} = ? WHERE {where} AND {target.column} IS ? COLLATE BINARY"  # noqa: S608 - quoted names
    values = ((goal, *row.locator, *([row.flag] if target.flag else []), row.stored) for row, goal in goals)
    return connection.executemany(statement, values).rowcount
