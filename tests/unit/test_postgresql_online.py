"""Rows of PostgreSQL that are turned while the application writes: nothing of that is lost, nobody waits, and what is left is seen."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from cryptography.fernet import Fernet, MultiFernet
from keyturn.base.errors import KeyturnError
from keyturn.base.sides import Side
from keyturn.ground.rows import postgresql_online
from keyturn.ground.rows.contract import Online
from keyturn.ground.rows.fernet_postgresql import PostgresqlStore
from support.postgres import Server, server
from unit.test_fernet_postgresql import COLUMN, EVERYTHING, NEW, OLD, OTHER, SCHEMA, Shop, other_login, sealed

KEYS = {"old": OLD, "new": NEW}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as made:
        yield made


class Listed(Shop):
    """An application that reads a list of keys."""

    def listed(self, old: str = OLD) -> PostgresqlStore:
        spec = {"kind": "fernet_postgresql", "login": {"path": ".env", "url": "DATABASE_URL", "parts": None}}
        values: dict[Any, Any] = {"old": {"K": old}, "new": {"K": NEW}}
        more = {"columns": self.columns, "key": None, "separator": ","}
        return PostgresqlStore(spec | more, self.folder, ["K"], values, ())

    def turn(self, to: Side = "new", seconds: float = 60.0) -> Online:
        return self.listed().turn_online(to, self.rotation, seconds)

    def write(self, name: str, text: str, key: str = NEW) -> None:
        self.sql("UPDATE items SET token = %s WHERE name = %s", sealed(key, text), name)


@pytest.fixture
def shop(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Listed:
    """Its rows are read in pages of five."""
    monkeypatch.setattr(postgresql_online, "PAGE", 5)
    made = Listed(postgres, tmp_path)
    made.fill(12)
    return made


def test_rows_are_turned_in_their_form_and_go_back(shop: Listed) -> None:
    before = shop.sql("SELECT id, name, touched, length(token) FROM items ORDER BY id")
    assert shop.turn() == Online(12, 12, finished=True) and shop.plain(NEW) == EVERYTHING
    shop.write("n3", "access-3", OLD)
    assert shop.turn() == Online(12, 1, finished=True)
    assert shop.turn("old") == Online(12, 12, finished=True) and shop.plain(OLD) == EVERYTHING
    assert [row[:3] for row in shop.sql("SELECT id, name, touched, 1 FROM items ORDER BY id")] == [
        row[:3] for row in before
    ]
    shop.listed().forget(shop.rotation.name)
    assert shop.listed().left() == []


def test_calls_go_on_from_any_host_and_one_way_s_place_is_not_the_other_s(shop: Listed) -> None:
    said = [shop.turn(seconds=0) for _ in range(2)]
    assert [(part.read, part.turned, part.finished) for part in said] == [(5, 5, False)] * 2
    assert shop.turn("old", 0).turned == 5, "the way back begins at the first row"
    assert shop.turn("old") == Online(7, 5, finished=True) and shop.plain(OLD) == EVERYTHING
    assert shop.turn(seconds=0).read == 5
    shop.write("n1", "access-1", OLD)  # behind the place: seen at the end, and turned by the next pass
    assert shop.turn() == Online(7, 7, finished=True, left=1)
    assert shop.turn() == Online(12, 1, finished=True) and shop.plain(NEW) == EVERYTHING


def test_what_the_owner_of_the_database_does_to_the_place_costs_no_row_and_has_an_end(shop: Listed) -> None:
    progress = f"{SCHEMA}.progress"
    for place in ("'{1,2,3}'", "'{}'", "NULL"):
        shop.turn(seconds=0)
        shop.sql(f"UPDATE {progress} SET place = {place}")
        assert shop.turn() == Online(12, 7, finished=True)
        shop.turn("old")
    shop.turn(seconds=0)
    shop.sql(f"UPDATE {progress} SET place = '{{7 OR true}}'")
    with pytest.raises(KeyturnError, match="the server has not done what was asked"):
        shop.turn()
    shop.sql(f"DELETE FROM {progress}")
    with pytest.raises(KeyturnError, match=f"{progress} is not as it was made: somebody has changed it; DROP SCHEMA"):
        shop.turn()
    shop.sql(f"DROP SCHEMA {SCHEMA} CASCADE")
    assert shop.turn() == Online(12, 7, finished=True) and shop.plain(NEW) == EVERYTHING


def test_the_other_keys_of_an_old_list_open_rows_and_encrypt_none(shop: Listed) -> None:
    shop.write("n3", "access-3", OTHER)
    older = f"{OLD},{OTHER}"
    assert shop.listed(older).turn_online("new", shop.rotation, 60) == Online(12, 12, finished=True)
    assert shop.plain(NEW) == EVERYTHING
    shop.listed(older).turn_online("old", shop.rotation, 60)
    assert shop.plain(OLD) == EVERYTHING and set(shop.listed(older).secrets) > {OLD, OTHER}


def test_what_was_written_between_reading_and_writing_stays(shop: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    put, seen = postgresql_online.put, []

    def late(cursor: Any, target: Any, goals: Any) -> int:
        if not seen:
            shop.write("n1", "access-newer")
            shop.sql("DELETE FROM items WHERE name = 'n2'")
            shop.sql("UPDATE items SET id = 1000 WHERE name = 'n4'")
        seen.append(len(goals))
        return put(cursor, target, goals)

    monkeypatch.setattr(postgresql_online, "put", late)
    assert shop.turn() == Online(13, 10, finished=True)
    assert shop.plain(NEW) == {name: text for name, text in EVERYTHING.items() if name != "n2"} | {"n1": "access-newer"}


def test_a_row_that_no_value_opens_is_named_and_left(shop: Listed) -> None:
    shop.write("n1", "access-foreign", OTHER)
    part = shop.turn()
    assert (part.turned, part.left) == (11, 0) and "items.token of 'n1' opens under neither" in part.refusals


def test_triggers_do_not_run_and_are_as_they_were(shop: Listed) -> None:
    shop.sql("CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END'")
    shop.sql("CREATE TRIGGER stamped BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION stamp()")
    assert shop.turn().turned == 12
    assert shop.sql("SELECT tgenabled FROM pg_trigger WHERE NOT tgisinternal") == [("O",)]


# -- nobody waits for us, and we for nobody with a lock --------------------------------------------------------------------


def test_a_row_that_another_session_has_locked_is_waited_for_alone(shop: Listed) -> None:
    assert shop.turn(seconds=0).read == 5
    holder = psycopg2.connect(shop.url)
    holder.cursor().execute("UPDATE items SET token = %s WHERE name = 'n6'", (sealed(NEW, "access-held"),))
    done: list[Online] = []
    turning = threading.Thread(target=lambda: done.append(shop.turn()))
    turning.start()
    # all before it are turned while it is held: what was let go for it has come again in smaller pieces
    while shop.sql(f"SELECT place FROM {SCHEMA}.progress") != [(["6"],)]:
        assert turning.is_alive()
        time.sleep(0.05)
    holder.commit()
    holder.close()
    turning.join(60)
    assert done == [Online(7, 6, finished=True)] and shop.plain(NEW) == EVERYTHING | {"n6": "access-held"}


def test_a_row_that_is_held_for_too_long_is_told_with_who_holds_it(
    shop: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_online, "PATIENCE_SECONDS", 0.5)
    holder = psycopg2.connect(shop.url)
    holder.cursor().execute("UPDATE items SET name = name WHERE name = 'n6'")
    with pytest.raises(KeyturnError, match=rf"held what it has written .*\({holder.info.backend_pid} of {shop.name}\)"):
        shop.turn()
    holder.close()
    assert shop.turn().finished and shop.plain(NEW) == EVERYTHING


def test_a_deadlock_never_costs_the_application_its_transaction(shop: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds a row that a page waits for, for longer than the server does before it looks, and then wants one that the page has."""
    begun, put = threading.Event(), postgresql_online.put

    def telling(cursor: Any, target: Any, goals: Any) -> int:
        begun.set()
        return put(cursor, target, goals)

    monkeypatch.setattr(postgresql_online, "PAGE", 12)
    monkeypatch.setattr(postgresql_online, "put", telling)
    application, update = psycopg2.connect(shop.url), "UPDATE items SET token = %s WHERE name = %s"
    application.cursor().execute(update, (sealed(NEW, "access-11"), "n11"))
    done: list[Online] = []
    turning = threading.Thread(target=lambda: done.append(shop.turn()))
    turning.start()
    assert begun.wait(60)
    time.sleep(0.6)  # the server looks after 0.2 s, and whoever begins to wait later is its victim
    application.cursor().execute(update, (sealed(NEW, "access-0"), "n0"))
    application.commit()
    application.close()
    turning.join(60)
    assert done[0].finished and done[0].left == 0 and shop.plain(NEW) == EVERYTHING


def test_a_rehearsal_beside_the_application_waits_for_nobody_and_costs_nobody(
    shop: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = postgresql_online.put

    def late(cursor: Any, target: Any, goals: Any) -> int:
        monkeypatch.setattr(postgresql_online, "put", put)
        shop.write("n1", "access-newer", OLD)
        return put(cursor, target, goals)

    holder = psycopg2.connect(shop.url)
    holder.cursor().execute("UPDATE items SET name = name WHERE name = 'n6'")
    monkeypatch.setattr(postgresql_online, "PATIENCE_SECONDS", 0.5)
    with pytest.raises(KeyturnError, match="held what it has written"):
        shop.listed().backup(shop.rotation, online=True)
    holder.close()
    monkeypatch.setattr(postgresql_online, "put", late)
    shop.listed().backup(shop.rotation, online=True)
    assert shop.plain(OLD) == EVERYTHING | {"n1": "access-newer"}


def test_a_write_that_was_begun_before_the_last_look_is_seen_by_it(shop: Listed) -> None:
    writer = psycopg2.connect(shop.url)
    writer.cursor().execute("INSERT INTO items (name, token) VALUES ('late', %s)", (sealed(OLD, "access-late"),))
    done: list[Online] = []
    turning = threading.Thread(target=lambda: done.append(shop.turn()))
    turning.start()
    turning.join(1)
    assert turning.is_alive(), "it has not waited"
    writer.commit()
    writer.close()
    turning.join(60)
    assert done == [Online(12, 12, finished=True, left=1)]


def test_who_has_been_connected_for_longer_is_named(shop: Listed) -> None:
    assert shop.listed().opened_before(0) == []
    with psycopg2.connect(shop.url) as connection:
        (named,) = shop.listed().opened_before(0)
        assert f"session {connection.info.backend_pid} of {shop.name} from" in named
        assert shop.listed().opened_before(600) == []
    connection.close()


def test_a_role_of_its_own_turns_beside_the_application(shop: Listed) -> None:
    other_login(shop, f"CREATE ON DATABASE {shop.name}", "SELECT, UPDATE ON items")
    assert shop.turn().turned == 12 and shop.plain(NEW) == EVERYTHING


@pytest.mark.parametrize("primary", ["id text PRIMARY KEY", "id int, PRIMARY KEY (id)) PARTITION BY RANGE (id"])
def test_rows_of_partitions_and_of_odd_keys_are_turned(postgres: Server, tmp_path: Path, primary: str) -> None:
    shop = Listed(postgres, tmp_path, f"CREATE TABLE items (name text, token text, {primary})", COLUMN)
    if "PARTITION" in primary:
        shop.sql("CREATE TABLE few PARTITION OF items FOR VALUES FROM (0) TO (5)")
        shop.sql("CREATE TABLE many PARTITION OF items FOR VALUES FROM (5) TO (50)")
    for number in range(12):
        key = number if "PARTITION" in primary else f"%s '\\{number}\n"
        shop.sql("INSERT INTO items VALUES (%s, %s, %s)", f"n{number}", sealed(OLD, f"access-{number}"), key)
    assert shop.turn() == Online(12, 12, finished=True) and shop.plain(NEW) == EVERYTHING


@pytest.mark.parametrize(
    ("kind", "paths", "written"),
    [
        ("bytea", None, str.encode),
        ("jsonb", ["secret"], lambda token: json.dumps({"b": '%s \\ "', "secret": token})),
        ("json", ["secret"], lambda token: json.dumps({"secret": token, "a": [1.50]}, indent=3)),
    ],
)
def test_tokens_in_bytes_and_documents_are_turned_and_go_back_to_what_they_were(
    postgres: Server, tmp_path: Path, kind: str, paths: list[str] | None, written: Callable[[str], Any]
) -> None:
    shop = Listed(postgres, tmp_path, "SELECT 1", COLUMN | {"paths": paths})
    shop.sql(f"CREATE TABLE items (id int PRIMARY KEY, name text, token {kind})")
    for number in range(12):
        shop.sql("INSERT INTO items VALUES (%s, 'n', %s)", number, written(sealed(OLD, f"access-{number}")))
    before = shop.sql("SELECT id, token::text FROM items ORDER BY id")
    assert shop.turn() == Online(12, 12, finished=True) and shop.sql("SELECT token::text FROM items") != before
    assert shop.turn("old") == Online(12, 12, finished=True)
    after = shop.sql("SELECT id, token::text FROM items ORDER BY id")
    assert [len(text) for _, text in after] == [len(text) for _, text in before]
    assert shop.under() == {"old": 12, "new": 0}


def test_a_writer_that_never_rests_loses_nothing(shop: Listed) -> None:
    """It reads with both keys and writes under the new one, on rows that are being turned."""
    shop.fill(300, start=100)
    expected = EVERYTHING | {f"n{number}": f"access-{number}" for number in range(100, 400)}
    both, ended, failed = MultiFernet([Fernet(NEW), Fernet(OLD)]), threading.Event(), list[BaseException]()

    def work(first: int) -> None:
        try:
            connection = psycopg2.connect(shop.url)
            connection.autocommit = True
            number = first
            with connection.cursor() as cursor:
                while not ended.is_set():
                    number = 100 + (number + 7) % 300
                    name, text = f"n{number}", f"access-{number}-{time.monotonic_ns()}"
                    token = both.encrypt(text.encode()).decode()
                    cursor.execute("UPDATE items SET token = %s WHERE name = %s AND id %% 2 = %s", (token, name, first))
                    if cursor.rowcount:
                        expected[name] = text
            connection.close()
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=work, args=(first,)) for first in (0, 1)]
    for writer in writers:
        writer.start()
    parts = [shop.turn() for _ in range(3)]
    ended.set()
    for writer in writers:
        writer.join()
    assert not failed and [part.left for part in parts] == [0, 0, 0] and parts[-1].turned == 0
    assert shop.plain(NEW) == expected
