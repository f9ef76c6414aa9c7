"""Rows as other applications keep them: a column that says what is encrypted, tokens of any text, names of several columns."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, settings
from hypothesis import strategies as st
from keyturn.base.errors import KeyturnError
from keyturn.ground.rows import fernet_pages, fernet_sqlite, sqlite_file
from keyturn.ground.rows.fernet_sqlite import FernetSqlite
from keyturn.ground.rows.fernet_tokens import FernetTokens
from keyturn.ground.rows.side_file import SideFile

OLD, NEW, FOREIGN = (Fernet.generate_key().decode() for _ in range(3))
# as Airflow declares a variable
TABLE = "CREATE TABLE t (scope TEXT, id TEXT, value, is_encrypted BOOLEAN, UNIQUE (scope, id))"
FLAGGED = {"table": "t", "key": ["id"], "column": "value", "flag": "is_encrypted"}


def token(plaintext: str = "any", key: str = OLD) -> str:
    return Fernet(key).encrypt(plaintext.encode()).decode()


class Data:
    """A database with the table t, both keys, and a side file."""

    def __init__(self, folder: Path, *rows: tuple[Any, ...], table: str = TABLE, **declared: Any) -> None:
        self.path, self.side = folder / "b.db", SideFile(folder / "side.db")
        self.declared = FLAGGED | declared
        self.folder, self.accepted = folder, declared.pop("accepted", ())
        with self.open() as connection:
            connection.execute(table)
            connection.executemany("INSERT INTO t VALUES ('a', ?, ?, ?)", rows)

    @property
    def both(self) -> FernetSqlite:
        spec = {"database": "b.db", "columns": [self.declared]}
        return FernetSqlite(spec, self.folder, "KEY", {"old": OLD, "new": NEW}, self.accepted)

    @contextlib.contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            yield connection

    def do(self, sql: str, *parameters: Any) -> list[Any]:
        with self.open() as connection:
            return connection.execute(sql, parameters).fetchall()

    def read(self, key: str) -> dict[str, Any]:
        """What the application reads with a key: of what is flagged what its token protects, else what stands there."""
        rows = self.do("SELECT id, value, is_encrypted FROM t")
        return {
            name: Fernet(key).decrypt(value).decode() if flag == 1 and value else value for name, value, flag in rows
        }

    def refused(self, said: str) -> None:
        before = self.path.read_bytes()
        for call in (lambda: self.both.check_census(self.both.census(), []), lambda: self.both.switch("new", None)):
            with pytest.raises(KeyturnError, match=said) as told:
                call()
            assert "gAAAAA" not in str(told.value) and self.path.read_bytes() == before


# flagged tokens of any text, of none, and of what looks like a plaintext of others; plain texts of any kind, numbers among them
ROWS: list[tuple[str, Any, Any]] = [
    *((f"t{number}", token(text), 1) for number, text in enumerate(["pw", "", "0", "é\n", "x" * 5000, "{}", " "])),
    ("bytes", token("of bytes").encode(), 1),
    ("foreign", token("of another key", FOREIGN), 0),
    ("half", "gAAAAABm", 0),
    ("plain", "pw", 0),
    ("number", 17, None),
    ("real", 1.5, 0),
    ("raw", b"\xff\x00", None),
    ("empty", "", 1),
    ("nothing", None, 1),
    ("unsaid", "never said", None),
]


def turned(data: Data, prepared: bool) -> None:
    side = None
    if prepared:
        assert data.both.prepare(data.side, False).finished
        side = data.side
    told = data.both.switch("new", side)
    assert told["left"] == "" and (told["on_the_fly"] == 0) == prepared


@pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "on the fly"])
def test_what_is_flagged_is_turned_there_and_back_and_the_rest_stays(tmp_path: Path, prepared: bool) -> None:
    data = Data(tmp_path, *ROWS)
    before, stored = data.read(OLD), dict(data.do("SELECT id, value FROM t"))
    findings = data.both.check_census(data.both.census(), [])
    assert findings == ["7 rows are plaintext and stay so"]
    turned(data, prepared)
    assert data.read(NEW) == before
    after = dict(data.do("SELECT id, value FROM t"))
    assert {name for name in stored if stored[name] != after[name]} == {f"t{number}" for number in range(7)} | {"bytes"}
    assert {name: type(value) for name, value in after.items()} == {name: type(value) for name, value in stored.items()}
    assert data.both.census()["under"] == {"old": 0, "new": 8}
    data.both.switch("old", data.side if prepared else None)
    assert data.read(OLD) == before


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("x", "pw", 1), r"t\.value of 'x' is no token, and is encrypted by what is_encrypted says"),
        (("x", "gAAAAA", 1), r"t\.value of 'x' opens under neither the old nor the new value"),
        (("x", token(key=FOREIGN), 1), r"t\.value of 'x' opens under neither the old nor the new value"),
        (("x", 17, 1), r"t\.value of 'x' is a number, not text"),
        (
            ("x", token(), 0),
            r"t\.value of 'x' holds a token of this key, and is not encrypted by what is_encrypted says",
        ),
        (("x", f"see {token()}!", None), r"t\.value of 'x' holds a token of this key, and is not encrypted"),
        (("x", token(), 2), r"t\.value of 'x' has neither 0 nor 1 in is_encrypted, which says whether it is encrypted"),
        (("x", "", "yes"), r"t\.value of 'x' has neither 0 nor 1 in is_encrypted"),
        (("x", token(token()), 1), r"t\.value of 'x' is a token inside a token"),
        (("x", f"{token()}\n", 1), r"t\.value of 'x' begins with a token of this key, and more than a token"),
    ],
)
def test_what_contradicts_its_flag_is_refused_by_name(tmp_path: Path, row: Any, said: str) -> None:
    Data(tmp_path, *ROWS, row).refused(said)


@settings(max_examples=40)
@given(
    rows=st.lists(
        st.one_of(
            st.tuples(st.just(1), st.text(st.characters(exclude_categories=["Cs"]), max_size=40)),
            st.tuples(
                st.sampled_from([0, None]),
                st.one_of(
                    st.text(st.characters(exclude_categories=["Cs"])), st.binary(), st.integers(-9, 9), st.none()
                ),
            ),
        ),
        min_size=1,
        max_size=40,
    ),
    prepared=st.booleans(),
)
def test_any_text_is_what_it_was(tmp_path_factory: pytest.TempPathFactory, rows: Any, prepared: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fernet_pages, "BATCH_ROWS", 2)
        patch.setattr(sqlite_file.chunk, "__defaults__", ((), 8))
        patch.setattr(sqlite_file.pages, "__defaults__", ((), 8))
        given_rows = [(f"r{n}", token(value) if flag == 1 else value, flag) for n, (flag, value) in enumerate(rows)]
        data = Data(tmp_path_factory.mktemp("d"), *given_rows)
        before = data.read(OLD)
        if prepared:
            data.both.prepare(data.side, False)
        data.both.switch("new", data.side if prepared else None)
        assert data.read(NEW) == before


def test_a_page_goes_in_one_piece_where_all_of_it_is_flagged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Data(tmp_path, *((f"r{number}", token(f"{number:03d}"), 1) for number in range(300)))
    pieces: list[int] = []
    ordinary = fernet_pages.Pages.open_chunk
    monkeypatch.setattr(
        fernet_pages.Pages, "open_chunk", lambda pages, chunk: pieces.append(chunk.rows) or ordinary(pages, chunk)
    )
    before = data.read(OLD)
    turned(data, prepared=True)
    assert data.read(NEW) == before
    assert pieces and set(pieces) == {300}
    # one that is not, though its token would open, is seen in the midst of them
    data.do("UPDATE t SET is_encrypted = 0 WHERE id = 'r250'")
    census = data.both.census()
    assert (census["refused"], census["under"]["new"]) == (1, 299) and "of 'r250' holds a token" in census["refusals"]


def test_a_flag_that_changes_before_the_switch_counts(tmp_path: Path) -> None:
    data = Data(tmp_path, *ROWS)
    data.both.prepare(data.side, False)
    data.do("UPDATE t SET is_encrypted = 0, value = 'now plain' WHERE id = 't0'")
    data.do("UPDATE t SET is_encrypted = 1, value = ? WHERE id = 'plain'", token("now a token"))
    before = data.read(OLD)
    assert data.both.switch("new", data.side)["on_the_fly"] == 1
    assert data.read(NEW) == before


@pytest.mark.parametrize(
    "change",
    ["value = 'other' WHERE id = 'plain'", "is_encrypted = 0 WHERE id = 't0'", "is_encrypted = 1 WHERE id = 'plain'"],
)
def test_what_a_row_holds_by_its_flag_is_proved_before_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    data = Data(tmp_path, *ROWS)
    data.both.prepare(data.side, False)
    before = data.do("SELECT * FROM t ORDER BY id")
    ordinary = fernet_sqlite.put_staged

    def put(connection: sqlite3.Connection, *given: Any) -> int:
        connection.execute(f"UPDATE t SET {change}")
        return ordinary(connection, *given)

    monkeypatch.setattr(fernet_sqlite, "put_staged", put)
    with pytest.raises(KeyturnError, match=r"the check before the commit failed, all rows stay|rows cannot be turned"):
        data.both.switch("new", data.side)
    assert data.do("SELECT * FROM t ORDER BY id") == before


def test_plaintexts_that_a_flag_tells_stay(tmp_path: Path) -> None:
    data = Data(tmp_path, *ROWS)
    with pytest.raises(KeyturnError, match=r"t\.value is told by is_encrypted: unset keyturn_encrypt_plaintext_rows"):
        data.both.prepare(data.side, True)


def test_json_with_tokens_at_paths_and_a_flag_beside_it(tmp_path: Path) -> None:
    doc = json.dumps({"password": token("pw"), "n": [1, 2]})
    rows = [("doc", doc, 1), ("plain", json.dumps({"password": "pw"}), 0), ("none", "{}", 1), ("no json", "x", 0)]
    data = Data(tmp_path, *rows, paths=["password"])
    turned(data, prepared=True)
    after = {name: value for name, value, _ in data.do("SELECT id, value, is_encrypted FROM t")}
    assert Fernet(NEW).decrypt(json.loads(after["doc"])["password"]) == b"pw"
    assert {name: after[name] for name in ("plain", "none", "no json")} == {name: value for name, value, _ in rows[1:]}
    data.do("INSERT INTO t VALUES ('a', 'bad', ?, 1)", '{"password": "pw"}')
    data.refused(r"t\.value of 'bad' at password is no token|t\.value of 'bad' is no token")


def test_without_a_flag_a_row_that_is_no_token_is_refused_where_no_shape_is_declared(tmp_path: Path) -> None:
    data = Data(tmp_path, *(row for row in ROWS if row[2] == 1), flag=None)
    before = data.read(OLD)
    turned(data, prepared=True)
    assert data.read(NEW) == before
    data.do("INSERT INTO t VALUES ('a', 'x', 'pw', 0)")
    data.refused(
        r"t\.value of 'x' is no token; where plaintexts are right, declare their shape .* or the column that says"
    )


def test_rows_are_known_by_several_columns(tmp_path: Path) -> None:
    data = Data(tmp_path, ("1, 2", token(), 1), key=["scope", "id"])
    data.do("INSERT INTO t VALUES ('a, 1', '2', 'pw', 1)")
    data.do("INSERT INTO t VALUES ('a', NULL, 'pw', 1)")
    census = data.both.census()
    assert census["refused"] == 2
    assert """t.value of "'a, 1', '2'" is no token""" in census["refusals"]
    assert """t.value of "'a', NULL" is no token""" in census["refusals"]


def test_a_shape_is_accepted_of_the_row_alone_that_is_named(tmp_path: Path) -> None:
    rows = [("1, 2", token("other"), 1), ("2", token("right-1"), 1)]
    data = Data(tmp_path, *rows, key=["scope", "id"], plaintext="^right-", accepted=("'a', '1, 2'",))
    assert data.both.census()["refused"] == 0
    data.do("UPDATE t SET scope = 'a, 1', id = '2' WHERE id = '1, 2'")
    assert data.both.census()["refused"] == 1


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"flag": "encrypted"}, "table t has no column encrypted"),
        ({"flag": "value"}, r"t\.value: `flag` must be another column"),
        ({"key": ["id", "value"]}, r"t\.value: `key` must be another column"),
        ({"key": ["id", "x"]}, "table t has no column x"),
    ],
)
def test_what_is_declared_is_there(tmp_path: Path, declared: dict[str, Any], said: str) -> None:
    data = Data(tmp_path, *ROWS, **declared)
    with pytest.raises(KeyturnError, match=said):
        data.both.census()


def test_a_token_of_others_is_replaced_in_the_form_that_its_flag_tells(tmp_path: Path) -> None:
    data = Data(tmp_path, ("sealed", token("first"), 1), ("plain", "second", 0))
    tokens = FernetTokens(data.both)
    for item in tokens.items():
        assert tokens.put(item, f"new-{item.token}")
    assert data.read(OLD) == {"sealed": "new-first", "plain": "new-second"}
