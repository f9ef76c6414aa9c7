"""A secret whose rows are in two databases: each is its own evidence, and what is said of one has its name."""

from __future__ import annotations

import contextlib
import copy
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from keyturn.base.errors import KeyturnError
from keyturn.ground.rows import sqlite_file
from keyturn.ground.rows.sqlite_file import Database
from keyturn.ground.rows.sqlite_store import SqliteStore
from keyturn.host.journal import Journal
from keyturn.host.phases import evidence, finish, holdings_info, prepare, prune, rollback, stage, turn
from keyturn.inputs import catalogue
from keyturn.inputs.meaning import check_meaning
from keyturn.inputs.validation import services, validated
from support import lab
from support.faults import ROTATION_ID, VAULT, Host
from support.lab import KEY


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "host", vault=True)
    yield made
    made.stop()


def journal(host: Host) -> Journal:
    found = host.rotation().application.get(ROTATION_ID)
    assert found is not None
    return found


def in_vault(host: Host, sql: str, *values: Any) -> None:
    with contextlib.closing(sqlite3.connect(host.lab.app / "data/vault.db")) as connection, connection:
        connection.execute(sql, values)


def cut(monkeypatch: pytest.MonkeyPatch, database: str, to: str = "new") -> None:
    """End a switch before it touches a database."""
    ordinary = SqliteStore.switch

    def switch(store: SqliteStore, side: Any, encrypt_plaintext: bool = False) -> Any:
        if store.label == database and side == to:
            raise KeyturnError(f"{store.name}: the test ends it here")
        return ordinary(store, side, encrypt_plaintext)

    monkeypatch.setattr(SqliteStore, "switch", switch)


def test_both_are_turned_within_one_stop_and_each_is_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = stage.run(host.rotation())["rotation"]
    assert sum(staged["rows"].values()) == 24, "the rows of both are added up"
    turned: list[tuple[str, int]] = []
    ordinary = SqliteStore.switch

    def switch(store: SqliteStore, *given: Any) -> Any:
        turned.append((store.label, host.lab.get("/health")))
        return ordinary(store, *given)

    monkeypatch.setattr(SqliteStore, "switch", switch)
    found = turn.run(host.rotation(), "proved")["rotation"]
    assert turned == [("bank_accounts.db", 0), ("vault.db", 0)]
    shown = {line["subject"]: line["detail"] for line in found["proofs"] if line["proof"] == "rows"}
    assert {Path(name).name for name in shown} == {"bank_accounts.db", "vault.db"}
    assert shown[str(host.lab.app / "data/vault.db")] == "9 rows open under the new value, none under the other"
    assert found["turned"]["on_the_fly"] == 0 and found["turned"]["turned"] > 12
    host.learn()
    host.go_forward()
    host.check_ended("committed")
    ended = journal(host)
    assert ended.record["evidence"]["backup"] == {"ok": True, "rows": 24}
    assert [Path(part["path"]).parent.name for part in ended.backup["parts"]] == ["1", "2"]
    assert [Path(path).stat().st_mode & 0o777 for path in ended.backup["path"].split(", ")] == [0o600, 0o600]
    assert holdings_info.run([host.rotation()])["verified"]["db_key"]["rows"] == ended.rows


@pytest.mark.covering("database", "back")
@pytest.mark.parametrize("database", ["bank_accounts.db", "vault.db"])
@pytest.mark.parametrize("back", [False, True])
def test_a_switch_that_ends_between_the_two_goes_on_or_back(
    host: Host, monkeypatch: pytest.MonkeyPatch, database: str, back: bool
) -> None:
    host.go_to("prepared")
    with monkeypatch.context() as patch:
        cut(patch, database)
        with pytest.raises(KeyturnError, match=rf"{database}: the test ends it"):
            turn.run(host.rotation(), "switched")
    assert host.sides_of(host.lab.tokens) == ({"old"} if database == "bank_accounts.db" else {"new"})
    assert host.sides_of(host.vault) == {"old"}
    host.check_invariants()
    host.go_back() if back else host.go_forward()
    host.check_ended("rolled_back" if back else "committed")


def test_a_way_back_that_ends_between_the_two_is_gone_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.go_to("proved")
    with monkeypatch.context() as patch:
        cut(patch, "vault.db", to="old")
        with pytest.raises(KeyturnError, match=r"vault\.db: the test ends it"):
            host.go_back()
    assert (host.sides_of(host.lab.tokens), host.sides_of(host.vault)) == ({"old"}, {"new"})
    # one that cannot be turned back, and need not be, keeps no other on the new value
    cut(monkeypatch, "bank_accounts.db", to="old")
    host.go_back()
    host.check_ended("rolled_back")


def test_rows_that_are_left_are_told_with_their_database(host: Host) -> None:
    host.go_to("switched")
    stranger = Fernet(Fernet.generate_key()).encrypt(b"access-x").decode()
    in_vault(host, "INSERT INTO vault VALUES ('late', ?, 'n', 1)", stranger)
    with pytest.raises(
        KeyturnError, match=r"vault\.db is rejected: 1 rows are refused: vault\.secret of \"'late', 'n'\" opens under"
    ):
        turn.run(host.rotation(), "proved")
    # the way back leaves it, and says so with the name; that it is there keeps the proof from holding
    with pytest.raises(KeyturnError, match=r"vault\.db"):
        host.go_back()
    (told,) = [one for one in journal(host).findings if one.startswith("left as they are")]
    assert """/vault.db: vault.secret of "'late', 'n'\"""" in told and "bank_accounts" not in told
    in_vault(host, "DELETE FROM vault WHERE name = 'late'")
    host.go_back()


def test_a_row_that_needs_the_old_value_keeps_its_rotation_open(host: Host) -> None:
    host.go_to("decided")
    in_vault(host, "INSERT INTO vault VALUES ('late', ?, 'n', 1)", Fernet(host.old).encrypt(b"access-late").decode())
    with pytest.raises(KeyturnError, match=r"data/vault\.db: 1 rows still need the old value"):
        finish.run(host.rotation())
    in_vault(host, "DELETE FROM vault WHERE name = 'late'")
    finish.run(host.rotation())


REFUSED: list[tuple[str, tuple[str, ...], str]] = [
    ("UPDATE vault SET secret = ? WHERE name = 'vault-3'", ("gAAAAA" * 20,), r"vault\.db: 1 rows cannot be turned"),
    ("UPDATE vault SET note = secret WHERE name = 'vault-3'", (), r"vault\.db: tokens of this key stand where"),
    ("DELETE FROM vault", (), r"vault\.db: table vault has no rows"),
    ("DROP TABLE vault", (), r"vault\.db: the database has no table vault"),
]


def test_what_one_finds_or_refuses_has_its_name(host: Host) -> None:
    vault = host.lab.app / "data/vault.db"
    as_it_was = vault.read_bytes()
    for sql, values, said in REFUSED:
        in_vault(host, sql, *values)
        with pytest.raises(KeyturnError, match=said):
            stage.run(host.rotation())
        assert not host.lab.state.exists()
        vault.write_bytes(as_it_was)
    found = stage.run(host.rotation())["rotation"]["findings"]
    assert f"{vault}: 3 rows are plaintext and stay so" in found


def each_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "SECONDS", 0)
    monkeypatch.setattr(sqlite_file.pages, "__defaults__", ((), 5))


def test_calls_go_from_one_to_the_other(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    each_page(monkeypatch)
    host.go_to("staged")
    said = []
    while "progress" in (result := turn.run(host.rotation(), "prepared")):
        said.append((result["progress"]["done"], result["progress"]["total"]))
    assert said == [(5, 24), (10, 24), (12, 24), (17, 24), (22, 24)]
    assert result["rotation"]["prepared"]["read"] == 24
    assert turn.run(host.rotation(), "switched")["rotation"]["turned"]["on_the_fly"] == 0
    host.learn()
    host.go_forward()
    host.check_ended("committed")


@pytest.mark.parametrize(
    ("number", "harm"), [("1", lambda path: path.write_bytes(b"nonsense" * 500)), ("2", lambda path: path.unlink())]
)
def test_what_is_not_vouched_for_is_not_gone_on_with(
    host: Host, monkeypatch: pytest.MonkeyPatch, number: str, harm: Callable[[Path], None]
) -> None:
    each_page(monkeypatch)
    host.go_to("staged")
    for _ in range(4):
        turn.run(host.rotation(), "prepared")
    harm(journal(host).folder / number / "prepared.db")
    while "progress" in turn.run(host.rotation(), "prepared"):
        pass
    assert turn.run(host.rotation(), "switched")["rotation"]["turned"]["on_the_fly"] == 0
    host.learn()
    host.go_forward()
    host.check_ended("committed")


def test_one_that_cannot_be_copied_beside_the_service_has_all_copied_under_the_stop(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, bool, int]] = []
    ordinary = Database.backup

    def backup(database: Database, target: Path, online: bool) -> None:
        made.append((database.path.name, online, host.lab.get("/health")))
        if online and database.path.name == "vault.db":
            raise sqlite_file.RestartedTooOften
        ordinary(database, target, online)

    monkeypatch.setattr(Database, "backup", backup)
    host.go_to("switched")
    assert made[2:] == [("bank_accounts.db", False, 0), ("vault.db", False, 0)]
    assert evidence.restore_drill(host.rotation(), journal(host)) == {"ok": True, "rows": 24}
    host.go_forward()
    host.check_ended("committed")


def test_the_drill_names_the_backup_that_is_damaged_and_prune_removes_both(host: Host) -> None:
    host.go_to("prepared")
    first, second = journal(host).kept("backup")
    second.write_bytes(second.read_bytes()[:-1] + b"?")
    told = evidence.restore_drill(host.rotation(), journal(host))
    assert told == {
        "ok": False,
        "failure": f"{host.lab.app}/data/vault.db: the backup is not the file that was made: it is gone, or its checksum is another",
    }
    host.go_back()
    ended = journal(host)
    ended.update(backup={**ended.backup, "expires": "2020-01-01T00:00:00Z"})
    prune.run([host.rotation()])
    assert not first.exists() and not second.exists() and not ended.path("previous.json").exists()


def test_old_tokens_that_are_left_are_told_of_their_database(host: Host) -> None:
    host.go_to("switched")
    store = host.rotation().migration({KEY: host.old}, {KEY: host.new})
    assert store is not None and store.residue() == []
    with (host.lab.app / "data/vault.db").open("ab") as file:
        file.write(Fernet(host.old).encrypt(b"access-left"))
    (told,) = store.residue()
    assert told.startswith(f"{host.lab.app}/data/vault.db: vault.db still holds 1 ciphertexts")
    rollback.run(host.rotation(), "a test", abandon_commit=False)


SERVICES = services({"backend": {"manager": "systemd", "unit": "b", "health_url": "http://127.0.0.1/"}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda stores: stores.pop(), "migration several has 1 stores: it is for more than one"),
        (lambda stores: stores.clear(), "migration several has 0 stores"),
        (
            lambda stores: stores.append(VAULT | {"database": "data/../data/vault.db"}),
            r"data/vault\.db is in two stores of the migration",
        ),
        (lambda stores: stores[1].update(columns=[]), r"stores\[1\]: migration\.columns is empty"),
        (
            lambda stores: stores[1].pop("database"),
            "kind is fernet_sqlite but all of the following are missing: database",
        ),
        (lambda stores: stores[1].update(kind="several"), "must be one of: fernet_sqlite, got: several"),
        (lambda stores: stores[0].update(kind="none"), "must be one of: fernet_sqlite, got: none"),
    ],
)
def test_the_catalogue_refuses_by_name(change: Callable[[Any], None], said: str) -> None:
    shipped = lab.catalogue()["db_key"]
    stores = [shipped["migration"], VAULT]
    given = copy.deepcopy(shipped | {"migration": {"kind": "several", "stores": stores}, "probes": [{"kind": "rows"}]})
    check_meaning("db_key", validated("x", catalogue.ENTRY, given), SERVICES)
    change(given["migration"]["stores"])
    with pytest.raises(KeyturnError, match=said):
        check_meaning("db_key", validated("x", catalogue.ENTRY, given), SERVICES)
