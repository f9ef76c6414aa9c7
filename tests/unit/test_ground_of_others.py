"""Files and databases of another user: root works on them as that user, and what that user makes of a path hits nobody else."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import stat
import struct
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from cryptography.fernet import Fernet
from keyturn import providers
from keyturn.base import durable, folders
from keyturn.base.errors import KeyturnError
from keyturn.base.procfs import UserAndGroups
from keyturn.ground import consumers, owner
from keyturn.ground.consumers import Consumer
from keyturn.ground.rows.contract import Unreached
from keyturn.ground.rows.fernet_sqlite import FernetSqlite
from keyturn.ground.rows.postgresql_session import Login
from keyturn.ground.rows.side_file import SideFile
from keyturn.ground.rows.sqlite_file import Database
from keyturn.host import copies, storage, survey
from keyturn.host.journal import Application
from keyturn.host.phases import commit, rollback, stage, turn
from keyturn.host.rotation import Holding
from keyturn.records import evidence
from support.faults import Host
from support.others import NOBODY, as_nobody, give, ground, needs_root

pytestmark = needs_root
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
COLUMN = {"table": "items", "key": ["item"], "column": "token", "plaintext": "^access-"}


@pytest.fixture
def app() -> Iterator[Path]:
    with ground() as made:
        yield made
    assert (os.geteuid(), os.getegid()) == (0, 0)


@pytest.fixture
def env(app: Path) -> Consumer:
    (app / ".env").write_text("NAME=old-secret-value\n")
    (app / ".env").chmod(0o600)
    give(app / ".env")
    return Consumer("dotenv", app / ".env", root=app)


def owners(folder: Path) -> set[tuple[str, int]]:
    return {(path.name, path.lstat().st_uid) for path in folder.iterdir()}


def refused(call: Any) -> str:
    with pytest.raises(KeyturnError) as caught:
        call()
    return str(caught.value)


# -- files ---------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_as_its_owner(app: Path, env: Consumer) -> None:
    consumers.check_replaceable(env)
    consumers.rehearse(env)
    consumers.replace(env, {"NAME": "new-secret-value"})
    assert consumers.read(env, ["NAME"]) == {"NAME": "new-secret-value"}
    assert owners(app) == {(".env", NOBODY)}
    assert stat.S_IMODE((app / ".env").stat().st_mode) == 0o600


@pytest.mark.parametrize("acting", [True, False], ids=["as its owner", "as root"])
@pytest.mark.parametrize("moment", ["_temporary", "_check_there"])
def test_a_folder_exchanged_in_the_middle_of_a_write_leads_nowhere(
    app: Path, env: Consumer, monkeypatch: pytest.MonkeyPatch, moment: str, acting: bool
) -> None:
    """A file of the attacker's name and content would come to stand in a folder of root's: the descriptor alone keeps it out."""
    (app / "d").mkdir()
    (app / ".env").rename(app / "d/pwn.conf")
    give(app / "d")
    as_nobody(lambda: (app / ".env").symlink_to("d/pwn.conf"))
    roots = app.parent / "roots"
    roots.mkdir(mode=0o777)
    roots.chmod(0o777)
    if not acting:
        monkeypatch.setattr(owner, "acting", lambda path, root=None: contextlib.nullcontext())
    was: Any = getattr(durable, moment)

    def exchange(*given: Any) -> Any:
        found = was(*given)
        as_nobody(lambda: ((app / "d").rename(app / "away"), (app / "d").symlink_to(roots)))
        return found

    monkeypatch.setattr(durable, moment, exchange)
    if moment == "_temporary":
        said = refused(lambda: consumers.replace(env, {"NAME": "new-secret-value"}))
        assert f"{app}/d was exchanged for another folder" in said
    else:
        consumers.replace(env, {"NAME": "new-secret-value"})
    assert (app / "d").is_symlink(), "the attack was made"
    assert list(roots.iterdir()) == []
    value = "old" if moment == "_temporary" else "new"
    assert [path.name for path in (app / "away").iterdir()] == ["pwn.conf"]
    assert (app / "away/pwn.conf").read_text() == f"NAME={value}-secret-value\n"


def test_the_name_of_a_temporary_file_cannot_be_taken_before(
    app: Path, env: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {durable._temporary(app / ".env") for _ in range(20)}
    assert len(names) == 20
    taken = names.pop()
    (app.parent / "victim").write_text("of root's")
    as_nobody(lambda: (app / taken).symlink_to(app.parent / "victim"))
    monkeypatch.setattr(durable, "_temporary", lambda path: taken)
    for call in (lambda: consumers.replace(env, {"NAME": "new"}), lambda: durable.write_file(app / ".env", b"new")):
        with pytest.raises((KeyturnError, OSError), match="File exists"):
            call()
    assert (app.parent / "victim").read_text() == "of root's"


def left_behind(folder: Path, user: int = NOBODY) -> Path:
    """Leave what a killed write leaves beside the file."""
    left = folder / ".env.keyturn-0123456789abcdef"
    left.write_text("NAME=new-secret-value\n")
    give(left, user=user)
    return left


@pytest.mark.parametrize("end", ["replace", "replace by the same", "rehearse", "clean"])
def test_what_a_killed_write_left_goes_and_nothing_else_does(app: Path, env: Consumer, end: str) -> None:
    others = {
        ".env.keyturn",
        ".env.keyturn-0123",
        ".env.keyturn-0123456789abcdef.old",
        "x.env.keyturn-0123456789abcdef",
    }
    for name in others:
        (app / name).touch()
    folder = app / ".env.keyturn-ffffffffffffffff"
    folder.mkdir()
    link = app / ".env.keyturn-eeeeeeeeeeeeeeee"
    link.symlink_to("x")
    foreign = app / ".env.keyturn-dddddddddddddddd"
    foreign.touch()
    give(foreign, user=1)
    left = left_behind(app)
    assert consumers.left(env) == [left]
    assert consumers.read(env, ["NAME"]) == {"NAME": "old-secret-value"}
    {
        "replace": lambda: consumers.replace(env, {"NAME": "new-secret-value"}),
        "replace by the same": lambda: consumers.replace(env, {"NAME": "old-secret-value"}),
        "rehearse": lambda: consumers.rehearse(env),
        "clean": lambda: consumers.clean(env),
    }[end]()
    assert {path.name for path in app.iterdir()} == others | {".env", folder.name, link.name, foreign.name}


def test_on_roots_ground_what_was_given_away_goes_as_well(app: Path, env: Consumer) -> None:
    give(app, user=0)
    left = left_behind(app)
    assert consumers.left(env) == [left]
    consumers.clean(env)
    assert {path.name for path in app.iterdir()} == {".env"}


def test_a_link_to_another_application_is_refused_whoever_it_belongs_to(app: Path, env: Consumer) -> None:
    other = app.parent / "other"
    other.mkdir()
    (app / ".env").rename(other / ".env")
    as_nobody(lambda: (app / ".env").symlink_to("../other/.env"))
    for user in (NOBODY, 0):
        give(other, other / ".env", user=user)
        for call in (lambda: consumers.read(env, ["NAME"]), lambda: consumers.replace(env, {"NAME": "new"})):
            assert f"{app}/.env leaves {app} and leads to {other}/.env: put the file itself there" in refused(call)
    assert (other / ".env").read_text() == "NAME=old-secret-value\n"


def test_a_file_of_roots_in_its_folder_is_refused_with_both_remedies(app: Path, env: Consumer) -> None:
    give(app / ".env", user=0)
    said = refused(lambda: consumers.read(env, ["NAME"]))
    assert f"{app}/.env belongs to the user root, and nobody may put another file in its place" in said
    assert f"chown root {app} && chmod go-w {app}" in said and f"chown nobody {app}/.env" in said


@pytest.mark.parametrize(("url", "user"), [("{address}", NOBODY), ("https://x/{address}", 0)])
@pytest.mark.parametrize("folder", ["theirs", "root's"])
def test_an_address_that_the_application_s_user_has_written_is_asked_as_that_user(
    app: Path, env: Consumer, monkeypatch: pytest.MonkeyPatch, url: str, user: int, folder: str
) -> None:
    entry: Any = {"variables": ["A"], "provider": {"kind": "http", "url": url, "fields": ["address"]}}
    entry["consumers"] = [{"format": "dotenv", "path": ".env"}]
    give(app, user=NOBODY if folder == "theirs" else 0)
    more: Any = {"app_user": None, "state_dir": app.parent / "state", "services": {}}
    asked = providers.PROVIDERS["http"]._replace(ask=lambda spec, values: providers.Reply(str(os.geteuid()), ""))
    monkeypatch.setitem(providers.PROVIDERS, "http", asked)
    assert Holding(secret="x", entry=entry, app_root=app, **more).ask_provider({"A": "v"}).verdict == str(user)


@pytest.mark.parametrize(("folder", "file"), [(NOBODY, NOBODY), (0, NOBODY), (0, 0)], ids=["folder", "file", "root's"])
def test_a_server_is_come_to_as_whom_the_login_is_of(
    app: Path, env: Consumer, monkeypatch: pytest.MonkeyPatch, folder: int, file: int
) -> None:
    """A server that knows its users by who comes (peer) would take the application's login for one of root's."""
    env.path.write_text("DATABASE_URL=postgresql:///shop?host=/run/postgresql&user=postgres\n")
    give(app, user=folder)
    give(env.path, user=file)
    came: list[int] = []

    def connect(**given: str) -> None:
        came.append(os.geteuid())
        raise psycopg2.OperationalError("refused")

    monkeypatch.setattr(psycopg2, "connect", connect)
    login = Login({"login": {"path": ".env", "url": "DATABASE_URL", "parts": None}}, app)
    with pytest.raises(Unreached, match="nobody listens there"), login.connected():
        pass
    assert came == [file]


def test_a_name_in_a_command_that_people_are_told_to_type_is_one_word(app: Path, env: Consumer) -> None:
    """The application's user chooses it, and root's shell would run what stands in it."""
    odd = app / "conf; touch pwned #"
    odd.mkdir()
    (app / ".env").rename(odd / ".env")
    give(odd)
    give(odd / ".env", user=0)
    as_nobody(lambda: (app / ".env").symlink_to(odd / ".env"))
    said = refused(lambda: consumers.read(env, ["NAME"]))
    assert f"chown root '{odd}' && chmod go-w '{odd}'" in said and f"chown nobody '{odd}/.env'" in said
    os.chown(odd / ".env", NOBODY, NOBODY)
    (odd / ".env").chmod(0o644)
    said = refused(lambda: consumers.check_reader(env, UserAndGroups(4711, frozenset())))
    assert said.endswith(f"chown 4711 '{odd}/.env' && chmod 600 '{odd}/.env'")


def test_what_the_owner_may_not_do_is_refused_before_anything_stops(app: Path, env: Consumer) -> None:
    os.chown(app / ".env", NOBODY, 1)
    assert "belongs to the group 1, of which the user 65534 is no member: give the file" in refused(
        lambda: consumers.check_replaceable(env)
    )


@pytest.mark.parametrize("made", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["a pipe", "a device"])
def test_what_is_no_file_is_refused_at_once(app: Path, env: Consumer, made: Any) -> None:
    (app / ".env").unlink()
    as_nobody(lambda: made(app / ".env"))
    assert refused(lambda: consumers.read(dataclasses.replace(env, root=None), ["NAME"]))


def test_a_file_of_any_size_takes_no_memory(app: Path, env: Consumer) -> None:
    os.truncate(app / ".env", 1 << 40)
    assert "is larger than" in refused(lambda: consumers.read(env, ["NAME"]))


def test_roots_own_state_is_not_kept_where_another_may_exchange_it(app: Path, tmp_path: Path) -> None:
    (app / "state").mkdir(mode=0o700)
    said = refused(Application(app / "state", app).check)
    assert f"{app}/state is root's, and the user nobody may put another folder in its place ({app})" in said
    Application(tmp_path / "state", app).check()


# -- databases -----------------------------------------------------------------------------------------------------


def made_database(app: Path, mode: str, rows: int = 300) -> FernetSqlite:
    def make() -> None:
        with contextlib.closing(sqlite3.connect(app / "data/items.db")) as connection:
            connection.execute(f"PRAGMA journal_mode={mode}")
            connection.execute("CREATE TABLE items (item TEXT UNIQUE, token TEXT CHECK (length(token) > 0), size INT)")
            connection.execute("CREATE INDEX lower_case ON items (lower(item), length(token))")
            connection.execute("CREATE TRIGGER counted AFTER UPDATE ON items BEGIN UPDATE items SET size = 0; END")
            values = [(f"item-{n}", Fernet(OLD).encrypt(f"access-{n}".encode()).decode(), n) for n in range(rows)]
            connection.executemany("INSERT INTO items VALUES (?, ?, ?)", values)
            connection.commit()

    (app / "data").mkdir()
    give(app / "data")
    as_nobody(make)
    spec = {"database": "data/items.db", "columns": [COLUMN]}
    return FernetSqlite(spec, app, "KEY", {"old": OLD, "new": NEW})


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_rows_are_turned_as_the_owner_with_roots_files_beside(app: Path, tmp_path: Path, mode: str) -> None:
    both = made_database(app, mode)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    side = SideFile(state / "prepared.db")
    assert both.census()["under"] == {"old": 300, "new": 0}
    both.check_schema()
    both.database.check_file()
    both.database.backup(state / "backup.db", online=True)
    both.rehearse(state / "backup.db")
    assert both.prepare(side, encrypt_plaintext=False).finished
    assert both.switch("new", side)["turned"] == 300
    assert both.open_rows()["under"] == {"old": 0, "new": 300}
    assert both.residue().keys() <= {"items.db", "items.db-wal"}
    assert both.switch("old", side)["turned"] == 300
    assert both.switch("new", None) == {"turned": 300, "on_the_fly": 300, "left": ""}
    both.database.backup(state / "late.db", online=False)
    assert owners(app / "data") <= {(f"items.db{end}", NOBODY) for end in ("", "-wal", "-shm")}
    assert owners(state) == {(name, 0) for name in ("prepared.db", "backup.db", "late.db")}
    with contextlib.closing(sqlite3.connect(state / "late.db")) as copy:
        assert copy.execute("SELECT count(*), sum(size) FROM items").fetchone() == (300, sum(range(300)))


def hot_journal(database: Path, victim: Path) -> None:
    """Leave the journal of a transaction that was cut off, which names ``victim`` as its super-journal."""
    magic, name = bytes.fromhex("d9d505f920a163d7"), str(victim).encode()
    pages, size = struct.unpack(">I", database.read_bytes()[28:32])[0], 4096
    header = magic + struct.pack(">5I", 0, 0, pages, 512, size)
    end = name + struct.pack(">2I", len(name), sum(name)) + magic
    lock_page = (1 << 30) // size + 1
    database.with_name(f"{database.name}-journal").write_bytes(
        header.ljust(512, b"\0") + struct.pack(">I", lock_page) + end
    )


def test_a_journal_that_names_a_file_of_roots_deletes_nothing(app: Path, tmp_path: Path, monkeypatch: Any) -> None:
    both = made_database(app, "delete", 2)
    roots = app.parent / "roots"
    roots.mkdir()
    victim = roots / "victim"
    victim.write_text("of root's")
    calls = (
        lambda: both.database.backup(tmp_path / "backup.db", online=False),
        lambda: both.switch("new", None),
        lambda: both.census(),
    )
    for call in calls:
        as_nobody(lambda: hot_journal(app / "data/items.db", victim))
        assert "items.db-journal is of a transaction over several databases that was cut off" in refused(call)
        assert victim.exists()
    # nor one that is put there after the look
    monkeypatch.setattr(Database, "_check_companions", lambda database: None, raising=False)
    for call in calls:
        as_nobody(lambda: hot_journal(app / "data/items.db", victim))
        with contextlib.suppress(KeyturnError):
            call()
        assert victim.exists()


def test_a_journal_of_one_database_is_taken_back(app: Path, tmp_path: Path) -> None:
    both = made_database(app, "delete", 2)

    def cut_off() -> None:
        connection = sqlite3.connect(app / "data/items.db", isolation_level=None)
        connection.execute("PRAGMA cache_size=1")
        connection.execute("BEGIN")
        connection.execute("UPDATE items SET token = hex(randomblob(20000))")
        os._exit(0)

    as_nobody(cut_off)
    assert (app / "data/items.db-journal").stat().st_size > 0
    both.database.backup(tmp_path / "backup.db", online=False)
    assert both.census()["under"] == {"old": 2, "new": 0}


def test_a_companion_that_is_a_pipe_is_not_waited_for(app: Path) -> None:
    both = made_database(app, "delete", 2)
    as_nobody(lambda: os.mkfifo(app / "data/items.db-journal"))
    assert "items.db-journal is not a regular file" in refused(both.census)
    (app / "data/items.db").unlink()
    as_nobody(lambda: os.mkfifo(app / "data/items.db"))
    assert "items.db is not a regular file" in refused(both.database.check_file)


HOSTILE = {
    "a trigger": "CREATE TRIGGER t AFTER UPDATE ON items BEGIN SELECT reach(new.item); END",
    "a view": "CREATE VIEW v AS SELECT reach(item) AS item, token FROM items",
    "a view's trigger": "CREATE VIEW w AS SELECT * FROM items; "
    "CREATE TRIGGER t INSTEAD OF UPDATE ON w BEGIN SELECT reach(new.item); END",
    "a computed column": "ALTER TABLE items ADD COLUMN c AS (reach(item))",
    "an index": "CREATE INDEX i ON items (reach(token))",
    "a partial index": "CREATE INDEX i ON items (item) WHERE reach(token)",
    "a constraint": "ALTER TABLE items ADD COLUMN c TEXT CHECK (reach(item) IS NOT 5)",
    "SQLite's own": "CREATE TRIGGER t AFTER UPDATE ON items BEGIN SELECT load_extension('/tmp/x.so'); END",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_schema_reaches_nothing_outside_of_its_database(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Each connection has a function with effects, as SQLite's own are: nothing that is done with the database calls it."""
    both = made_database(app, "delete", 2)
    reached: list[str] = []
    connect = sqlite3.connect

    def with_function(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.create_function("reach", 1, lambda value: reached.append(str(value)), deterministic=True)
        return connection

    with contextlib.closing(connect(app / "data/items.db")) as connection:
        connection.create_function("reach", 1, lambda value: 1, deterministic=True)
        connection.executescript(HOSTILE[what])
    monkeypatch.setattr(sqlite3, "connect", with_function)
    side = SideFile(tmp_path / "prepared.db")
    calls = (
        both.census,
        both.check_schema,
        lambda: both.database.backup(tmp_path / "online.db", online=True),
        lambda: both.rehearse(tmp_path / "online.db"),
        lambda: both.prepare(side, encrypt_plaintext=False),
        lambda: both.database.backup(tmp_path / "backup.db", online=False),
        lambda: both.switch("new", side),
        both.residue,
        lambda: both.switch("old", side),
    )
    said = []
    for call in calls:
        try:
            call()
        except KeyturnError as error:
            said.append(str(error))
    assert reached == []
    assert all("unsafe use of" in one for one in said[:1]), "what keeps it from being turned is said"


def test_no_connection_loads_an_extension(app: Path) -> None:
    both = made_database(app, "delete", 2)
    with both.database.writing() as connection:
        with pytest.raises(sqlite3.OperationalError, match="not authorized"):
            connection.execute("SELECT load_extension('x')")
        assert sys.version_info < (3, 12) or connection.getconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE)


# -- all of it -----------------------------------------------------------------------------------------------------


@pytest.fixture
def theirs() -> Iterator[Host]:
    """A host whose application is nobody's."""
    with ground() as app:
        made = Host(app.parent / "host", theirs=True)
        yield made
        made.stop()


def test_whole_rotations_leave_everything_to_whom_it_belonged(theirs: Host) -> None:
    app, state = theirs.lab.app, theirs.lab.state
    back = dataclasses.replace(theirs.rotation(), app_user="nobody")
    stage.run(back)
    turn.run(back, "switched")
    assert theirs.lab.key() != theirs.old
    rollback.run(back, cause="a test", abandon_commit=False)
    assert theirs.lab.key() == theirs.old
    there = dataclasses.replace(back, rotation_id="20260102T000000Z-0123456789abcdef")
    stage.run(there)
    turn.run(there, "proved")
    commit.run(there, "both")
    assert theirs.lab.key() != theirs.old
    assert {path.lstat().st_uid for path in (app, *app.rglob("*"))} == {NOBODY}
    assert {path.lstat().st_uid for path in (state, *state.rglob("*"))} == {0}
    assert stat.S_IMODE(theirs.lab.env.stat().st_mode) == 0o600
    look = storage.look([there], production=False)
    assert [found for found in look["findings"] if found["severity"] == "error"] == []
    assert copies.undeclared([(there, there.current_values())]) == ([], [])


def test_the_storage_check_says_the_same_of_a_file_of_roots(theirs: Host) -> None:
    give(theirs.lab.env, user=0)
    said = [found["what"] for found in storage.look([theirs.rotation()], production=False)["findings"]]
    assert any(f"chown root {theirs.lab.app}" in what and f"chown nobody {theirs.lab.env}" in what for what in said)


# -- a look at what nothing describes yet --------------------------------------------------------------------------


def test_a_look_reads_each_file_as_whose_ground_it_lies_on(app: Path, env: Consumer, tmp_path: Path) -> None:
    """What only root may read is not told because it lies, or is linked, where another user may put it."""
    mine = app / "of-root.env"
    mine.write_text(f"OTHER_KEY={OLD}\n")
    mine.chmod(0o600)
    (tmp_path / "elsewhere.env").write_text(f"THIRD_KEY={NEW}\n")
    (app / "linked.env").symlink_to(tmp_path / "elsewhere.env")
    with contextlib.closing(sqlite3.connect(app / "rows.db")) as connection, connection:
        connection.execute("CREATE TABLE items (item TEXT PRIMARY KEY, token TEXT)")
        connection.execute("INSERT INTO items VALUES ('a', ?)", (Fernet(OLD).encrypt(b"access-1").decode(),))
    give(app / "rows.db")
    found = survey.look(app, None, [])
    assert found["keys"] == []
    assert [one["unopened"] for one in found["columns"]] == [1]
    assert any("of-root.env was not looked at" in one for one in found["findings"])
    assert "THIRD_KEY" not in str(found)
    assert (os.geteuid(), os.getegid()) == (0, 0)


@pytest.mark.parametrize("evident", [False, True], ids=["copies", "evidence"])
@pytest.mark.parametrize("user", [None, "nobody"])
def test_a_folder_exchanged_while_its_files_are_looked_for_leads_nowhere(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str | None, evident: bool
) -> None:
    """Nor below a folder of root's own: a file that only root may read would be opened as root, and so would a device."""
    (tmp_path / "found").write_text("old-secret-value")
    (app / "sub").mkdir()
    (app / "sub/found").write_text("nothing")
    give(app / "sub", app / "sub/found")
    below = folders.below

    def exchanged(*given: Any, **more: Any) -> Iterator[Any]:
        for entry in below(*given, **more):
            as_nobody(lambda: ((app / "sub").rename(app / "away"), (app / "sub").symlink_to(tmp_path)))
            yield entry

    monkeypatch.setattr(folders, "below", exchanged)
    if evident:
        scene = evidence.Scene({}, app.parent, {}, [], datetime(2026, 1, 1, tzinfo=UTC), user)
        assert evidence.files(scene) == {"files.jsonl": b""}
        return
    more: Any = {"app_root": app.parent, "app_user": user, "state_dir": app.parent / "state", "services": {}}
    holding = Holding(secret="x", entry={"variables": ["NAME"], "consumers": []}, **more)
    assert copies.undeclared([(holding, {"NAME": "old-secret-value"})]) == (
        [],
        [f"1 files below {app.parent} could not be read"],
    )
