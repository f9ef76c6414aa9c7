"""Rows that are turned while the application writes: nothing that it writes is lost, and what is left is seen."""

from __future__ import annotations

import base64
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet, MultiFernet
from keyturn.base.errors import KeyturnError
from keyturn.base.sides import Side
from keyturn.ground.rows import fernet_online, sqlite_file
from keyturn.ground.rows.contract import Online
from keyturn.ground.rows.several import Several
from keyturn.ground.rows.sqlite_store import SqliteStore

OLD, NEW, OLDER = (Fernet.generate_key().decode() for _ in range(3))
COLUMN = {"table": "items", "key": ["name"], "column": "token", "plaintext": "^access-"}
SPEC = {"database": "data.db", "columns": [COLUMN], "separator": ","}
CIPHERS = {"old": Fernet(OLD), "new": Fernet(NEW), "older": Fernet(OLDER)}
ROWS = 12


class Application:
    """One that reads both keys and writes under one; it knows what it has been told that it has written."""

    def __init__(self, folder: Path, mode: str = "delete", rows: int = ROWS, spec: Mapping[str, Any] = SPEC) -> None:
        self.folder, self.spec, self.held = folder, spec, dict[str, str]()
        folder.mkdir(exist_ok=True)
        with self.connection() as connection:
            connection.execute(f"PRAGMA journal_mode={mode}")
            connection.execute("CREATE TABLE items (name TEXT UNIQUE, token TEXT, touched INTEGER DEFAULT 0)")
            connection.execute(
                "CREATE TRIGGER touch AFTER UPDATE ON items BEGIN UPDATE items SET touched = 1 WHERE name = new.name; END"
            )
            for number in range(rows):
                self.insert("old", f"item-{number}", connection)

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.folder / "data.db", timeout=5)) as connection, connection:
            yield connection

    @staticmethod
    def sealed(side: str, token: str) -> str:
        text = CIPHERS[side].encrypt(token.encode())
        return (base64.urlsafe_b64encode(text) if len(token) % 2 else text).decode()

    def insert(self, side: str, name: str, connection: sqlite3.Connection | None = None) -> None:
        token = f"access-{name}"
        with contextlib.nullcontext(connection) if connection else self.connection() as here:
            assert here
            here.execute("INSERT INTO items (name, token) VALUES (?, ?)", (name, self.sealed(side, token)))
        self.held[name] = token

    def update(self, side: str, name: str, what: str = "again") -> None:
        token = f"access-{name}-{what}"
        with self.connection() as connection:
            connection.execute("UPDATE items SET token = ? WHERE name = ?", (self.sealed(side, token), name))
        self.held[name] = token

    def delete(self, name: str) -> None:
        with self.connection() as connection:
            connection.execute("DELETE FROM items WHERE name = ?", (name,))
        del self.held[name]

    def move(self, name: str, rowid: int) -> None:
        """As it stands, to where a row is that was read long ago."""
        with self.connection() as connection:
            connection.execute("UPDATE items SET rowid = ? WHERE name = ?", (rowid, name))

    def store(self, old: str = OLD) -> SqliteStore:
        return SqliteStore(self.spec, self.folder, ["KEY"], {"old": {"KEY": old}, "new": {"KEY": NEW}}, ())

    def turn(self, to: Side = "new", seconds: float = 60.0) -> Online:
        return self.store().turn_online(to, self.folder, seconds)

    def rows(self) -> dict[str, str]:
        with self.connection() as connection:
            return dict(connection.execute("SELECT name, token FROM items"))

    def check(self, side: Side | None = None) -> None:
        """Every acknowledged write is there, under the key of ``side`` where it is given."""
        cipher = CIPHERS[side] if side else MultiFernet(CIPHERS.values())
        read = {}
        for name, stored in self.rows().items():
            text = stored if stored.startswith("gAAAAA") else base64.urlsafe_b64decode(stored).decode()
            read[name] = cipher.decrypt(text.encode()).decode()
        whole = read == self.held
        assert whole, "a row does not hold what the application has written last"


@pytest.fixture(params=["delete", "wal"])
def application(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Application:
    """Its rows are read in pages of five."""
    monkeypatch.setattr(sqlite_file.pages, "__defaults__", ((), 5))
    return Application(tmp_path / "app", request.param)


@pytest.mark.parametrize("to", ["new", "old"])
def test_all_rows_are_turned_in_their_form_and_nothing_else(application: Application, to: Side) -> None:
    application.turn("new")
    application.insert("new" if to == "old" else "old", "late")
    before = application.rows()
    part = application.turn(to)
    assert part == Online(13, 13 if to == "old" else 1, finished=True)
    application.check(to)
    forms = {name: stored[:6] == "gAAAAA" for name, stored in application.rows().items()}
    assert forms == {name: stored[:6] == "gAAAAA" for name, stored in before.items()}
    with application.connection() as connection:
        assert connection.execute("SELECT sum(touched) FROM items").fetchone() == (0,), "a trigger has seen it"
        application.update("new", "late")
        assert connection.execute("SELECT sum(touched) FROM items").fetchone() == (1,), "the trigger is gone"
    left = {path.name for path in application.folder.iterdir()} - {"data.db", "data.db-wal", "data.db-shm"}
    assert not left, "what the calls go on by is of no use any more"


def test_calls_go_on_where_the_last_one_has_come_to(application: Application) -> None:
    said = [application.turn(seconds=0) for _ in range(3)]
    assert [(part.read, part.turned, part.finished) for part in said] == [(5, 5, False), (5, 5, False), (2, 2, False)]
    # what was written behind the place is no more than seen at the end, and read again by the next pass
    application.update("old", "item-0")
    assert application.turn() == Online(0, 0, finished=True, left=1)
    assert application.turn() == Online(ROWS, 1, finished=True)
    application.check("new")


def test_a_place_that_is_lost_costs_only_a_second_reading(application: Application) -> None:
    application.turn(seconds=0)
    (place,) = application.folder.glob("prepared.*")
    place.unlink()
    assert application.turn() == Online(ROWS, ROWS - 5, finished=True)
    application.check("new")


def test_the_other_keys_of_an_old_list_open_rows_and_encrypt_none(application: Application) -> None:
    application.update("older", "item-3")
    old = f"{OLD},{OLDER}"
    part = application.store(old).turn_online("new", application.folder, 60)
    assert part == Online(ROWS, ROWS, finished=True)
    application.check("new")
    application.store(old).turn_online("old", application.folder, 60)
    application.check("old")


def test_a_row_under_no_key_is_told_and_the_others_are_turned(application: Application) -> None:
    with application.connection() as connection:
        stranger = Fernet(Fernet.generate_key()).encrypt(b"access-x").decode()
        connection.execute("UPDATE items SET token = ? WHERE name = 'item-7'", (stranger,))
    part = application.turn()
    assert (part.turned, part.left) == (ROWS - 1, 0)
    assert "items.token of 'item-7' opens under neither the old nor the new value" in part.refusals
    assert stranger == application.rows()["item-7"]


# -- a writer at each moment ---------------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[Application], None]] = {
    "update under the new key": lambda app: app.update("new", "item-6"),
    "update under the old key": lambda app: app.update("old", "item-6"),
    "update of a row that was read": lambda app: app.update("old", "item-0"),
    "delete": lambda app: app.delete("item-6"),
    "insert under the new key": lambda app: app.insert("new", "late"),
    "insert under the old key": lambda app: app.insert("old", "late"),
    "move of a row before the place": lambda app: app.move("item-6", -1),
    "delete, and another in its place": lambda app: (
        app.delete("item-6"),
        app.insert("old", "other"),
        app.move("other", 7),
    )[0],
}
# the function in whose place the write comes first, and the call of it
MOMENTS = {
    "before a page is read": ("_pages", 0),
    "between reading and writing": ("_put", 1),
    "after a page was written": ("_put", 2),
    "before the look at all rows": ("_at_one_moment", 0),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("write", WRITES)
def test_what_is_written_at_any_moment_is_kept_and_turned(
    application: Application, write: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, number = MOMENTS[moment]
    function, calls = getattr(fernet_online, name), []

    def first(*given: Any) -> Any:
        calls.append(name)
        if len(calls) == number + 1:
            WRITES[write](application)
        return function(*given)

    with monkeypatch.context() as patch:
        patch.setattr(fernet_online, name, first)
        part = application.turn()
    assert len(calls) > number and part.finished
    application.check()
    under = application.store().census()["under"]
    assert part.left == under["old"], "rows under the old key that nobody tells of"
    while part.left:
        part = application.turn()
    application.check("new")


@pytest.mark.parametrize("held", ["read", "write"])
def test_who_holds_the_database_is_waited_for_and_then_named(
    application: Application, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.05)
    with application.connection() as connection:
        connection.execute("BEGIN" if held == "read" else "BEGIN IMMEDIATE")
        connection.execute("SELECT * FROM items").fetchone()
        wal = connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        if held == "read" and wal:
            assert application.turn().turned == ROWS, "who reads a WAL holds up nobody"
            return
        with pytest.raises(KeyturnError, match=r"data\.db: locked by"):
            application.turn()
        connection.rollback()
    assert application.turn().left == 0
    application.check("new")


def test_a_cut_transaction_is_taken_back_and_the_connection_lives(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(fernet_online, "write", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            application.turn()
    application.check("old")
    assert application.turn().turned == ROWS


def test_too_many_rows_for_one_lock_are_looked_at_by_pages(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes waits for a lock on a database without a WAL: among many rows nobody is held up for as long as all take."""
    seen = []
    census = fernet_online.FernetSqlite.census_of

    def look(self: Any, connection: sqlite3.Connection, targets: Any) -> Any:
        seen.append(connection.in_transaction)
        return census(self, connection, targets)

    monkeypatch.setattr(fernet_online.FernetSqlite, "census_of", look)
    application.turn()
    monkeypatch.setattr(fernet_online, "LOCKED_ROWS", 1)
    application.turn()
    with application.connection() as connection:
        wal = connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert seen == [True, wal]


def test_an_application_that_writes_all_the_time_loses_nothing(tmp_path: Path) -> None:
    application = Application(tmp_path / "app", "wal", rows=1000)
    failures: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        number = 0
        try:
            while not done.is_set():
                number += 1
                application.update("new", f"item-{number * 37 % 1000}", f"of-{number}")
                application.insert("new", f"late-{number}")
                if number % 5 == 0:
                    application.delete(f"late-{number}")
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        parts = [application.turn(seconds=0.05)]
        while not parts[-1].finished or parts[-1].left:
            parts.append(application.turn(seconds=0.05))
    finally:
        done.set()
        writer.join()
    assert not failures, "a write of the application has failed"
    assert sum(part.turned for part in parts) > 500
    application.check("new")


def test_rows_in_several_places_are_all_turned_and_none_is_read_for_ever(tmp_path: Path) -> None:
    applications = [Application(tmp_path / name, rows=rows) for name, rows in (("first", 3000), ("second", 1500))]
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o700)
    several = Several([application.store() for application in applications])
    parts = []
    while not parts or not parts[-1].finished:
        parts.append(several.turn_online("new", folder, 0))
        assert len(parts) < 10
    assert [part.read for part in parts] == [1000, 1000, 1000, 1000, 500, 0], "what is turned is read again"
    assert sum(part.turned for part in parts) == 4500 and parts[-1].left == 0
    for application in applications:
        application.check("new")
    assert not [*folder.rglob("prepared.*")]
    # it begins anew, and sees what has come since
    applications[0].update("old", "item-7")
    assert several.turn_online("new", folder, 60).turned == 1
    several.turn_online("old", folder, 60)
    for application in applications:
        application.check("old")


def test_a_token_that_its_flag_calls_a_plaintext_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = Application(tmp_path / "app", spec={**SPEC, "columns": [COLUMN | {"flag": "encrypted"}]})
    with application.connection() as connection:
        connection.execute("ALTER TABLE items ADD COLUMN encrypted INTEGER DEFAULT 1")
    before = application.rows()
    put = fernet_online._put

    def first(*given: Any) -> int:
        with application.connection() as connection:
            connection.execute("UPDATE items SET encrypted = 0 WHERE name = 'item-4'")
        return put(*given)

    monkeypatch.setattr(fernet_online, "_put", first)
    part = application.turn()
    assert application.rows()["item-4"] == before["item-4"]
    assert (
        part.turned == ROWS - 1 and "'item-4' holds a token of this key, and is not encrypted by what" in part.refusals
    )
