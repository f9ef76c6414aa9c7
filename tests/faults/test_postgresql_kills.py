"""Kills at each statement of prepare, switch and a list of keys, of client, session and server: the same call, or the way back, ends it."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from cryptography.fernet import Fernet, MultiFernet
from keyturn.base.errors import KeyturnError
from keyturn.ground.rows import fernet_postgresql, postgresql_online, postgresql_session
from support.postgres import Server, server
from unit.test_fernet_postgresql import EVERYTHING, NEW, OLD, Shop, sealed

# more than any of the calls sends; a point behind the last is told as such
STATEMENTS = {"prepare": 66, "switch": 34, "online": 65}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as made:
        yield made


@pytest.fixture
def shop(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    for module in (fernet_postgresql, postgresql_online):
        monkeypatch.setattr(module, "PAGE", 5)
    made = Shop(postgres, tmp_path)
    made.fill(12)
    return made


class Counting:
    """A cursor that does something at the statement ``at``, before it is sent."""

    def __init__(self, cursor: Any, at: list[int], act: Callable[[Any], None]) -> None:
        self._cursor, self._at, self._act = cursor, at, act

    def execute(self, *arguments: Any) -> None:
        self._at[0] -= 1
        if self._at[0] == 0:
            self._act(self._cursor)
        self._cursor.execute(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, *_: object) -> None:
        self._cursor.close()


def acting_at(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[Any], None]) -> list[int]:
    """Have ``act`` called at a statement of what runs from now on; return how many are left until then."""
    at, transaction = [number], postgresql_session.transaction

    class Connection:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def cursor(self) -> Counting:
            return Counting(self._connection.cursor(), at, act)

    def counted(connection: Any, **more: Any) -> Any:
        return transaction(Connection(connection), **more)

    for module in (fernet_postgresql, postgresql_online):
        monkeypatch.setattr(module, "transaction", counted)
    return at


def take(shop: Shop, call: str) -> None:
    store = shop.store()
    if call == "online":
        store.turn_online("new", shop.rotation, 60)
        return
    store.recall(shop.rotation, None)
    if call == "switch":
        store.switch("new")
    while call == "prepare" and not store.prepare(False, 5.0).finished:
        pass


def all_under_one(shop: Shop) -> str:
    """Check that every row is there, under one value."""
    under = shop.under()
    assert sorted(under.values()) == [0, 12], under
    side = OLD if under["old"] else NEW
    assert shop.plain(side) == EVERYTHING
    return "old" if side == OLD else "new"


def all_open(shop: Shop) -> None:
    """Check that every row opens under a list of both keys, each as it was."""
    assert sum(shop.under().values()) == 12
    both, held = MultiFernet([Fernet(NEW), Fernet(OLD)]), {}
    for name, token in shop.sql("SELECT name, token FROM items"):
        text = token if token.startswith("gAAAAA") else base64.urlsafe_b64decode(token).decode()
        held[name] = both.decrypt(text.encode()).decode()
    assert held == EVERYTHING


def ends(shop: Shop, number: int, call: str) -> None:
    """Go on after a fault, or back, by turns: either converges, and leaves nothing."""
    if call == "online":
        all_open(shop)
        shop.store().turn_online("new" if number % 2 else "old", shop.rotation, 60)
        assert all_under_one(shop) == ("new" if number % 2 else "old")
    elif all_under_one(shop) and number % 2:
        take(shop, "prepare")
        take(shop, "switch")
        assert all_under_one(shop) == "new"
    else:
        store = shop.store()
        store.recall(shop.rotation, None)
        store.switch("old")
        assert all_under_one(shop) == "old"
    shop.store().forget(shop.rotation.name)
    assert shop.store().left() == []


POINTS = [(call, number) for call, last in STATEMENTS.items() for number in range(1, last)]


@pytest.mark.covering("call")
@pytest.mark.parametrize(("call", "number"), POINTS)
def test_a_client_that_is_killed(shop: Shop, monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    if call == "switch":
        take(shop, "prepare")
    if (pid := os.fork()) == 0:
        acting_at(monkeypatch, number, lambda _: os.kill(os.getpid(), signal.SIGKILL))
        try:
            take(shop, call)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    ends(shop, number, call)


@pytest.mark.covering("call")
@pytest.mark.parametrize(("call", "number"), POINTS)
def test_a_session_that_somebody_ends(shop: Shop, monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    if call == "switch":
        take(shop, "prepare")

    def act(cursor: Any) -> None:
        shop.server.sql("SELECT pg_terminate_backend(%s, 10000)", cursor.connection.info.backend_pid)

    with monkeypatch.context() as patched:
        left = acting_at(patched, number, act)
        try:
            take(shop, call)
        except KeyturnError as error:
            assert "ended the session" in str(error) or "cannot be reached" in str(error)
        else:
            assert left[0] > 0, "the session was ended, and nothing has told it"
    ends(shop, number, call)


@pytest.mark.covering("call")
@pytest.mark.parametrize(("call", "number"), POINTS)
def test_a_server_that_crashes(shop: Shop, monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    shop.server.sql("CHECKPOINT")  # what the tests before have written is nothing to recover
    if call == "switch":
        take(shop, "prepare")

    def act(cursor: Any) -> None:
        shop.server.kill()
        shop.server.start()

    with monkeypatch.context() as patched:
        acting_at(patched, number, act)
        try:
            take(shop, call)
        except KeyturnError as error:
            assert "ended the session" in str(error) or "cannot be reached" in str(error)
    ends(shop, number, call)


@pytest.mark.parametrize("call", STATEMENTS)
def test_what_is_said_to_be_done_outlives_a_crash(shop: Shop, call: str) -> None:
    """The role does not wait for the disk, and the server writes its log by itself only after a while."""
    shop.server.sql("CHECKPOINT")
    shop.server.sql(f"ALTER ROLE {shop.name} SET synchronous_commit = off")
    shop.server.sql("ALTER SYSTEM SET wal_writer_delay = '10s'")
    shop.server.sql("SELECT pg_reload_conf()")
    if call == "switch":
        take(shop, "prepare")
    take(shop, call)
    shop.server.kill()
    shop.server.start()
    if call == "prepare":
        store = shop.store()
        assert store.recall(shop.rotation, None) and store.switch("new")["on_the_fly"] == 0
    assert all_under_one(shop) == "new"


def fill_up(shop: Shop) -> None:
    """Fill the disk of the tables to its last page."""
    shop.sql("CREATE TABLE filler AS SELECT repeat(md5(n::text), 20) FROM generate_series(1, 1000) n")
    try:
        while True:
            shop.sql("INSERT INTO filler SELECT repeat(md5(n::text), 20) FROM generate_series(1, 10) n")
    except psycopg2.errors.DiskFull:
        return


def test_a_disk_that_is_full(shop: Shop) -> None:
    """What is prepared does not fit, and then what the switch writes: nothing of the rows has changed, and with room it goes on."""
    place = shop.server.folder / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system")
    shutil.chown(place, shop.server.user)
    try:
        shop.server.sql(f"CREATE TABLESPACE small LOCATION '{place}'")
        shop.server.sql(f"GRANT CREATE ON TABLESPACE small TO {shop.name}")
        shop.server.sql(f"ALTER ROLE {shop.name} SET default_tablespace = small")
        shop.sql("ALTER TABLE items SET TABLESPACE small; ALTER TABLE items ADD wide text DEFAULT repeat('x', 700)")
        fill_up(shop)
        with pytest.raises(KeyturnError, match="its disk is full"):
            take(shop, "prepare")
        assert all_under_one(shop) == "old"
        shop.sql("DROP TABLE filler")
        take(shop, "prepare")
        fill_up(shop)
        with pytest.raises(KeyturnError, match="its disk is full"):
            take(shop, "switch")
        assert all_under_one(shop) == "old"
        shop.sql("DROP TABLE filler")
        take(shop, "switch")
        assert all_under_one(shop) == "new"
        shop.store().forget(shop.rotation.name)
    finally:
        shop.server.sql(f"ALTER ROLE {shop.name} RESET default_tablespace")
        shop.server.sql(f"DROP DATABASE {shop.name} WITH (FORCE)")
        shop.server.sql("DROP TABLESPACE IF EXISTS small")
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.covering("call")
@pytest.mark.parametrize(("call", "number"), POINTS)
def test_what_is_written_under_the_old_key_at_a_statement_is_kept(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """Somebody updates a row and adds one, and is acknowledged, or finds them locked."""
    if call == "switch":
        take(shop, "prepare")
    expected = dict(EVERYTHING)

    def act(cursor: Any) -> None:
        changed, added = (sealed(OLD, text) for text in ("access-changed", "access-added"))
        update = "UPDATE items SET token = %s WHERE name = 'n3'"
        insert = "INSERT INTO items (name, token) VALUES ('m', %s)"
        try:
            shop.sql(f"SET lock_timeout = '50ms'; {update}; {insert}", changed, added)
        except psycopg2.errors.LockNotAvailable:
            return
        expected.update(n3="access-changed", m="access-added")

    with monkeypatch.context() as patched:
        acting_at(patched, number, act)
        take(shop, call)
    if call == "prepare":
        take(shop, "switch")
    while call == "online" and shop.under()["old"]:
        take(shop, "online")
    assert shop.plain(NEW) == expected


def test_a_writer_on_the_old_key_at_any_moment_loses_nothing(shop: Shop) -> None:
    """It writes beside prepare, and is stopped for the switch, as a service is: each row that it has written is there afterwards."""
    ended, written = threading.Event(), 0

    def write() -> None:
        nonlocal written
        while not ended.is_set() and written < 500:
            shop.fill(1, start=100 + written)
            written += 1

    writer = threading.Thread(target=write)
    writer.start()
    take(shop, "prepare")
    ended.set()
    writer.join()
    take(shop, "switch")
    assert shop.plain(NEW) == EVERYTHING | {f"n{100 + number}": f"access-{100 + number}" for number in range(written)}
