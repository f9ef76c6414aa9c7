"""The row store ``fernet_postgresql`` on a real server: what it turns, what it refuses by name, and what a fault leaves."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from cryptography.fernet import Fernet
from keyturn.base import json_text, shape
from keyturn.base.errors import KeyturnError
from keyturn.fleet import answers
from keyturn.fleet.draft import draft
from keyturn.ground.rows import (
    fernet_postgresql,
    key_census,
    postgresql_census,
    postgresql_copy,
    postgresql_scan,
    postgresql_session,
    postgresql_staging,
)
from keyturn.ground.rows.contract import Online, Unreached
from keyturn.ground.rows.fernet_json import JsonPages
from keyturn.ground.rows.fernet_pages import Pages
from keyturn.ground.rows.fernet_postgresql import PostgresqlStore, reach
from keyturn.ground.rows.sqlite_file import quote
from keyturn.host import survey
from keyturn.inputs.application import Application, secrets
from keyturn.inputs.mistakes import mistakes
from support.postgres import BIN, PASSWORD, Server, pooler, primary_and_standby, server

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))
ID = "20260101T000000Z-0123456789abcdef"
SCHEMA = "keyturn_20260101t000000z_0123456789abcdef"
COLUMN = {"table": "items", "key": ["name"], "flag": None, "column": "token", "plaintext": "^access-", "paths": None}
TABLE = "CREATE TABLE items (id bigserial PRIMARY KEY, name text, token text, touched timestamptz DEFAULT now())"
NAMES = (f"app{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with server() as made:
        yield made


def sealed(key: str, text: str, layers: int = 1) -> str:
    token = Fernet(key.encode()).encrypt(text.encode())
    return (base64.urlsafe_b64encode(token) if layers == 2 else token).decode()


class Shop:
    """An application with its own database, and a folder with its login."""

    def __init__(self, postgres: Server, folder: Path, table: str = TABLE, column: dict[str, Any] = COLUMN) -> None:
        self.server, self.folder, self.name = postgres, folder, next(NAMES)
        self.url = postgres.database(self.name)
        self.env(self.url)
        self.columns = [column]
        self.rotation = folder / ID
        self.rotation.mkdir(exist_ok=True)
        self.sql(table)

    def env(self, url: str) -> None:
        (self.folder / ".env").write_text(f"DATABASE_URL={url}\n")
        (self.folder / ".env").chmod(0o600)

    def sql(self, statement: str, *parameters: Any) -> list[Any]:
        """Run a statement as the application."""
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            found = list(cursor.fetchall()) if cursor.description else []
        connection.close()
        return found

    def fill(self, count: int, key: str = OLD, start: int = 0) -> None:
        rows = [
            (f"n{number}", sealed(key, f"access-{number}", 1 + number % 2)) for number in range(start, start + count)
        ]
        places = ", ".join(["(%s, %s)"] * count)
        self.sql(f"INSERT INTO items (name, token) VALUES {places}", *(cell for row in rows for cell in row))

    def store(self, new: str | None = NEW, old: str = OLD) -> PostgresqlStore:
        spec = {"kind": "fernet_postgresql", "login": {"path": ".env", "url": "DATABASE_URL", "parts": None}}
        values: dict[Any, Any] = {"old": {"K": old}} | ({"new": {"K": new}} if new else {})
        return PostgresqlStore(spec | {"columns": self.columns, "key": None}, self.folder, ["K"], values, ())

    def prepared(self) -> PostgresqlStore:
        store = self.store()
        store.recall(self.rotation, None)
        while not store.prepare(False, 5.0).finished:
            pass
        return store

    def recalled(self) -> PostgresqlStore:
        store = self.store()
        assert store.recall(self.rotation, {})
        return store

    def plain(self, key: str) -> dict[str, str]:
        """Every row as the application reads it with a key."""
        found = {}
        for name, token in self.sql("SELECT name, token FROM items"):
            text = token.encode()
            text = base64.urlsafe_b64decode(text) if text.startswith(b"Z0FB") else text
            found[name] = Fernet(key.encode()).decrypt(text).decode()
        return found

    def under(self) -> dict[str, int]:
        return dict(self.store().census()["under"])


@pytest.fixture
def shop(postgres: Server, tmp_path: Path) -> Shop:
    made = Shop(postgres, tmp_path)
    made.fill(12)
    return made


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in vain is waited for shortly."""
    monkeypatch.setattr(fernet_postgresql, "GONE_SECONDS", 1.0)
    monkeypatch.setattr("keyturn.ground.rows.postgresql_staging.LOCK_SECONDS", 1.0)


EVERYTHING = {f"n{number}": f"access-{number}" for number in range(12)}


def test_rows_are_turned_and_go_back_in_their_forms(shop: Shop) -> None:
    before = shop.sql("SELECT id, name, touched, xmin IS NULL FROM items ORDER BY id")
    assert shop.store(new=None).examine([], False).rows == {"two_layer": 6, "one_layer": 6, "plaintext": 0, "empty": 0}
    backup = shop.store().backup(shop.rotation, online=True)
    store = shop.prepared()
    assert store.switch("new") == {"turned": 12, "on_the_fly": 0, "left": ""}
    assert shop.under() == {"old": 0, "new": 12} and shop.plain(NEW) == EVERYTHING
    assert shop.sql("SELECT id, name, touched, xmin IS NULL FROM items ORDER BY id") == before
    assert shop.store(new=None).restore(shop.rotation, backup, shop.folder) == 12
    with (shop.rotation / "backup.sql").open("a") as file:
        file.write("-- ")
    with pytest.raises(KeyturnError, match="its checksum is another"):
        shop.store(new=None).restore(shop.rotation, backup, shop.folder)
    assert shop.recalled().switch("old")["turned"] == 12 and shop.plain(OLD) == EVERYTHING
    store.forget(ID)
    assert store.left() == []


KEYS: dict[str, tuple[str, Callable[[int], tuple[Any, ...]]]] = {
    "uuid": ("id uuid PRIMARY KEY", lambda number: (str(uuid.UUID(int=number * 7919)),)),
    "text": ("id text PRIMARY KEY", lambda number: (f"a\\b\tc\n'\"{number}%s é",)),
    "two": ("id int, other text, PRIMARY KEY (other, id)", lambda number: (number, f"o{number % 3}")),
    "time": ("id timestamptz PRIMARY KEY", lambda number: (f"2026-01-01 00:00:{number:02}.123456+02",)),
    "float": ("id float8 PRIMARY KEY", lambda number: (number / 7,)),
    "interval": ("id interval PRIMARY KEY", lambda number: (f"{number} mons -{number} days 1.5 seconds",)),
    "bytes": ("id bytea PRIMARY KEY", lambda number: (b"\\\0'%s" + bytes([number]),)),
    "composite": ("id pair PRIMARY KEY", lambda number: (f'({number % 3},"a ""{number}"" \\\\ b")',)),
    "either case": ("id short COLLATE either_case PRIMARY KEY", lambda number: (f"{'aB'[number % 2]}{number}",)),
    "include": ("id int, other text, PRIMARY KEY (id) INCLUDE (other)", lambda number: (number, None)),
    "identity": ("id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, other int", lambda number: ()),
}
ODD_TYPES = (
    "CREATE TYPE pair AS (number int, other text)",
    "CREATE DOMAIN short AS varchar(9)",
    "CREATE COLLATION either_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
)
# what a role, or its database, may have set for its sessions: each changes how a value is written, or what a text means
SET_FOR_A_ROLE = {
    "extra_float_digits": "-15",
    "intervalstyle": "sql_standard",
    "datestyle": "German",
    "bytea_output": "escape",
    "timezone": "Asia/Tokyo",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "client_encoding": "LATIN1",
    "quote_all_identifiers": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
}


def set_for_role(shop: Shop, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        shop.server.sql(f"ALTER ROLE {shop.name} SET {name} = '{value}'")


def test_nothing_of_another_role_runs_when_its_tables_are_looked_through(shop: Shop) -> None:
    """Whoever owns a type owns what makes a text of it, and that would run with the rights of who reads."""
    other = f"{shop.name}_other"
    shop.server.sql(f"CREATE ROLE {other}; GRANT CREATE ON DATABASE {shop.name} TO {other}")
    shop.server.sql(
        f"""
        SET ROLE {other};
        CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC;
        CREATE TYPE trap.pair AS (one text, other text); CREATE TYPE trap.bytea AS (one text);
        CREATE DOMAIN trap.couple AS trap.pair;
        CREATE FUNCTION trap.rise(trap.pair) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$trap$$; END';
        CREATE CAST (trap.pair AS text) WITH FUNCTION trap.rise(trap.pair);
        CREATE TABLE trap.bait (name trap.pair PRIMARY KEY, again trap.couple, odd trap.bytea);
        CREATE TABLE trap.hidden (name text); ALTER TABLE trap.hidden ENABLE ROW LEVEL SECURITY;
        GRANT SELECT ON trap.hidden TO PUBLIC;
        INSERT INTO trap.bait VALUES (('a', '{sealed(OTHER, "x")}'), ('b', '{sealed(OLD, "x")}'));
        GRANT SELECT ON trap.bait TO PUBLIC
        """,
        database=shop.name,
    )
    with pytest.raises(KeyturnError, match=r"stand where the catalogue declares none: trap\.bait\.again; add"):
        shop.store().examine([], False)
    login = postgresql_session.Login({"login": {"path": ".env", "url": "DATABASE_URL", "parts": None}}, shop.folder)
    found, unseen = postgresql_census.census(login, {"old": OLD})
    assert {one.table for one in found} == {"items", "trap.bait"} and unseen == ["trap.hidden.name"]


def test_a_page_ends_by_what_is_made_of_its_rows(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a text of JSON takes many times its size, and an application may store as many as it likes."""
    shop = Shop(postgres, tmp_path, column=COLUMN | {"plaintext": None, "paths": ["key"]})
    stored = json.dumps({"key": sealed(OLD, "x"), "others": ["a"] * 200})
    shop.sql(f"INSERT INTO items (name, token) SELECT 'n' || n, '{stored}' FROM generate_series(1, 500) n")
    most = 20 * json_text.weight(stored)
    monkeypatch.setattr(postgresql_staging, "PAGE_BYTES", most)
    opened: list[int] = []
    open_page = JsonPages.open

    def open_and_weigh(self: JsonPages, page: list[Any], likely: Any = "old") -> list[Any]:
        opened.append(sum(json_text.weight(one) for one in page))
        return open_page(self, page, likely)

    monkeypatch.setattr(JsonPages, "open", open_and_weigh)
    shop.prepared()
    assert shop.store().turn_online("new", shop.rotation, 60.0).turned == 500
    backup = shop.store(new=None).backup(shop.rotation, online=False)
    assert shop.store(old=NEW, new=None).restore(shop.rotation, backup, tmp_path) == 500
    assert sum(opened) >= 5 * 500 * json_text.weight(stored) and max(opened) <= most + json_text.weight(stored)


@pytest.mark.parametrize("kind", KEYS)
def test_rows_are_found_by_any_primary_key(
    postgres: Server, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fernet_postgresql, "PAGE", 5)
    keys, made = KEYS[kind]
    shop = Shop(postgres, tmp_path, f"{'; '.join(ODD_TYPES)}; CREATE TABLE items (name text, token text, {keys})")
    set_for_role(shop, SET_FOR_A_ROLE)
    for number in range(12):
        places = ", ".join(["%s"] * (len(made(number)) + 2))
        shop.sql(f"INSERT INTO items VALUES ({places})", f"n{number}", sealed(OLD, f"access-{number}"), *made(number))
    backup = shop.store().backup(shop.rotation, online=True)
    kept = {row.locator[-1] for _, page in postgresql_copy.read(shop.rotation / "backup.sql", 5) for row in page}
    assert kept == {key for (key,) in postgres.sql("SELECT id::text FROM items", database=shop.name)}, (
        "psql compares so"
    )
    store, before = shop.prepared(), shop.store().tally(KEY)
    assert store.switch("new")["on_the_fly"] == 0 and shop.plain(NEW) == EVERYTHING
    assert shop.store().restore(shop.rotation, backup, shop.folder) == 12
    shop.sql("UPDATE items SET token = %s WHERE name = 'n1'", sealed(NEW, "access-1"))
    assert shop.recalled().switch("old")["on_the_fly"] == 1 and shop.plain(OLD) == EVERYTHING
    assert shop.store().turn_online("new", shop.rotation, 60) == Online(12, 12, finished=True)
    assert shop.plain(NEW) == EVERYTHING
    check_put_back(shop, before)


KEY = b"a key of the tests"


def check_put_back(shop: Shop, before: list[tuple[int, int]]) -> None:
    """Spoil what another program would have turned, and put it back; a row that the application has written since stays."""
    assert shop.store().tally(KEY) == before
    shop.sql("UPDATE items SET token = %s WHERE name = 'n1'", sealed(OTHER, "access-1"))
    shop.sql("UPDATE items SET token = %s WHERE name = 'n2'", sealed(OLD, "access-late"))
    shop.sql("UPDATE items SET token = %s WHERE name = 'n3'", sealed(NEW, "access-another"))
    assert shop.store().tally(KEY) != before
    shop.store().put_back(shop.rotation)
    assert shop.plain(OLD) == EVERYTHING | {"n2": "access-late"}
    shop.sql("UPDATE items SET token = %s WHERE name = 'n2'", sealed(OLD, "access-2"))
    assert shop.store().tally(KEY) == before
    assert shop.under() == {"old": 12, "new": 0}


@pytest.mark.parametrize(
    ("kind", "paths", "written"),
    [
        ("varchar(400)", None, str),
        ("bytea", None, str.encode),
        ("token_text", None, str),
        ("jsonb", ["secret"], lambda token: json.dumps({"b": 1, "secret": token, "a": [1.50]})),
        ("json", ["secret"], lambda token: json.dumps({"b": 1, "secret": token, "a": [1.50]}, indent=3)),
        ("text", ["secret"], lambda token: json.dumps({"secret": token})),
    ],
)
def test_tokens_are_turned_in_any_type_that_holds_them(
    postgres: Server, tmp_path: Path, kind: str, paths: list[str] | None, written: Callable[[str], Any]
) -> None:
    shop = Shop(postgres, tmp_path, "CREATE DOMAIN token_text AS text CHECK (VALUE <> '')", COLUMN | {"paths": paths})
    shop.sql(f"CREATE TABLE items (id int PRIMARY KEY, name text, token {kind})")
    for number in range(12):
        shop.sql(
            "INSERT INTO items VALUES (%s, %s, %s)", number, f"n{number}", written(sealed(OLD, f"access-{number}"))
        )
    shop.sql("INSERT INTO items VALUES (99, 'empty', NULL)")
    before = shop.sql("SELECT id, token::text FROM items ORDER BY id")
    backup = shop.store().backup(shop.rotation, online=True)
    assert shop.prepared().switch("new")["turned"] == 12 and shop.under() == {"old": 0, "new": 12}
    after = shop.sql("SELECT id, token::text FROM items ORDER BY id")
    assert [len(str(token)) for _, token in before] == [len(str(token)) for _, token in after] and before != after
    assert shop.store().restore(shop.rotation, backup, shop.folder) == 13
    assert shop.recalled().switch("old")["turned"] == 12
    assert shop.sql("SELECT id, token::text FROM items ORDER BY id") == before


def test_rows_with_a_flag_and_names_of_several_columns(postgres: Server, tmp_path: Path) -> None:
    column = COLUMN | {"key": ["id", "name"], "flag": "encrypted", "plaintext": None}
    shop = Shop(postgres, tmp_path, TABLE.replace("name text,", "name text, encrypted bool,"), column)
    for number in range(12):
        token = sealed(OLD, f"access-{number}") if number % 2 else f"any text {number}"
        shop.sql(
            "INSERT INTO items (name, encrypted, token) VALUES (%s, %s, %s)", f"n{number}", bool(number % 2), token
        )
    assert shop.store(new=None).examine([], False).rows == {"two_layer": 0, "one_layer": 6, "plaintext": 6, "empty": 0}
    backup = shop.store().backup(shop.rotation, online=True)
    assert shop.store(new=None).restore(shop.rotation, backup, shop.folder) == 12
    assert shop.prepared().switch("new")["turned"] == 6
    shop.sql("UPDATE items SET encrypted = true WHERE id = 1")
    with pytest.raises(KeyturnError, match=r"items\.token of '1, n0' is no token, and is encrypted by what"):
        shop.recalled().switch("new")


def test_a_partitioned_table_is_turned_whole(postgres: Server, tmp_path: Path) -> None:
    shop = Shop(
        postgres,
        tmp_path,
        "CREATE TABLE items (id int, name text, token text, PRIMARY KEY (id)) PARTITION BY RANGE (id)",
    )
    for number in range(3):
        shop.sql(f"CREATE TABLE items_{number} PARTITION OF items FOR VALUES FROM ({number * 4}) TO ({number * 4 + 4})")
    for number in range(12):
        shop.sql("INSERT INTO items VALUES (%s, %s, %s)", number, f"n{number}", sealed(OLD, f"access-{number}"))
    assert shop.store(new=None).examine([], False).findings == []
    assert shop.prepared().switch("new")["on_the_fly"] == 0 and shop.plain(NEW) == EVERYTHING


# the table becomes a partition of one that has its name
IN_PARTS = (
    "ALTER TABLE items RENAME TO few; CREATE TABLE items (LIKE few, PRIMARY KEY (id)) PARTITION BY RANGE (id); "
    "ALTER TABLE items ATTACH PARTITION few DEFAULT; "
)
STAMP = "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END'; "
REFUSED = {
    "is no table": "ALTER TABLE items RENAME TO real; CREATE VIEW items AS SELECT * FROM real",
    "has no primary key": "ALTER TABLE items DROP CONSTRAINT items_pkey",
    "is part of the primary key": "ALTER TABLE items DROP CONSTRAINT items_pkey, ADD PRIMARY KEY (token)",
    "a generated column is made of it": "ALTER TABLE items ADD size int GENERATED ALWAYS AS (length(token)) STORED",
    "is a generated column": (
        "ALTER TABLE items RENAME token TO real; ALTER TABLE items ADD token text GENERATED ALWAYS AS (real) STORED"
    ),
    "is part of a foreign key": (
        "ALTER TABLE items ADD UNIQUE (token); CREATE TABLE others (token text REFERENCES items (token))"
    ),
    "has a rule": "CREATE RULE audit AS ON UPDATE TO items DO ALSO SELECT 1",
    "other tables inherit from it": "CREATE TABLE more () INHERITS (items)",
    "row level security hides rows": "ALTER TABLE items ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    "is of the type bpchar": "ALTER TABLE items ALTER token TYPE char(400)",
    "is of the type jsonb: say by `paths`": "ALTER TABLE items ALTER token TYPE jsonb USING to_jsonb(token)",
    "does not exist: correct the columns": "ALTER TABLE items RENAME token TO other",
    "name must be another column of the table": "ALTER TABLE items RENAME name TO other",
    "tokens of this key stand where the catalogue declares none: public.items.copied": (
        "ALTER TABLE items ADD copied text; UPDATE items SET copied = 'x ' || token WHERE id = 3"
    ),
    "declares none: public.seen.token": "CREATE MATERIALIZED VIEW seen AS SELECT token FROM items",
    "declares none: public.raw.held": "CREATE TABLE raw AS SELECT convert_to(token, 'UTF8') AS held FROM items",
    "declares none: public.many.held": "CREATE TABLE many AS SELECT array_agg(token) AS held FROM items",
    "declares none: public.bytes.held": "CREATE TABLE bytes AS SELECT array_agg(convert_to(token, 'UTF8')) AS held FROM items",
    "the trigger stamped would run for each row that is turned, and its table is partitioned": (
        IN_PARTS + STAMP + "CREATE TRIGGER stamped BEFORE UPDATE ON few FOR EACH ROW EXECUTE FUNCTION stamp()"
    ),
    "items.token: a generated column is made of it": (
        "ALTER TABLE items ADD size int GENERATED ALWAYS AS (length(token)) STORED; " + IN_PARTS
    ),
    "items.token: is part of a foreign key": (
        IN_PARTS
        + "ALTER TABLE few ADD UNIQUE (token); CREATE TABLE more (token text REFERENCES few (token) ON UPDATE CASCADE)"
    ),
    "items.token: its table is published (logical replication)": (
        "ALTER TABLE items REPLICA IDENTITY NOTHING; CREATE PUBLICATION told FOR TABLE items"
    ),
    "so that the server lets nobody update it": "CREATE PUBLICATION told FOR TABLE items WHERE (name <> '')",
    "table items has no rows": "DELETE FROM items",
    "opens under no value that is known": "UPDATE items SET token = 'gAAAAABx' || repeat('y', 100) WHERE id = 5",
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_turned_is_refused_by_name_before_anything_changes(shop: Shop, why: str) -> None:
    shop.sql(REFUSED[why])
    told = why.replace("inherit from it", "inherit from its table")
    with pytest.raises(KeyturnError) as refused:
        shop.store(new=None).examine([], False)
    assert told in str(refused.value) and OLD not in str(refused.value) and PASSWORD not in str(refused.value)
    assert shop.sql("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'keyturn%'") == [(0,)]


def test_rows_that_come_from_another_server_are_refused(shop: Shop) -> None:
    shop.server.sql(
        "INSERT INTO pg_subscription_rel VALUES (1, 'public.items'::regclass, 'r', NULL)", database=shop.name
    )
    with pytest.raises(KeyturnError, match=r"is written by a subscription \(logical replication\)"):
        shop.store(new=None).examine([], False)


def test_tokens_are_found_whatever_a_backslash_means_to_the_role(shop: Shop) -> None:
    set_for_role(shop, {"standard_conforming_strings": "off"})
    shop.sql("CREATE TABLE raw AS SELECT convert_to(token, 'UTF8') AS held FROM items")
    with pytest.raises(KeyturnError, match=r"declares none: public\.raw\.held"):
        shop.store(new=None).examine([], False)


@pytest.mark.parametrize(("encoding", "refused"), [("LATIN1", False), ("SQL_ASCII", True)])
def test_a_text_that_no_encoding_tells_is_named_and_others_are_turned(
    postgres: Server, tmp_path: Path, encoding: str, refused: bool
) -> None:
    shop = Shop(postgres, tmp_path, "SELECT 1")
    postgres.sql(f"DROP DATABASE {shop.name}")
    kind = f"ENCODING {encoding} LC_COLLATE 'C' LC_CTYPE 'C'"
    postgres.sql(f"CREATE DATABASE {shop.name} OWNER {shop.name} TEMPLATE template0 {kind}")
    shop.sql(TABLE)
    shop.fill(12)
    shop.sql(f"SET client_encoding = {encoding}; UPDATE items SET name = convert_from('\\xfc', '{encoding}') || id")
    if refused:
        with pytest.raises(KeyturnError, match="a text in it is no UTF-8"):
            shop.store(new=None).examine([], False)
    else:
        shop.store(new=None).examine([], False)
        assert shop.prepared().switch("new")["turned"] == 12


def test_a_table_that_somebody_holds_is_named_with_who_holds_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(postgresql_session.SETTINGS, "lock_timeout", "200ms")
    holder = psycopg2.connect(shop.url)
    holder.cursor().execute("LOCK TABLE items IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(
        KeyturnError,
        match=rf"holds a lock on the table \(public\.items by {holder.info.backend_pid} of {shop.name}\): end what holds it",
    ):
        shop.store(new=None).examine([], False)
    holder.close()


@pytest.mark.parametrize("fault", [TimeoutError, MemoryError])
def test_a_lock_is_told_also_where_the_server_does_not_say_whose_it_is(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    def stuck(_cursor: object) -> str:
        raise fault

    monkeypatch.setitem(postgresql_session.SETTINGS, "lock_timeout", "200ms")
    monkeypatch.setattr(postgresql_session, "_locks", stuck)
    holder = psycopg2.connect(shop.url)
    holder.cursor().execute("LOCK TABLE items IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(KeyturnError, match=r"another session holds a lock on the table$"):
        shop.store(new=None).examine([], False)
    holder.close()


def test_what_ends_the_application_s_statements_does_not_end_ours(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement, and what is computed between two, take longer than the role has time for."""
    turn = Pages.turn
    monkeypatch.setattr(Pages, "turn", lambda *of: time.sleep(0.3) or turn(*of))
    shop.sql("CREATE FUNCTION slow(text) RETURNS bool LANGUAGE sql AS 'SELECT pg_sleep(0.02) IS NOT NULL'")
    shop.sql("ALTER TABLE items ADD CHECK (slow(token)) NOT VALID")
    limits = dict.fromkeys(("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"), "100ms")
    set_for_role(shop, limits)
    shop.store().backup(shop.rotation, online=True)
    assert shop.prepared().switch("new")["turned"] == 12
    assert shop.store().turn_online("old", shop.rotation, 60) == Online(12, 12, finished=True)


@pytest.mark.parametrize(("version", "limits"), [(150010, False), (160004, False), (170000, True)])
def test_what_ends_whole_transactions_ends_none_of_ours_where_a_server_knows_it(version: int, limits: bool) -> None:
    said: list[str] = []
    cursor = SimpleNamespace(
        execute=said.append, connection=SimpleNamespace(info=SimpleNamespace(server_version=version))
    )
    with postgresql_session.transaction(SimpleNamespace(cursor=lambda: contextlib.nullcontext(cursor))):
        pass
    assert any("SET LOCAL transaction_timeout = '0'" in statement for statement in said) == limits


def test_a_table_without_rows_is_turned_where_people_say_that_it_has_none(postgres: Server, tmp_path: Path) -> None:
    shop = Shop(postgres, tmp_path)
    assert shop.store(new=None).examine(["items"], False).rows["one_layer"] == 0
    shop.store().backup(shop.rotation, online=True)
    assert shop.prepared().switch("new") == {"turned": 0, "on_the_fly": 0, "left": ""}
    assert shop.store().turn_online("new", shop.rotation, 60) == Online(0, 0, finished=True)


def other_login(shop: Shop, *grants: str) -> None:
    """Have the store log in by a role of its own, with some rights."""
    role = f"{shop.name}_keyturn"
    shop.server.sql(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    for grant in grants:
        shop.server.sql(f"GRANT {grant} TO {role}", database=shop.name)
    shop.env(f"postgresql+psycopg2://{role}:{PASSWORD}@127.0.0.1:{shop.server.port}/{shop.name}")


def test_a_role_of_its_own_needs_rights_and_is_told_which(shop: Shop) -> None:
    other_login(shop)
    with pytest.raises(KeyturnError, match=f'GRANT CREATE ON DATABASE "{shop.name}" to it'):
        shop.store(new=None).examine([], False)
    role = f"{shop.name}_keyturn"
    shop.server.sql(f"GRANT CREATE ON DATABASE {shop.name} TO {role}")
    with pytest.raises(KeyturnError, match="may not read and update it: GRANT SELECT, UPDATE"):
        shop.store(new=None).examine([], False)
    shop.server.sql(f"GRANT SELECT, UPDATE ON items TO {role}", database=shop.name)
    shop.sql("CREATE TABLE secret (held text)")
    assert "public.secret.held may not be read by the login" in str(shop.store(new=None).examine([], False).findings)
    assert shop.prepared().switch("new")["turned"] == 12
    with (
        psycopg2.connect(shop.url) as connection,
        pytest.raises(KeyturnError, match=rf"1 other sessions may write .* of {shop.name}\)"),
    ):
        connection.cursor().execute("SELECT 1")
        shop.recalled().switch("old")


def test_triggers_do_not_run_and_are_as_they_were(shop: Shop) -> None:
    shop.sql("CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END'")
    shop.sql("CREATE TRIGGER stamped BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION stamp()")
    shop.sql("CREATE TRIGGER always BEFORE UPDATE OF token ON items FOR EACH ROW EXECUTE FUNCTION stamp()")
    shop.sql("ALTER TABLE items ENABLE ALWAYS TRIGGER always")
    before = shop.sql("SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1")
    shop.store(new=None).examine([], False)
    shop.store().backup(shop.rotation, online=True)
    assert shop.prepared().switch("new")["turned"] == 12 and shop.plain(NEW) == EVERYTHING
    assert shop.sql("SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1") == before
    other_login(shop, f"CREATE ON DATABASE {shop.name}", "SELECT, UPDATE ON items")
    with pytest.raises(KeyturnError, match=r"the trigger always, stamped would run for each row .* only the owner"):
        shop.store(new=None, old=NEW).examine([], False)


def test_triggers_of_a_replica_do_not_run_where_the_role_is_one(shop: Shop) -> None:
    shop.sql(STAMP + "CREATE TRIGGER stamped BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION stamp()")
    shop.sql("ALTER TABLE items ENABLE REPLICA TRIGGER stamped")
    set_for_role(shop, {"session_replication_role": "replica"})
    assert shop.prepared().switch("new")["turned"] == 12
    assert shop.sql("SELECT tgenabled FROM pg_trigger WHERE NOT tgisinternal") == [("R",)]


def test_names_of_the_database_are_no_statements(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may make a trigger, or owns the table, chooses names: of triggers, columns and types."""
    monkeypatch.setattr(fernet_postgresql, "PAGE", 5)
    name = quote('i%s "d\n\\! touch ran\n--')
    shop = Shop(postgres, tmp_path, f"CREATE TABLE items ({name} int PRIMARY KEY, name text, token text)")
    for number in range(12):
        shop.sql("INSERT INTO items VALUES (%s, %s, %s)", number, f"n{number}", sealed(OLD, f"access-{number}"))
    shop.sql("CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END'")
    trigger = quote("all; CREATE TABLE public.injected (a int); --")
    shop.sql(f"CREATE TRIGGER {trigger} BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION stamp()")
    backup = shop.store().backup(shop.rotation, online=True)
    store = shop.prepared()
    shop.sql("ALTER TABLE items DISABLE TRIGGER USER")
    shop.sql("UPDATE items SET token = %s WHERE name = 'n1'", sealed(OLD, "access-1"))
    shop.sql("ALTER TABLE items ENABLE TRIGGER USER")
    assert store.switch("new") == {"turned": 12, "on_the_fly": 1, "left": ""} and shop.plain(NEW) == EVERYTHING
    assert shop.sql("SELECT to_regclass('public.injected')") == [(None,)]
    assert shop.store(new=None).restore(shop.rotation, backup, shop.folder) == 12
    command = [BIN / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", shop.url, "-f", str(backup["path"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr, (tmp_path / "ran").exists()) == (0, "", False)
    assert shop.sql("SELECT count(*) FROM keyturn_backup_0 b JOIN items t ON t.name = b.item") == [(12,)]


def test_a_constraint_that_only_a_write_shows_is_found_beside_the_service(shop: Shop) -> None:
    shop.sql("CREATE FUNCTION is_old(text) RETURNS bool IMMUTABLE LANGUAGE sql AS $$ SELECT left(md5($1), 1) < 'g' $$")
    shop.sql("ALTER TABLE items ADD CHECK (token <> '' OR is_old(token))")
    shop.store().backup(shop.rotation, online=True)
    shop.sql("CREATE TABLE known AS SELECT token AS held FROM items")
    shop.sql(
        "CREATE FUNCTION is_known(text) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.known WHERE held = $1)'"
    )
    shop.sql("ALTER TABLE items ADD CHECK (is_known(token))")
    with pytest.raises(KeyturnError, match="a constraint of the table forbids it"):
        shop.store().backup(shop.rotation, online=True)
    assert shop.plain(OLD) == EVERYTHING


# -- what is written meanwhile -------------------------------------------------------------------------------------------


def test_what_was_written_since_prepare_is_turned_by_what_opens_it(shop: Shop) -> None:
    store = shop.prepared()
    shop.sql("UPDATE items SET token = %s WHERE name = 'n1'", sealed(OLD, "access-changed"))
    shop.sql("UPDATE items SET token = %s WHERE name = 'n2'", sealed(NEW, "access-newer"))
    shop.sql("UPDATE items SET token = 'access-plain' WHERE name = 'n3'")
    shop.sql("UPDATE items SET token = NULL WHERE name = 'n4'")
    shop.sql("DELETE FROM items WHERE name = 'n5'")
    shop.sql("UPDATE items SET id = id + 1000 WHERE name = 'n6'")
    shop.fill(1, start=50)
    found = store.switch("new")
    assert found == {"turned": 9, "on_the_fly": 3, "left": ""}
    census = shop.store().census()
    assert census["under"] == {"old": 0, "new": 10} and census["rows"]["plaintext"] == census["rows"]["empty"] == 1
    shop.sql("DELETE FROM items WHERE name IN ('n3', 'n4')")
    assert shop.plain(NEW) == {
        **{f"n{number}": f"access-{number}" for number in (0, 6, 7, 8, 9, 10, 11, 50)},
        "n1": "access-changed",
        "n2": "access-newer",
    }


def turning_into(text: str) -> Callable[..., Any]:
    return lambda page, *_: [(row, sealed(NEW, text)) for row in page]


def deleting(cursor: Any, target: Any, goals: Any) -> None:
    postgresql_staging.write(cursor, target, goals)
    cursor.execute("DELETE FROM public.items WHERE name = 'n5'")


@pytest.mark.parametrize(
    ("broken", "by", "why"),
    [
        (
            "fernet_postgresql.PostgresqlStore._turned",
            lambda *_: [],
            r"items\.token of 'n1' is still under the old value",
        ),
        (
            "fernet_postgresql.PostgresqlStore._turned",
            turning_into("access-other"),
            "a row would not hold the plaintext",
        ),
        ("fernet_postgresql.write", deleting, "its table had 12 rows and would have 11"),
        ("postgresql_staging.put", lambda *_: 0, "1 rows were to be written, and 0 were: all stay"),
    ],
)
def test_nothing_is_committed_that_is_not_what_was_there(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, broken: str, by: Callable[..., Any], why: str
) -> None:
    """Each step of the switch by itself is taken for one with a mistake."""
    store = shop.prepared()
    shop.sql("UPDATE items SET token = %s WHERE name = 'n1'", sealed(OLD, "access-1"))
    monkeypatch.setattr(f"keyturn.ground.rows.{broken}", staticmethod(by) if "." in broken.partition(".")[2] else by)
    with pytest.raises(KeyturnError, match=why):
        store.switch("new")
    assert shop.plain(OLD) == EVERYTHING


def test_a_census_of_several_columns_is_of_one_moment(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.sql("CREATE TABLE more (id int PRIMARY KEY, name text, token text)")
    shop.sql("INSERT INTO more VALUES (1, 'm', %s)", sealed(OLD, "access-m"))
    shop.columns = [COLUMN, COLUMN | {"table": "more"}]
    fetched = postgresql_staging.fetched

    def late(cursor: Any, target: Any, query: str) -> Iterator[Any]:
        shop.sql("UPDATE more SET token = %s", sealed(NEW, "access-m"))
        yield from fetched(cursor, target, query)

    monkeypatch.setattr(fernet_postgresql, "fetched", late)
    assert shop.under() == {"old": 13, "new": 0}


def test_what_the_switch_reads_the_server_has_read_and_ordered_before(shop: Shop) -> None:
    """Otherwise the first who reads it marks each page, and all rows are sorted, while the service is stopped."""
    shop.prepared()
    shop.server.sql("CHECKPOINT")
    plan = shop.sql(f"EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM {SCHEMA}.staged_0")
    assert "dirtied" not in plan[1][0], plan
    (index,) = shop.sql("SELECT indexdef FROM pg_indexes WHERE schemaname = %s AND tablename = 'staged_0'", SCHEMA)
    assert index[0].endswith("(id)")


def test_a_row_that_no_value_opens_stops_the_way_forward_and_is_left_on_the_way_back(shop: Shop) -> None:
    store = shop.prepared()
    shop.sql("UPDATE items SET token = %s WHERE name = 'n1'", sealed(OTHER, "access-foreign"))
    with pytest.raises(
        KeyturnError, match=r"1 rows cannot be turned, all stay: items\.token of 'n1' opens under neither"
    ):
        store.switch("new")
    assert shop.store().census()["under"] == {"old": 11, "new": 0}
    shop.sql("UPDATE items SET token = %s WHERE name = 'n1'", sealed(OLD, "access-1"))
    store.switch("new")
    shop.sql("UPDATE items SET token = %s WHERE name = 'n1'", sealed(OTHER, "access-foreign"))
    assert "items.token of 'n1' opens under neither" in str(shop.recalled().switch("old")["left"])
    assert shop.store().census()["under"] == {"old": 11, "new": 0}


def test_a_staged_ciphertext_of_another_row_is_not_taken_for_this_one(shop: Shop) -> None:
    """Somebody swaps two ciphertexts between prepare and switch: each protects what its row did not hold when it was staged."""
    store = shop.prepared()
    first, second = (shop.sql("SELECT token FROM items WHERE name = %s", name)[0][0] for name in ("n0", "n2"))
    shop.sql(
        "UPDATE items SET token = CASE name WHEN 'n0' THEN %s ELSE %s END WHERE name IN ('n0', 'n2')", second, first
    )
    assert store.switch("new")["on_the_fly"] == 2
    assert shop.plain(NEW) == {**EVERYTHING, "n0": "access-2", "n2": "access-0"}


def test_what_is_prepared_for_other_values_or_by_nobody_is_not_used(shop: Shop) -> None:
    shop.prepared()
    assert not shop.store(new=OTHER).recall(shop.rotation, {"rows": 12})
    assert not shop.store().recall(shop.folder / "20260101T000000Z-0123456789abcdff", {"rows": 12})
    for _ in range(2):  # another host, which has no journal of it
        assert shop.store().recall(shop.rotation, None)
    anew = shop.store(new=OTHER)
    anew.recall(shop.rotation, None)
    while not anew.prepare(False, 5.0).finished:
        pass
    assert anew.switch("new")["on_the_fly"] == 0 and shop.plain(OTHER) == EVERYTHING


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE items ALTER token TYPE bytea USING convert_to(token, 'UTF8')",
        "ALTER TABLE items DROP CONSTRAINT items_pkey, ADD PRIMARY KEY (name)",
        "ALTER TABLE items ALTER id TYPE text",
        f"DROP TABLE {SCHEMA}.staged_0",
    ],
)
def test_what_was_prepared_for_a_table_that_was_changed_since_is_not_used(shop: Shop, change: str) -> None:
    """There has to be a way on, and a way back, for a table that the application has changed, or whoever owns the database."""
    store = shop.prepared()
    shop.sql(change)
    assert store.switch("new") == {"turned": 12, "on_the_fly": 12, "left": ""} and shop.under() == {"old": 0, "new": 12}
    assert shop.recalled().switch("old")["turned"] == 12 and shop.under() == {"old": 12, "new": 0}
    assert shop.prepared().switch("new")["on_the_fly"] == 0, "prepare has not begun anew"


def test_prepare_goes_on_from_where_it_has_come_to(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fernet_postgresql, "PAGE", 5)
    told = []
    while not told or not told[-1].finished:
        store = shop.store()
        store.recall(shop.rotation, None)
        told.append(store.prepare(False, 0.0))
    assert [one.read for one in told] == [5, 5, 2, 0] and shop.recalled().switch("new")["on_the_fly"] == 0


# -- others --------------------------------------------------------------------------------------------------------------


def test_a_session_that_may_write_keeps_the_switch_away_and_is_named(shop: Shop) -> None:
    store = shop.prepared()
    connection = psycopg2.connect(shop.url)
    with pytest.raises(
        KeyturnError,
        match=rf"1 other sessions may write to its rows \({connection.info.backend_pid} of {shop.name} from",
    ):
        store.switch("new")
    with pytest.raises(KeyturnError, match="other sessions may write"):
        store.check_unused()
    connection.close()
    assert store.switch("new")["turned"] == 12


@pytest.mark.parametrize(
    ("table", "grants"),
    [
        ("", "{owner}"),
        ("", "UPDATE (token) ON items"),
        ("", "INSERT (token) ON items"),
        (IN_PARTS, "UPDATE ON few"),
    ],
)
def test_a_session_may_write_by_what_it_may_become_or_by_a_part(shop: Shop, table: str, grants: str) -> None:
    role = f"{shop.name}_other"
    shop.server.sql(f"CREATE ROLE {role} LOGIN NOINHERIT")
    shop.sql(f"{table}SELECT 1")
    other_login(shop, f"CREATE ON DATABASE {shop.name}", "SELECT, UPDATE ON items")  # it knows its own sessions anyway
    with shop.server.session(shop.name, role):
        shop.store().check_unused()
        shop.server.sql(f"GRANT {grants.format(owner=shop.name)} TO {role}", database=shop.name)
        with pytest.raises(KeyturnError, match=rf"1 other sessions may write .* of {role}\)"):
            shop.store().check_unused()


def test_a_lock_is_waited_for_and_then_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    store = shop.prepared()
    monkeypatch.setattr(store, "check_unused", lambda: None)
    connection = psycopg2.connect(shop.url)
    connection.cursor().execute("UPDATE items SET name = name WHERE id = 1")
    with pytest.raises(
        KeyturnError, match=rf"locked by another session \({connection.info.backend_pid} of {shop.name}\)"
    ):
        store.switch("new")
    assert shop.sql("SELECT count(*) FROM pg_locks WHERE relation = 'items'::regclass AND NOT granted") == [(0,)]
    connection.close()
    assert store.switch("new")["turned"] == 12


def test_a_writer_that_locks_in_another_order_is_neither_killed_nor_waited_for_with_a_lock(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sql("CREATE TABLE more (id int PRIMARY KEY, name text, token text)")
    shop.sql("INSERT INTO more VALUES (1, 'm', %s)", sealed(OLD, "access-m"))
    shop.columns = [COLUMN, COLUMN | {"table": "more"}]
    store = shop.prepared()
    monkeypatch.setattr(store, "check_unused", lambda: None)
    writer = psycopg2.connect(shop.url)
    writer.cursor().execute("UPDATE more SET name = name")
    done: list[Any] = []
    switch = threading.Thread(target=lambda: done.append(store.switch("new")))
    switch.start()
    writer.cursor().execute("UPDATE items SET name = name")  # while the switch wants both
    writer.commit()
    writer.close()
    switch.join(60)
    assert done == [{"turned": 13, "on_the_fly": 0, "left": ""}]


def test_two_rotators_do_not_work_in_one_database(shop: Shop) -> None:
    shop.prepared()
    with pytest.raises(KeyturnError, match=f"another rotation has rows prepared there \\(schema {SCHEMA}\\)"):
        shop.store(new=None).examine([], False)
    another = shop.store(new=OTHER)
    another.recall(shop.folder / "20260102T000000Z-0123456789abcdef", None)
    with pytest.raises(KeyturnError, match="another rotation has rows prepared there"):
        another.prepare(False, 1.0)
    with pytest.raises(KeyturnError, match="another rotation has rows prepared there"):
        another.switch("new")
    assert shop.under() == {"old": 12, "new": 0}
    assert shop.store().left() == [
        f"{shop.store().name}: the schema {SCHEMA} is left of a rotation: DROP SCHEMA {quote(SCHEMA)} CASCADE, unless one is open on "
        "another host"
    ]


def test_a_statement_that_people_are_told_to_type_does_what_it_says_whatever_a_name_is(shop: Shop) -> None:
    name = "keyturn_20260101t000000z_x; DROP TABLE items; --"
    shop.sql(f"CREATE SCHEMA {quote(name)}")
    told = f"DROP SCHEMA {quote(name)} CASCADE"
    with pytest.raises(KeyturnError, match=re.escape(told)):
        shop.store(new=None).examine([], False)
    (left,) = shop.store().left()
    assert told in left


def test_a_check_changes_no_byte(shop: Shop) -> None:
    shop.server.sql("VACUUM (FREEZE, ANALYZE)", database=shop.name)
    shop.store(new=None).census()
    shop.server.sql("CHECKPOINT")
    before = shop.server.sql(
        "SELECT pg_current_wal_insert_lsn(), (SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_database d, pg_stat_user_tables)",
        database=shop.name,
    )
    store = shop.store(new=None)
    store.examine([], False)
    store.check_switch()
    store.space()
    store.sample()
    after = shop.server.sql(
        "SELECT pg_current_wal_insert_lsn(), (SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_database d, pg_stat_user_tables)",
        database=shop.name,
    )
    assert after == before


# -- who does not come to it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://{name}:wrong@127.0.0.1:{port}/{name}", "its password is another, or has expired"),
        ("postgresql://{name}:wrong@127.0.0.1:1/{name}", "nobody listens there"),
        ("postgresql://{name}:wrong@127.0.0.1:{port}/nowhere", "password is another|no such database"),
        ("postgresql://{name}:wrong%e9@127.0.0.1:{port}/{name}", "no address of a PostgreSQL server"),
        ("mysql://{name}:wrong@127.0.0.1/x", "no address of a PostgreSQL server"),
        ("postgresql://{name}:wrong@127.0.0.1:{port}/{name}?ssl=on", "no address of a PostgreSQL server"),
        ("postgresql://{name}:wrong@127.0.0.1:{port}/{name}?sslmode=require", "it does not speak TLS"),
    ],
)
def test_a_login_that_is_none_is_told_and_nothing_of_it(shop: Shop, url: str, why: str) -> None:
    hba = shop.server.data / "pg_hba.conf"
    if "password" in why:
        held = hba.read_text()
        hba.write_text("host all all 127.0.0.1/32 scram-sha-256\n" + held)
        shop.server.sql("SELECT pg_reload_conf()")
    shop.env(url.format(name=shop.name, port=shop.server.port))
    spec = {"login": {"path": ".env", "url": "DATABASE_URL", "parts": None}}
    try:
        with pytest.raises(Unreached, match=why) as refused:
            reach(spec, shop.folder)
    finally:
        if "password" in why:
            hba.write_text(held)
            shop.server.sql("SELECT pg_reload_conf()")
    assert "wrong" not in str(refused.value)


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("ALTER ROLE {name} CONNECTION LIMIT 0", "it has no connection left"),
        ("ALTER DATABASE {name} CONNECTION LIMIT 0", "it has no connection left"),
        ("ALTER ROLE {name} NOLOGIN", "the role may not log in"),
        ("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC, {name}", "GRANT CONNECT ON DATABASE to it"),
        ("ALTER DATABASE {name} ALLOW_CONNECTIONS false", "the database takes no connections"),
    ],
)
def test_a_login_that_the_server_does_not_let_in_is_told_why(shop: Shop, statement: str, why: str) -> None:
    shop.server.sql(statement.format(name=shop.name))
    with pytest.raises(Unreached, match=why):
        reach({"login": {"path": ".env", "url": "DATABASE_URL", "parts": None}}, shop.folder)


def test_a_login_in_parts_and_over_a_socket(shop: Shop) -> None:
    (shop.folder / ".env").write_text(f"H={shop.server.folder}\nP={shop.server.port}\nD={shop.name}\nU={shop.name}\n")
    parts = {"host": "H", "port": "P", "dbname": "D", "user": "U"}
    reach({"login": {"path": ".env", "url": None, "parts": parts}}, shop.folder)
    with pytest.raises(Unreached, match="Q"):
        reach({"login": {"path": ".env", "url": None, "parts": parts | {"password": "Q"}}}, shop.folder)


def login_of(folder: Path, url: str) -> postgresql_session.Login:
    (folder / ".env").write_text(f"DATABASE_URL={url}\n")
    (folder / ".env").chmod(0o600)
    return postgresql_session.Login({"login": {"path": ".env", "url": "DATABASE_URL", "parts": None}}, folder)


@pytest.mark.parametrize(
    ("host", "mode"),
    [
        ("db.example", "verify-full"),
        ("10.0.0.7", "verify-full"),
        ("localhost,db.example", "verify-full"),
        ("%2Frun,db.example", "verify-full"),
        ("127.0.0.1", "prefer"),
        ("%2Frun", "prefer"),
    ],
)
def test_another_machine_is_believed_by_its_certificate_alone(tmp_path: Path, host: str, mode: str) -> None:
    given = login_of(tmp_path, f"postgresql://u:p@{host}/d").parameters()
    assert given["sslmode"] == mode
    assert given["sslrootcert"] == ("/dev/null/none" if mode == "prefer" else "/etc/ssl/certs/ca-certificates.crt")
    assert given.get("require_auth") == ("scram-sha-256,none" if mode == "prefer" else None)
    for weaker in ("disable", "allow", "prefer", "require", "verify-ca"):
        login = login_of(tmp_path, f"postgresql://u:p@{host}/d?sslmode={weaker}")
        if mode == "prefer":
            assert login.parameters()["sslmode"] == weaker
        else:
            with pytest.raises(
                KeyturnError, match=f"sslmode={weaker} would show the password .* say sslmode=verify-full"
            ):
                login.parameters()


@pytest.mark.parametrize(
    "key", ["sslkey", "sslcert", "sslrootcert", "sslcrl", "passfile", "service", "options", "hostaddr"]
)
def test_a_login_says_nothing_by_which_files_are_opened_or_code_is_loaded(tmp_path: Path, key: str) -> None:
    login = login_of(tmp_path, f"postgresql://u:p@127.0.0.1/d?sslmode=require&{key}=/srv/app/evil.so:x")
    with pytest.raises(KeyturnError, match=rf"the login says {key}, .*: take that out") as refused:
        login.parameters()
    assert "evil" not in str(refused.value)


def test_a_login_names_few_hosts(tmp_path: Path) -> None:
    """The system takes ten seconds for a name that nobody answers for, and no signal ends that."""
    hosts = [f"h{number}.example" for number in range(postgresql_session.MOST_HOSTS + 1)]
    assert login_of(tmp_path, f"postgresql://u:p@{','.join(hosts[1:])}/d").parameters()["host"] == ",".join(hosts[1:])
    with pytest.raises(KeyturnError, match="names more than 8 hosts"):
        login_of(tmp_path, f"postgresql://u:p@{','.join(hosts)}/d").parameters()


def test_nothing_of_a_home_is_read(tmp_path: Path) -> None:
    given = login_of(tmp_path, "postgresql://u:p@127.0.0.1/d?application_name=x&target_session_attrs=any").parameters()
    assert {given[key] for key in ("passfile", "sslcert", "sslkey", "sslcrl")} == {"/dev/null/none"}
    assert given["gssencmode"] == "disable" and given["application_name"] == "keyturn"


def test_a_server_here_that_asks_for_the_password_in_clear_is_not_given_it(tmp_path: Path) -> None:
    """Whoever takes the port while the server is down; libpq 15 has no such setting."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                if peer.recv(8)[4:] == bytes.fromhex("04d2162f"):  # it would like TLS
                    peer.sendall(b"N")
                    peer.recv(8)
                peer.recv(4096)
                peer.sendall(b"R" + struct.pack("!ii", 8, 3))
                seen.append(peer.recv(4096))

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        login = login_of(tmp_path, f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/d")
        with pytest.raises(Unreached, match="in another way than by scram-sha-256"), login.connected():
            pass
        thread.join(60)
    assert seen == [b""]


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


WELCOME = message(b"R", struct.pack("!i", 0)) + message(b"S", b"client_encoding\0UTF8\0")
READY = message(b"Z", b"I")


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        (b"", Unreached),
        (WELCOME, Unreached),
        (WELCOME + message(b"S", b"DateStyle\0German\0") + READY, Unreached),
        (WELCOME + message(b"S", b"DateStyle\0ISO, MDY\0") + READY, KeyturnError),
    ],
)
def test_a_server_that_says_nothing_more_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes, refusal: type[KeyturnError]
) -> None:
    monkeypatch.setattr(postgresql_session, "CONNECT_SECONDS", 1)
    monkeypatch.setattr(postgresql_session, "GRACE_SECONDS", 0)
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(said)
                done.wait(60)  # the end of a call that is held

        thread = threading.Thread(target=answer)
        thread.start()
        login = login_of(tmp_path, f"postgresql://u@127.0.0.1:{listener.getsockname()[1]}/d?sslmode=disable")
        with (
            pytest.raises(KeyturnError, match=r"gives no answer|has said nothing for 1 seconds") as left,
            login.connected(1) as connection,
            postgresql_session.transaction(connection),
        ):
            pass
        held = not thread.is_alive()
        done.set()
        thread.join(60)
    assert left.type is refusal and not held


@pytest.mark.parametrize(
    ("setting", "limit", "why"),
    [
        ("MOST_MEMORY", 16 << 20, "an answer of the server takes more than 16 MiB"),
        ("SESSION_HOURS", 0, "has not come to an end for 0 hours"),
    ],
)
def test_a_server_whose_answers_have_no_end_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, limit: int, why: str
) -> None:
    monkeypatch.setattr(postgresql_session, setting, limit)
    monkeypatch.setattr(postgresql_session, "GRACE_SECONDS", 0)
    column = message(b"T", struct.pack("!h", 1) + b"c\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0))
    rows = message(b"D", struct.pack("!hi", 1, 60_000) + b"x" * 60_000) * 200
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer, contextlib.suppress(OSError):
                peer.recv(4096)
                peer.sendall(WELCOME + message(b"S", b"DateStyle\0ISO, MDY\0") + READY)
                peer.recv(4096)
                peer.sendall(column)
                for _ in range(10):  # 120 MB: there is an end, for the sake of what waits for it
                    peer.sendall(rows)
                peer.recv(4096)

        thread = threading.Thread(target=answer)
        thread.start()
        login = login_of(tmp_path, f"postgresql://u@127.0.0.1:{listener.getsockname()[1]}/d?sslmode=disable")
        with pytest.raises(KeyturnError, match=why), login.connected(1) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        thread.join(60)


def test_what_a_server_calls_a_decimal_is_computed_by_nobody(shop: Shop) -> None:
    """One of ten signs, made a whole number, is computed for days, and no signal ends that."""
    login = login_of(shop.folder, shop.url)
    with login.connected() as connection, postgresql_session.transaction(connection) as cursor:
        cursor.execute("SELECT 1::int8, 1e5000::numeric, NULL::numeric")
        one, large, none = cursor.fetchone()
    assert (one, none) == (1, None) and isinstance(large, str)


def test_a_server_that_sends_more_than_it_says_it_has_does_not_fill_the_disk(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fernet_postgresql, "BESIDES", 1000)
    monkeypatch.setattr(fernet_postgresql, "TIMES", 0)
    with pytest.raises(KeyturnError, match=r"items\.token: its copy has over 1000 bytes"):
        shop.store().backup(shop.rotation, online=True)
    assert (shop.rotation / "backup.sql").stat().st_size <= 1200


def test_the_settings_of_who_has_logged_in_do_not_lead_elsewhere(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert shop.under() == {"old": 12, "new": 0}


def test_a_pooler_is_refused_by_name(shop: Shop) -> None:
    with pooler(shop.server, shop.name) as url:
        shop.env(url)
        with pytest.raises(KeyturnError, match="is reached through a pooler"):
            shop.store(new=None).examine([], False)


def test_a_server_that_takes_no_writes_or_forgets_them_is_refused(shop: Shop) -> None:
    shop.sql(f"ALTER ROLE {shop.name} SET default_transaction_read_only = on")
    with pytest.raises(KeyturnError, match="it is a replica, or set to read only"):
        shop.store(new=None).examine([], False)
    shop.server.sql(f"ALTER ROLE {shop.name} RESET default_transaction_read_only")
    shop.server.sql("ALTER SYSTEM SET fsync = off")
    shop.server.sql("SELECT pg_reload_conf()")
    try:
        with pytest.raises(KeyturnError, match="fsync is off on the server"):
            shop.store(new=None).examine([], False)
    finally:
        shop.server.sql("ALTER SYSTEM RESET fsync")
        shop.server.sql("SELECT pg_reload_conf()")


def test_a_standby_is_refused_and_named_and_has_the_rows_in_the_end(tmp_path: Path) -> None:
    with primary_and_standby() as (primary, standby):
        shop = Shop(primary, tmp_path)
        shop.fill(12)
        (found,) = shop.store(new=None).examine([], False).findings
        assert "has 1 replicas: a service that reads rows from one sees them turned when that has caught up" in found
        both = f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
        lead_astray = shop.url.replace(f"127.0.0.1:{primary.port}", both)
        wait_for(standby, primary)
        shop.env(lead_astray)
        with pytest.raises(
            KeyturnError, match="it is a replica, or set to read only; name a login that leads to the primary"
        ):
            shop.store(new=None).examine([], False)
        shop.env(f"{lead_astray}?target_session_attrs=read-write")
        assert shop.prepared().switch("new")["turned"] == 12
        wait_for(standby, primary)
        shop.url = shop.url.replace(str(primary.port), str(standby.port))
        assert shop.plain(NEW) == EVERYTHING


def wait_for(standby: Server, primary: Server) -> None:
    """Wait until a standby has what its primary has."""
    (written,) = primary.sql("SELECT pg_current_wal_lsn()")[0]
    deadline = time.monotonic() + 60
    while not standby.sql("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written)[0][0]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nothing_of_the_application_s_stands_before_the_server_s_own_functions(shop: Shop) -> None:
    """The application's user owns the database: what it puts before a function or an operator would run in our session."""
    shop.sql(
        "CREATE FUNCTION public.to_regclass(text) RETURNS regclass LANGUAGE sql AS $$ SELECT 'pg_class'::regclass $$"
    )
    shop.sql("CREATE FUNCTION public.strpos(text, text) RETURNS int LANGUAGE sql AS 'SELECT 1/0'")
    shop.sql(f"ALTER ROLE {shop.name} SET search_path = public, pg_catalog")
    shop.store(new=None).examine([], False)
    assert shop.prepared().switch("new")["turned"] == 12


# -- what nothing declares ---------------------------------------------------------------------------------------------


@pytest.fixture
def unknown(shop: Shop) -> Shop:
    """A database of several tables, beside a key of which nothing is known."""
    with (shop.folder / ".env").open("a") as file:
        file.write(f"TOKEN_KEY={OLD}\n")
    shop.sql("ALTER TABLE items ADD is_encrypted boolean")
    shop.fill(3, OLD, 20)
    shop.fill(2, OTHER, 30)
    shop.sql("UPDATE items SET is_encrypted = true")
    shop.sql(
        "INSERT INTO items (name, token, is_encrypted) VALUES ('clear', 'access-clear', false), ('empty', '', NULL)"
    )
    shop.sql('CREATE SCHEMA "Own"')
    shop.sql('CREATE TABLE "Own".links (shop text, "User" text, body jsonb, raw bytea, PRIMARY KEY (shop, "User"))')
    inside = json.dumps({"a": [{"secret": sealed(OLD, "access-json")}], "jo@example.com": sealed(OLD, "access-jo")})
    shop.sql('INSERT INTO "Own".links VALUES (%s, %s, %s, %s)', "s", "u", inside, sealed(OLD, "{}").encode())
    shop.server.sql("CREATE TABLE theirs (id int, token text)", database=shop.name)
    return shop


def test_of_a_database_that_nothing_declares_it_is_told_which_key_opens_what(unknown: Shop) -> None:
    before = unknown.sql("SELECT xmin, ctid, * FROM items ORDER BY id")
    found = survey.look(unknown.folder, None, [])
    assert list(shape.misfits("", answers.SURVEY, found)) == []
    assert [key["name"] for key in found["keys"]] == ["TOKEN_KEY"]
    counts = {
        (one["table"], one["column"], one["path"]): (
            one["rows"],
            one["empty"],
            one["plain"],
            one["under"],
            one["unopened"],
        )
        for one in found["columns"]
    }
    assert counts == {
        ("items", "token", ""): (19, 1, 1, {"0": 15}, 2),
        ("Own.links", "body", "a[*].secret"): (1, 0, 0, {"0": 1}, 0),
        ("Own.links", "body", "(another key)"): (1, 0, 0, {"0": 1}, 0),
        ("Own.links", "raw", ""): (1, 0, 0, {"0": 1}, 0),
    }
    known = {(one["table"], one["column"]): (one["key"], one["flag"], one["objects"]) for one in found["columns"]}
    assert known["items", "token"] == (["id"], "is_encrypted", False)
    assert known["Own.links", "raw"] == (["shop", "User"], "", True)
    told = f"the database of DATABASE_URL in {unknown.folder}/.env"
    assert found["databases"] == [told]
    assert found["findings"] == [f"{told}: the login may not read all rows of theirs.token"]
    values = (OLD, OTHER, PASSWORD, unknown.url, "access-", "jo@example.com", "gAAAA", "Z0FBQ")
    assert [value for value in values if value in json.dumps(found)] == []
    assert unknown.sql("SELECT xmin, ctid, * FROM items ORDER BY id") == before
    assert unknown.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE %s", "keyturn%") == []


IN_PARTS = ["dbname", "host", "password", "port", "user"]


@pytest.mark.parametrize("parts", [False, True], ids=["an address", "parts"])
def test_what_was_found_on_a_server_is_a_catalogue_with_nothing_wrong(
    unknown: Shop, tmp_path: Path, parts: bool
) -> None:
    login = {"url": "DATABASE_URL"}
    if parts:
        login = {part: f"SHOP_DB_{part.upper()}" for part in IN_PARTS}
        values = psycopg2.extensions.parse_dsn(unknown.url)
        lines = [f"{name}={values[part]}\n" for part, name in login.items()]
        (unknown.folder / ".env").write_text("".join([f"TOKEN_KEY={OLD}\n", *lines]))
    found = draft("shop", unknown.folder, {"web1": survey.look(unknown.folder, None, [])}, date(2026, 2, 28))
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, text in found.files.items():
        (folder / name).write_text(text)
    application = Application(folder)
    (entry,) = application.part("catalogue.yml", "secrets").values()
    assert (entry["value"], entry["switch"]) == ("shared", "together")
    assert entry["migration"]["login"] == {"path": ".env", **(login if not parts else {"parts": login})}
    assert {one["column"] for one in entry["migration"]["columns"]} == {"token", "body", "raw"}
    told = mistakes(application, secrets(application.part("catalogue.yml", "secrets"), {}))
    assert [one for one in told if "catalogue" in one] == []


def test_a_look_at_a_server_whose_rows_have_no_end_ends(unknown: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_census, "MOST_SECONDS", 0.5)
    monkeypatch.setattr(postgresql_scan, "suspicious", lambda *_: itertools.repeat(b"no token"))
    (told,) = survey.look(unknown.folder, None, [])["findings"]
    assert "has not been looked through within 0.5 s" in told


@pytest.mark.parametrize(
    ("name", "text", "finding"),
    [
        (
            "shop.cfg",
            "[core]\nsql = {url}\n",
            "CORE_SQL in {folder}/shop.cfg: a login is read from a file of an environment",
        ),
        (".env", "DATABASE_URL=postgresql://u:p@127.0.0.1:1/x\n", "{folder}/.env: nobody listens there"),
    ],
)
def test_a_server_that_is_not_looked_at_is_named(shop: Shop, name: str, text: str, finding: str) -> None:
    (shop.folder / ".env").unlink()
    (shop.folder / name).write_text(text.format(url=shop.url))
    (told,) = survey.look(shop.folder, None, [])["findings"]
    assert finding.format(folder=shop.folder) in told and PASSWORD not in told
