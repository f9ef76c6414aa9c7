"""Rows that surprise: another shape than declared, an encrypted nothing, plaintexts that are encrypted, a second writer."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from keyturn.base.errors import KeyturnError
from keyturn.ground.rows.fernet_sqlite import FernetSqlite
from keyturn.ground.rows.side_file import SideFile
from keyturn.ground.rows.sqlite_file import Database
from keyturn.ground.rows.token_scan import Undeclared
from keyturn.host.phases import commit, holdings_info, stage
from support.faults import Host

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))
SPEC = {"database": "b.db", "columns": [{"table": "t", "key": ["id"], "column": "token", "plaintext": "^access-"}]}
ODD = Fernet(OLD).encrypt(b"test_access_token").decode()


def migration(folder: Path, *, new: bool = True, accepted: tuple[str, ...] = ()) -> FernetSqlite:
    return FernetSqlite(SPEC, folder, "KEY", {"old": OLD, "new": NEW} if new else {"old": OLD}, accepted)  # type: ignore[arg-type]


@contextlib.contextmanager
def written(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def fill(folder: Path, **rows: str) -> None:
    with written(folder / "b.db") as connection:
        connection.execute("CREATE TABLE t (id TEXT PRIMARY KEY, token TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows.items())


def stored(folder: Path) -> dict[str, str]:
    with written(folder / "b.db") as connection:
        return dict(connection.execute("SELECT id, token FROM t"))


def turned(folder: Path, encrypt: bool = False, **more: Any) -> tuple[FernetSqlite, SideFile, dict[str, Any]]:
    both, side = migration(folder, **more), SideFile(folder / "side.db")
    both.prepare(side, encrypt)
    return both, side, both.switch("new", side, encrypt)


def test_a_row_of_another_shape_is_turned_when_a_person_says_that_it_is_right(tmp_path: Path) -> None:
    fill(tmp_path, odd=ODD, usual=Fernet(OLD).encrypt(b"access-1").decode())
    with pytest.raises(KeyturnError, match=r"t\.token of 'odd' opens under the old value, but its plaintext"):
        migration(tmp_path).prepare(SideFile(tmp_path / "refused.db"), encrypt_plaintext=False)
    both, side, _ = turned(tmp_path, accepted=("odd",))
    assert Fernet(NEW).decrypt(stored(tmp_path)["odd"]) == b"test_access_token"
    assert both.open_rows()["under"] == {"old": 0, "new": 2}
    both.switch("old", side)
    assert stored(tmp_path)["odd"] == ODD, "it came back as it was"


def test_a_token_in_a_token_is_refused_though_its_row_is_accepted(tmp_path: Path) -> None:
    fill(tmp_path, odd=Fernet(OLD).encrypt(Fernet(OLD).encrypt(b"access-1")).decode())
    assert migration(tmp_path, accepted=("odd",)).open_rows()["refused"] == 1


def test_an_encrypted_nothing_is_a_row_like_others(tmp_path: Path) -> None:
    fill(tmp_path, **{f"r{number}": Fernet(OLD).encrypt(b"").decode() for number in range(150)})
    assert migration(tmp_path).open_rows()["under"] == {"old": 150, "new": 0}
    turned(tmp_path)
    assert {Fernet(NEW).decrypt(token) for token in stored(tmp_path).values()} == {b""}


def test_what_was_encrypted_is_told_also_by_a_switch_that_is_repeated(tmp_path: Path) -> None:
    fill(tmp_path, plain="access-1", usual=Fernet(OLD).encrypt(b"access-2").decode())
    both, side, said = turned(tmp_path, encrypt=True)
    assert said["encrypted"] == "t.token of 'plain' was plaintext and is encrypted"
    assert both.switch("new", side, True)["encrypted"] == said["encrypted"], "a kill has lost what was said"
    census = migration(tmp_path).open_rows() | Undeclared([], [], [], [])._asdict() | {"rows": {"plaintext": 1}}
    assert both.check_census(census, [], encrypt_plaintext=True) == ["1 rows are plaintext"]


def test_a_backup_that_fails_the_check_of_sqlite_is_none(tmp_path: Path) -> None:
    fill(tmp_path, usual=ODD)
    with written(tmp_path / "b.db") as connection:
        connection.executescript("CREATE TABLE bad (x); INSERT INTO bad VALUES (NULL); PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = 'CREATE TABLE bad (x NOT NULL)' WHERE name = 'bad'")
    target = tmp_path / "backup.db"
    with pytest.raises(KeyturnError, match="fails SQLite's check; run `PRAGMA integrity_check` on the database"):
        Database(tmp_path / "b.db").backup(target, online=True)
    assert not target.exists()


# -- on a host ---------------------------------------------------------------------------------------------------------


def write(host: Host, token: bytes) -> None:
    with written(host.lab.database) as connection:
        connection.execute("UPDATE plaid_items SET access_token = ? WHERE item_id = 'item-00002'", (token.decode(),))


def test_stage_and_verify_say_the_same_of_a_row_of_another_shape(host: Host) -> None:
    write(host, Fernet(host.old).encrypt(b"test_access_token"))
    with pytest.raises(KeyturnError) as refused:
        stage.run(host.rotation())
    assert holdings_info.run([host.rotation()])["problems"] == [str(refused.value)]
    for part in (
        "1 rows cannot be turned, nothing was changed: plaid_items.access_token of 'item-00002' opens under the current value",
        "declare its shape too",
        "keyturn_accept_shapes: {'item-00002': reason}",
    ):
        assert part in str(refused.value)
    assert "test_access_token" not in str(refused.value)
    accepting = dataclasses.replace(host.rotation(), accept_shapes={"item-00002": "written by the tests"})
    assert holdings_info.run([accepting])["problems"] == []
    findings = stage.run(accepting)["rotation"]["findings"]
    assert "accepted: the shape of item-00002 (written by the tests)" in findings
    with pytest.raises(KeyturnError, match="keyturn_accept_shapes of item-00002 must be 1 to 120 letters"):
        dataclasses.replace(accepting, accept_shapes={"item-00002": ""}).migration(
            {"DATABASE_ENCRYPTION_KEY": OLD}, None
        )


def test_the_old_key_is_not_released_while_a_row_needs_it(host: Host) -> None:
    host.go_to("decided")
    write(host, Fernet(host.old).encrypt(b"access-production-9"))
    with pytest.raises(KeyturnError) as refused:
        commit.run(host.rotation(), "finish")
    assert "1 rows still need the old value and 0 are refused; the old value is kept" in str(refused.value)
    assert "is likely another process that still has it (a worker, a script): stop it, then run resume.yml" in str(
        refused.value
    )
    assert host.state_file("previous.json").exists() and host.lab.journals()[0]["phase"] == "proved"
    write(host, Fernet(host.new).encrypt(b"access-production-9"))
    assert commit.run(host.rotation(), "finish")["rotation"]["outcome"] == "committed"


def test_a_row_under_a_stranger_key_names_the_likely_writer(host: Host) -> None:
    write(host, Fernet(Fernet.generate_key()).encrypt(b"access-production-9"))
    (problem,) = holdings_info.run([host.rotation()])["problems"]
    assert "(the current one does not open it); who writes under another value is likely another process" in problem
