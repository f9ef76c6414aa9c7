"""Databases that nobody expects: nothing is lost in them, nothing believed of them, and what is not understood is refused by name."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from keyturn.base.errors import KeyturnError
from keyturn.base.fingerprint import fingerprint
from keyturn.ground.rows import fernet_forms, fernet_sqlite
from keyturn.ground.rows.fernet_sqlite import FernetSqlite
from keyturn.ground.rows.fernet_tokens import FernetTokens
from keyturn.ground.rows.side_file import SideFile
from keyturn.ground.rows.sqlite_file import Column
from keyturn.host.phases import holdings_info, replace_tokens, stage, turn
from keyturn.host.token_log import TokenLog
from support.faults import Host

OLD, NEW, FOREIGN = (Fernet.generate_key().decode() for _ in range(3))
TABLE = "CREATE TABLE t (id TEXT PRIMARY KEY, token TEXT)"


class Data:
    """A database with the table t (id, token), both keys, and a side file."""

    def __init__(self, folder: Path, *statements: str, rows: int = 12, plaintext: str = "^access-") -> None:
        self.folder = folder
        self.path = folder / "b.db"
        self.side = SideFile(folder / "side.db")
        declared = {"table": "t", "key": ["id"], "column": "token", "plaintext": plaintext}
        spec = {"database": "b.db", "columns": [declared]}
        self.both = FernetSqlite(spec, folder, "KEY", {"old": OLD, "new": NEW})
        with self.open() as connection:
            for statement in statements or (TABLE,):
                connection.execute(statement)
            connection.executemany("INSERT INTO t (id, token) VALUES (?, ?)", self.numbered(rows))

    @staticmethod
    def numbered(rows: int) -> Iterator[tuple[str, str]]:
        return ((f"r{number}", token(f"access-{number}")) for number in range(rows))

    @contextlib.contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """The application's connection: it knows a function and a collation of its own."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.create_function("app_hash", 1, hash, deterministic=True)
            connection.create_collation("app_order", lambda one, two: (one > two) - (one < two))
            with connection:
                yield connection

    def do(self, sql: str, *parameters: Any) -> list[Any]:
        with self.open() as connection:
            return connection.execute(sql, parameters).fetchall()

    def opened(self, key: str) -> dict[str, str]:
        return {name: Fernet(key).decrypt(held).decode() for name, held in self.do("SELECT id, token FROM t")}

    def sum(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def refuse(self, match: str, *calls: Callable[[], Any]) -> str:
        """Each of ``calls``, or else each step of a rotation, is refused, and the file stays as it was."""
        before = self.sum()
        stage = lambda: self.both.check_census(self.both.census(), [])  # noqa: E731
        rest = (lambda: self.both.prepare(self.side, True), lambda: self.both.switch("new", None))
        for call in calls or (stage, *rest):
            with pytest.raises(KeyturnError, match=match) as refused:
                call()
            assert self.sum() == before
            assert "gAAAAA" not in str(refused.value) and "access-" not in str(refused.value)
        return str(refused.value)

    def stage(self) -> list[str]:
        return self.both.check_census(self.both.census(), [])


def token(plaintext: str = "access-x", key: str = OLD) -> str:
    return Fernet(key).encrypt(plaintext.encode()).decode()


# -- identities that are not unique ------------------------------------------------------------------------------------

SHADOWED = {
    "virtual": "rowid INTEGER GENERATED ALWAYS AS (1) VIRTUAL",
    "stored, in another case": "RowID INTEGER AS (1) STORED",
    "of a type without order": "rowid AS (NULL)",
    "two of three names": "oid AS (1), rowid AS (id)",
}


@pytest.mark.parametrize(("rows", "prepared"), [(12, True), (12, False), (1005, True)])
@pytest.mark.parametrize("computed", SHADOWED.values(), ids=SHADOWED)
def test_a_computed_column_that_is_called_as_the_rowid_is_no_identity(
    tmp_path: Path, computed: str, rows: int, prepared: bool
) -> None:
    data = Data(tmp_path, f"CREATE TABLE t (id TEXT PRIMARY KEY, token TEXT, {computed})", rows=rows)
    before = data.opened(OLD)
    assert data.both.open_rows()["under"]["old"] == rows
    if prepared:
        assert data.both.prepare(data.side, False).staged == rows
    assert data.both.switch("new", data.side if prepared else None)["turned"] == rows
    assert data.opened(NEW) == before
    data.both.switch("old", data.side if prepared else None)
    assert data.opened(OLD) == before


def test_where_all_names_of_the_rowid_are_computed_no_row_can_be_addressed(tmp_path: Path) -> None:
    data = Data(tmp_path, "CREATE TABLE t (id TEXT PRIMARY KEY, token TEXT, rowid AS (1), _rowid_ AS (1), OID AS (1))")
    data.refuse("columns named rowid, _rowid_ and oid: no row of it can be addressed")


def test_a_column_that_is_computed_is_not_turned(tmp_path: Path) -> None:
    data = Data(tmp_path, TABLE, rows=0)
    data.do("ALTER TABLE t RENAME COLUMN token TO held")
    data.do("ALTER TABLE t ADD COLUMN token AS (held)")
    data.refuse(r"t\.token is computed from other columns: declare one that is stored")


def test_a_name_that_is_computed_from_the_token_names_no_row(tmp_path: Path) -> None:
    """It would be another one after the switch."""
    data = Data(tmp_path)
    data.do("ALTER TABLE t RENAME COLUMN id TO name")
    data.do("ALTER TABLE t ADD COLUMN id AS (substr(token, 30, 9))")
    data.refuse(r"t\.id is computed from other columns: declare one that is stored")


def test_a_key_that_cannot_be_given_back_to_sqlite_is_named(tmp_path: Path) -> None:
    data = Data(tmp_path, "CREATE TABLE t (id TEXT PRIMARY KEY, token TEXT) WITHOUT ROWID", rows=0)
    with data.open() as connection:
        values = ((b"\xff%d" % number, token()) for number in range(1001))
        connection.executemany("INSERT INTO t VALUES (CAST(? AS TEXT), ?)", values)
    data.refuse(
        "a primary key is text that is not valid UTF-8", data.both.census, lambda: data.both.switch("new", None)
    )


@pytest.mark.parametrize("rows", [12, 1005])
def test_whatever_finds_rows_wrongly_is_seen(tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a third sort of identity were not unique: the count of rows is another statement than their reading."""
    data = Data(tmp_path, "CREATE TABLE t (id TEXT PRIMARY KEY, token TEXT, same DEFAULT 'x')", rows=rows)
    before = data.opened(OLD)
    wrong = Column('"t"', ('"id"',), '"token"', ('"same"',), "t.token")
    monkeypatch.setattr(fernet_sqlite, "column", lambda *given, **named: wrong)
    data.refuse("prepared ciphertexts", lambda: data.both.prepare(data.side, False))
    if rows > 1000:
        data.refuse("t has 1005 rows, and 1000 are found one by one", data.both.open_rows)
        data.refuse("1005 rows to be opened, and 1000 are found", lambda: data.both.switch("new", None))
    else:
        data.both.switch("new", None)
        assert data.opened(NEW) == before


@pytest.mark.parametrize("otherwise", ["REPLACE", "IGNORE"])
def test_no_constraint_takes_rows_away_or_passes_over_them(tmp_path: Path, otherwise: str) -> None:
    """One character of the token must be unique, and SQLite removes whoever has it already, or leaves the row as it was."""
    part = "CASE WHEN token LIKE 'gAAAAA%' THEN substr(token, 70, 1) END"
    table = f"CREATE TABLE t (id TEXT PRIMARY KEY, token TEXT, part TEXT AS ({part}) UNIQUE ON CONFLICT {otherwise})"
    data = Data(tmp_path, table, rows=60)
    data.both.prepare(data.side, False)
    left = data.do("SELECT count(*) FROM t")[0][0]
    data.refuse(
        "a constraint or an index of the table forbids it .SQLITE_CONSTRAINT_UNIQUE",
        lambda: data.both.rehearse(data.path),
        lambda: data.both.switch("new", data.side),
        lambda: data.both.switch("new", None),
    )
    assert len(data.opened(OLD)) == left


class Replaced(Data):
    """The same table while one new token has been received and stands in the log."""

    def __init__(self, folder: Path, *statements: str) -> None:
        super().__init__(folder, *statements)
        self.log = TokenLog(folder)
        self.tokens = FernetTokens(self.both)
        self.items = replace_tokens._by_name(self.tokens)

    def store(self, name: str) -> None:
        sealed = Fernet(OLD).encrypt(b"access-new").decode()
        old = fingerprint(self.items[name].token)
        self.log.write(name, "received", old=old, new=fingerprint("access-new"), sealed=sealed)
        replace_tokens._Replacement(self.tokens, self.log, None)._store(self.items[name])  # type: ignore[arg-type]


def test_a_token_that_is_replaced_is_written_to_its_own_row(tmp_path: Path) -> None:
    """Rows are known to people by numbers here, and a name in text is none of them for SQLite."""
    data = Replaced(
        tmp_path, "CREATE TABLE t (id, token)", *(f"INSERT INTO t VALUES ({n}, '{token()}')" for n in (1, 2))
    )
    data.store("2")
    assert data.opened(OLD)[2] == "access-new" and data.opened(OLD)[1] == "access-x"  # type: ignore[index]
    assert data.log.state("2") == "stored"


def test_a_row_that_was_written_meanwhile_is_not_taken_for_replaced(tmp_path: Path) -> None:
    data = Replaced(tmp_path)
    data.do("UPDATE t SET token = ? WHERE id = 'r3'", token("access-3"))
    with pytest.raises(KeyturnError, match="the row of 'r3' was written by the application meanwhile: run"):
        data.store("r3")
    assert data.log.state("r3") == "received", "the next run looks at it again"


@pytest.mark.parametrize("name", ["'one'", "1", "NULL"])
def test_one_name_of_two_rows_is_refused_before_a_token_is_replaced(tmp_path: Path, name: str) -> None:
    insert = f"INSERT INTO t VALUES ({name}, '{token()}')"
    with pytest.raises(KeyturnError, match=r"two tokens of t\.token are known as .* must name a single row"):
        Replaced(tmp_path, "CREATE TABLE t (id, token)", insert, insert)


# -- the same plaintext --------------------------------------------------------------------------------------------------

OTHERS = {
    "two rows change places": "UPDATE t SET token = (SELECT o.token FROM was AS o WHERE o.id = iif(t.id = 'r1', 'r2', 'r1')) "
    "WHERE id IN ('r1', 'r2')",
    "one is a copy of another": "UPDATE t SET token = (SELECT token FROM was WHERE id = 'r2') WHERE id = 'r1'",
    "one holds what nobody wrote": f"UPDATE t SET token = '{token('access-1', NEW)[:9]}' WHERE id = 'r1'",
    "one is encrypted anew for another": f"UPDATE t SET token = '{token('access-2', NEW)}' WHERE id = 'r1'",
    "one is bytes": "UPDATE t SET token = CAST(token AS BLOB) WHERE id = 'r1'",
    "one is emptied": "UPDATE t SET token = '' WHERE id = 'r1'",
    "one is gone": "DELETE FROM t WHERE id = 'r1'",
    "one is there twice": "INSERT INTO t SELECT 'again', token FROM t WHERE id = 'r1'",
    "one has another key": "UPDATE t SET id = 'another' WHERE id = 'r1'",
    "one for another": "UPDATE OR REPLACE t SET id = 'r2' WHERE id = 'r1'",
    "a plaintext is another": "UPDATE t SET token = 'access-other' WHERE id = 'plain'",
}


@pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "on the fly"])
@pytest.mark.parametrize("damage", OTHERS.values(), ids=OTHERS)
def test_a_row_with_another_plaintext_is_not_committed(
    tmp_path: Path, damage: str, prepared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever puts it there, each row opens under the new key: only what it held before tells."""
    data = Data(tmp_path)
    data.do("INSERT INTO t VALUES ('plain', 'access-plain')")
    data.both.prepare(data.side, False)
    write, damages = fernet_sqlite.put_staged if prepared else fernet_sqlite._write, [damage]

    def harmful(connection: sqlite3.Connection, *given: Any) -> Any:
        done = write(connection, *given)  # type: ignore[operator]
        if damages:
            connection.execute("CREATE TEMP TABLE was AS SELECT id, token FROM main.t")
            connection.execute(damages.pop())
        return done

    monkeypatch.setattr(fernet_sqlite, "put_staged" if prepared else "_write", harmful)
    if "id = 'another'" in damage and prepared:
        # the key names a row, nothing more: prepare knows the row by its rowid, and it holds what it held
        data.both.switch("new", data.side)
        return
    data.refuse(
        "the check before the commit failed, all rows stay|rows cannot be turned",
        lambda: data.both.switch("new", data.side if prepared else None),
    )


def test_on_the_way_back_a_row_that_nothing_opens_stays_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data(tmp_path)
    data.both.switch("new", None)
    data.do("INSERT INTO t VALUES ('stranger', ?)", token(key=FOREIGN))
    write = fernet_sqlite._write

    def harmful(connection: sqlite3.Connection, *given: Any) -> None:
        write(connection, *given)
        connection.execute("UPDATE t SET token = ? WHERE id = 'stranger'", (token(key=FOREIGN),))

    with monkeypatch.context() as patch:
        patch.setattr(fernet_sqlite, "_write", harmful)
        data.refuse("would not hold the plaintext that it held before", lambda: data.both.switch("old", None))
    assert "'stranger'" in data.both.switch("old", None)["left"]


# -- a content that is not wholly understood ------------------------------------------------------------------------------

LONGER: dict[str, Callable[[str], Any]] = {
    "JSON": lambda held: json.dumps({"a": 1, "secret": held}),
    "JSON as bytes": lambda held: json.dumps([held]).encode(),
    "UTF-16": lambda held: f"x{held}".encode("utf-16-le"),
    "an address": lambda held: f"https://example.org/?token={held}&more=1",
    "two tokens": lambda held: f"{held},{token('access-2')}",
    "two tokens without anything between": lambda held: held + token("access-2"),
    "a token and a line end": lambda held: held + "\n",
    "a token and a NUL": lambda held: held + "\0more",
    "a token and a blank in it": lambda held: f"{held[:50]} {held[50:]}",
    "two layers and more": lambda held: base64.urlsafe_b64encode(held.encode()).decode() + "=more",
    "two layers around a token and more": lambda held: base64.urlsafe_b64encode(held.encode() + b"more").decode(),
    "encrypted JSON": lambda held: token(json.dumps({"secret": held})),
    "encrypted UTF-16": lambda held: Fernet(OLD).encrypt(f"x{held}".encode("utf-16-be")).decode(),
}


@pytest.mark.parametrize("others", [0, 150], ids=["alone", "among many alike"])
@pytest.mark.parametrize("make", LONGER.values(), ids=LONGER)
def test_a_token_inside_a_longer_text_is_refused(tmp_path: Path, make: Callable[[str], Any], others: int) -> None:
    data = Data(tmp_path, rows=others, plaintext="(?s).")
    with data.open() as connection:
        values = [(f"odd{number}", make(token(f"access-{number}"))) for number in range(max(1, others))]
        connection.executemany("INSERT INTO t VALUES (?, ?)", values)
    message = data.refuse(r"t\.token of 'odd0' (holds|begins with) a token of this key")
    assert "give it a column of its own and declare that" in message


def test_a_text_with_a_token_of_somebody_else_is_a_text(tmp_path: Path) -> None:
    data = Data(tmp_path, plaintext="(?s).")
    text = json.dumps({"theirs": token(key=FOREIGN)})
    data.do("INSERT INTO t VALUES ('theirs', ?)", text)
    data.do("INSERT INTO t VALUES ('sealed', ?)", token(text))
    data.both.prepare(data.side, False)
    data.both.switch("new", data.side)
    assert data.do("SELECT token FROM t WHERE id = 'theirs'") == [(text,)]
    data.do("DELETE FROM t WHERE id = 'theirs'")
    assert data.opened(NEW)["sealed"] == text


# -- tables that are not ordinary ------------------------------------------------------------------------------------------

FILLED = "INSERT INTO copy (id, token) SELECT rowid, token FROM t"
COPIES: dict[str, tuple[list[str], str]] = {
    "FTS5": (["CREATE VIRTUAL TABLE copy USING fts5(id, token)", FILLED], "copy.token, copy_content.c1"),
    "FTS5 that cannot search it": (["CREATE VIRTUAL TABLE copy USING fts5(id, token UNINDEXED)", FILLED], "copy.token"),
    "FTS5 of another table": (
        [
            "CREATE VIRTUAL TABLE copy USING fts5(token, content='t', content_rowid='rowid')",
            "INSERT INTO copy(copy) VALUES ('rebuild')",
        ],
        "copy.token,",
    ),
    "FTS4": (["CREATE VIRTUAL TABLE copy USING fts4(id, token)", FILLED], "copy.token, copy_content.c1token"),
    "R-tree with more": (
        ["CREATE VIRTUAL TABLE copy USING rtree(id, low, high, +token)", FILLED],
        "copy.token, copy_rowid.a0",
    ),
    "the schema": ([f"CREATE INDEX part ON t (id) WHERE token = '{token()}'"], "sqlite_schema.sql"),
}


@pytest.mark.parametrize(("statements", "named"), COPIES.values(), ids=COPIES)
def test_a_copy_that_a_module_keeps_is_named(tmp_path: Path, statements: list[str], named: str) -> None:
    data = Data(tmp_path)
    for statement in statements:
        data.do(statement)
    message = data.refuse("SQLite keeps tokens of this key in", data.stage)
    assert named.rstrip(",") in message and "add these columns" not in message


def test_a_search_table_of_other_columns_stays_as_it_is(tmp_path: Path) -> None:
    data = Data(tmp_path)
    data.do("CREATE VIRTUAL TABLE search USING fts5(id, content='t', content_rowid='rowid')")
    data.do("INSERT INTO search(search) VALUES ('rebuild')")
    data.do("CREATE TRIGGER follow AFTER UPDATE ON t BEGIN INSERT INTO search(search) VALUES ('delete-all'); END")
    assert data.stage() == []
    data.both.prepare(data.side, False)
    data.both.switch("new", data.side)
    assert data.do("SELECT t.id FROM search JOIN t ON t.rowid = search.rowid WHERE search MATCH 'r7'") == [("r7",)]
    data.do("INSERT INTO search(search, rank) VALUES ('integrity-check', 1)")


@pytest.mark.parametrize("copied", [False, True], ids=["other content", "tokens"])
def test_a_table_of_a_module_that_is_not_here_is_told_and_what_it_writes_is_read(tmp_path: Path, copied: bool) -> None:
    data = Data(tmp_path)
    data.do("CREATE TABLE vectors_data (id, chunk BLOB)")
    data.do("INSERT INTO vectors_data VALUES (1, ?)", f"\0\1{token()}\0".encode() if copied else b"\0\1")
    with data.open() as connection:
        connection.execute("PRAGMA writable_schema = ON")
        sql = "CREATE VIRTUAL TABLE vectors USING vec0(token)"
        connection.execute("INSERT INTO sqlite_master VALUES ('table', 'vectors', 'vectors', 0, ?)", (sql,))
    if copied:
        data.refuse(r"declares none: vectors_data\.chunk", data.stage)
    else:
        (finding,) = data.stage()
        assert finding.startswith("vectors is a virtual table that cannot be read without the application")
    data.both.prepare(data.side, False)
    data.both.switch("new", data.side)
    assert len(data.opened(NEW)) == 12


def test_a_search_table_that_is_damaged_vetoes_nothing(tmp_path: Path) -> None:
    data = Data(tmp_path)
    data.do("CREATE VIRTUAL TABLE search USING fts5(id)")
    data.do("INSERT INTO search SELECT id FROM t")
    data.do("DELETE FROM search_content WHERE id = 3")
    data.do("DELETE FROM search_data")
    (finding,) = data.stage()
    assert finding.startswith("search is a virtual table that cannot be read")


# -- keys ------------------------------------------------------------------------------------------------------------------

KEYS = {
    "two, as the application would read them": (
        f"{OLD},{NEW}",
        "is a list of 2 Fernet keys: where the application reads such lists, say so",
    ),
    "two in JSON": (json.dumps([OLD, NEW]), "is a list of 2 Fernet keys"),
    "two without anything between": (OLD + NEW, "is a list of 2 Fernet keys"),
    "three": (f"{OLD} {NEW} {FOREIGN}", "is a list of 3 Fernet keys"),
    "one and a remark": (f"{OLD} # of spring", "is not a Fernet key: .* it has 56 characters"),
    "one and a line end": (f"{OLD}\n", "it has 45 characters"),
    "one in quotes": (f"'{OLD}'", "it has 46 characters"),
    "one and padding": (f"{OLD}=", "it has 45 characters"),
    "hex": (base64.urlsafe_b64decode(OLD).hex(), "it has 64 hexadecimal digits"),
    "hex in capitals": (base64.urlsafe_b64decode(OLD).hex().upper(), "it has 64 hexadecimal digits"),
    "raw": ("ü" * 32, "it has 32 characters, a raw key"),
    "without padding": (OLD[:-1], "it has 43 characters"),
    "of 44 other characters": ("!" * 43 + "=", "it has 44 characters"),
    "nothing": ("", "it has 0 characters"),
}


@pytest.mark.parametrize(("key", "message"), KEYS.values(), ids=KEYS)
def test_a_key_is_a_whole_fernet_key_and_nothing_else(key: str, message: str) -> None:
    with pytest.raises(KeyturnError, match=f"^DATABASE_ENCRYPTION_KEY is .*{message.removeprefix('is ')}") as refused:
        fernet_forms.fernet("DATABASE_ENCRYPTION_KEY", key)
    assert not key or key not in str(refused.value)
    assert OLD not in str(refused.value)


def test_a_key_in_the_other_alphabet_is_the_same_key() -> None:
    raw = b"\xfb\xef\xbe" * 10 + b"\xff\xff"
    held = Fernet(base64.urlsafe_b64encode(raw)).encrypt(b"x")
    assert fernet_forms.fernet("KEY", base64.b64encode(raw).decode()).decrypt(held) == b"x"


# -- refusals that come while the service runs -------------------------------------------------------------------------------

FORBIDDING: dict[str, tuple[str, str]] = {
    "an index with a function": ("CREATE INDEX odd ON t (app_hash(token))", "unknown function: app_hash"),
    "an index of some rows": ("CREATE INDEX odd ON t (id) WHERE app_hash(token) > 0", "unknown function: app_hash"),
    "an index with a collation": (
        "CREATE INDEX odd ON t (token COLLATE app_order)",
        "no such collation sequence: app_order",
    ),
    "a constraint": (
        "CREATE TABLE t (id TEXT PRIMARY KEY, token TEXT CHECK (app_hash(token) IS NOT NULL))",
        "unknown function: app_hash",
    ),
    "a column that is computed and kept": (
        "CREATE TABLE t (id TEXT PRIMARY KEY, token TEXT, sum AS (app_hash(token)) STORED)",
        "unknown function: app_hash",
    ),
    "a column that is computed when it is read": (
        "CREATE TABLE t (id TEXT PRIMARY KEY, token TEXT, sum AS (app_hash(token)))",
        "unknown function: app_hash",
    ),
    "an order that must be unique": (
        "CREATE TABLE t (id TEXT PRIMARY KEY, token TEXT COLLATE app_order UNIQUE)",
        "no such collation sequence: app_order",
    ),
    "a trigger made from another database": (
        "CREATE TRIGGER other.odd AFTER UPDATE ON other.t BEGIN SELECT 1; END",
        "trigger odd of t cannot be made again .*cannot reference objects in database other",
    ),
}


@pytest.mark.parametrize(("statement", "message"), FORBIDDING.values(), ids=FORBIDDING)
def test_what_forbids_the_switch_is_found_on_a_copy(tmp_path: Path, statement: str, message: str) -> None:
    if statement.startswith("CREATE TABLE"):
        data = Data(tmp_path, statement)
    else:
        data = Data(tmp_path)
        with data.open() as connection:
            connection.execute("ATTACH ? AS other", (str(data.path),))
            connection.execute(statement)
    rehearse = lambda: data.both.rehearse(data.path)  # noqa: E731
    said = data.refuse(message, data.both.check_schema, rehearse, lambda: data.both.switch("new", None))
    assert "SQLITE_ERROR" not in said
    for call, where in ((rehearse, "the backup"), (data.both.check_schema, "an empty copy")):
        with pytest.raises(KeyturnError, match=f"in a trial on {where}; nothing was changed"):
            call()


# what looks the same and forbids nothing: the application's own statements need it, those of a switch do not
OTHERWISE: dict[str, list[str]] = {
    "a trigger that calls a function": [
        TABLE,
        "CREATE TABLE log (x)",
        "CREATE TRIGGER odd AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (app_hash(new.token)); END",
    ],
    "a trigger into a table of a module that is not here": [
        TABLE,
        "CREATE VIRTUAL TABLE found USING fts5(x)",
        "CREATE TRIGGER odd AFTER UPDATE ON t BEGIN INSERT INTO found VALUES ('x'); END",
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET sql = 'CREATE VIRTUAL TABLE found USING nowhere(x)' WHERE name = 'found'",
    ],
    "an index of another column": [TABLE, "CREATE INDEX odd ON t (app_hash(id), id COLLATE app_order)"],
    "a constraint of another column": [
        "CREATE TABLE t (id TEXT PRIMARY KEY CHECK (app_hash(id) IS NOT NULL), token TEXT)"
    ],
    "a default": ["CREATE TABLE t (id TEXT PRIMARY KEY, token TEXT, sum DEFAULT (app_hash(1)))"],
    "a view": [TABLE, "CREATE VIEW odd AS SELECT app_hash(token) FROM t"],
    "an index of another table": [TABLE, "CREATE TABLE u (x)", "CREATE INDEX odd ON u (app_hash(x))"],
    "JSON in an index, a constraint and what is computed": [
        "CREATE TABLE t (id TEXT PRIMARY KEY, token TEXT, doc TEXT CHECK (json_valid(doc) OR doc IS NULL), n AS (doc ->> 'n'))",
        "CREATE INDEX odd ON t (id, json_extract(doc, '$.n'))",
        "INSERT INTO t (id, doc) VALUES ('with', '{\"n\": 1}')",
    ],
    "names and trees of every sort": [
        "CREATE TABLE t (id TEXT, token TEXT, PRIMARY KEY (id)) WITHOUT ROWID",
        'CREATE TABLE "0" (k INTEGER PRIMARY KEY AUTOINCREMENT, x UNIQUE)',
        'CREATE INDEX "1" ON "0" (x DESC)',
        "ANALYZE",
    ],
}


@pytest.mark.parametrize("statements", OTHERWISE.values(), ids=OTHERWISE)
def test_what_only_looks_as_if_it_forbids_the_switch_is_not_refused(tmp_path: Path, statements: list[str]) -> None:
    data = Data(tmp_path, *statements)
    before, names = data.sum(), sorted(tmp_path.iterdir())
    data.both.check_schema()
    assert data.sum() == before and sorted(tmp_path.iterdir()) == names
    data.both.rehearse(data.path)
    assert data.both.switch("new", None)["turned"] == 12


def test_a_rehearsal_leaves_the_copy_as_it_was(tmp_path: Path) -> None:
    data = Data(tmp_path, rows=1500)
    data.do("CREATE TRIGGER event AFTER UPDATE ON t BEGIN SELECT RAISE(ABORT, 'no'); END")
    before, names = data.sum(), sorted(tmp_path.iterdir())
    data.both.rehearse(data.path)
    assert data.sum() == before and sorted(tmp_path.iterdir()) == names


def test_a_constraint_that_new_tokens_break_is_found_on_a_copy(tmp_path: Path) -> None:
    data = Data(tmp_path)
    known = ", ".join(f"'{held}'" for (held,) in data.do("SELECT token FROM t"))
    data.do(f"CREATE UNIQUE INDEX odd ON t (CASE WHEN token IN ({known}) THEN id ELSE 1 END)")
    data.refuse(
        "a constraint or an index of the table forbids it .SQLITE_CONSTRAINT_UNIQUE",
        lambda: data.both.rehearse(data.path),
    )


def test_a_host_refuses_while_its_service_runs(host: Host) -> None:
    """In stage, and so in a check, with no byte changed; what comes later, on the backup."""
    with contextlib.closing(sqlite3.connect(host.lab.database)) as connection:
        connection.create_function("app_hash", 1, hash, deterministic=True)
        forbid, allow = "CREATE INDEX odd ON plaid_items (app_hash(access_token))", "DROP INDEX odd"
        connection.execute(forbid)
        refused = r"bank_accounts.db: its rows could not be turned.* function: app_hash; make it without"
        before = host.lab.database.read_bytes()
        for check_mode in (True, False):
            with pytest.raises(KeyturnError, match=refused):
                stage.run(dataclasses.replace(host.rotation(), check_mode=check_mode))
        (finding,) = holdings_info.run([host.rotation()])["verified"]["db_key"]["findings"]
        assert re.search(refused, finding)
        assert host.lab.database.read_bytes() == before and host.lab.journals() == []
        connection.execute(allow)
        host.go_to("staged")
        connection.execute(forbid)
        running = (host.lab.app / "run/pid").read_text()
        with pytest.raises(KeyturnError, match=refused):
            turn.run(host.rotation(), "prepared")
        assert (host.lab.app / "run/pid").read_text() == running
        assert "stopped" not in host.lab.journals()[0]
        connection.execute(allow)
    host.go_back()
    host.check_ended("rolled_back")
