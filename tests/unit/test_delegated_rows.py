"""Rows that a program of the application's turns: what it has done shows, and what it has done wrong is taken back."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from keyturn.base.errors import KeyturnError
from keyturn.ground.rows import program
from keyturn.host.phases import finish, prepare, stage, turn
from keyturn.host.rotation import Rotation
from keyturn.inputs import catalogue
from keyturn.inputs.meaning import check_meaning
from keyturn.inputs.validation import services, validated
from support import lab
from support.faults import Host

# what a program does, and what is said of it
WRONG = {
    "fails": r"ended with exit code 3: run it by hand on a copy",
    "leaves a row": r"has not turned them as they were \(1 are still under the old value\)",
    "takes another key": r"open under neither value: plaid_items\.access_token",
    "loses a plaintext": r"some do not hold what they held",
    "decrypts a row": r"has not turned them as they were",
}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "host", program=60)
    yield made
    made.stop()


def does(host: Host, fault: str) -> None:
    (host.lab.app / "fault").write_text(fault)


def ran(host: Host) -> int:
    return (host.lab.app / "ran").read_text().count("ran") if (host.lab.app / "ran").exists() else 0


def in_database(host: Host, sql: str, *values: Any) -> None:
    with contextlib.closing(sqlite3.connect(host.lab.database)) as connection, connection:
        connection.execute(sql, values)


def test_the_program_turns_the_rows_within_the_stop_and_they_are_proved_as_any(host: Host) -> None:
    does(host, "prints a lot")
    assert (prepare.would(host.rotation(), None), ran(host)) == ("", 0)
    stage.run(host.rotation())
    found = turn.run(host.rotation(), "prepared")["rotation"]
    assert "backup" not in found and "right before" in found["backup_deferred"]
    assert ran(host) == 0
    found = turn.run(host.rotation(), "proved")["rotation"]
    assert ran(host) == 1
    (shown,) = [line for line in found["proofs"] if line["proof"] == "rows"]
    assert shown["detail"] == f"{found['turned']['turned']} rows open under the new value, none under the other"
    host.learn()
    host.check_invariants()
    host.go_forward()
    host.check_ended("committed")
    assert host.journal()["evidence"]["backup"]["ok"], "the drill is that of the store which reads the rows"


@pytest.mark.parametrize("fault", WRONG)
def test_what_a_program_does_wrong_is_refused_and_taken_back(host: Host, fault: str) -> None:
    does(host, fault)
    host.go_to("prepared")
    with pytest.raises(KeyturnError, match=WRONG[fault]) as refused:
        turn.run(host.rotation(), "proved")
    assert host.old not in str(refused.value) and host.new not in str(refused.value)
    assert host.lab.get("/health") == 0
    host.go_back()
    host.check_ended("rolled_back")


@pytest.mark.parametrize("back", [False, True])
def test_one_that_has_no_end_is_killed_in_its_transaction(tmp_path: Path, back: bool) -> None:
    host = Host(tmp_path / "host", rows=400, program=3)
    does(host, "hangs")
    host.go_to("prepared")
    with pytest.raises(KeyturnError, match="did not end within 3 s"):
        turn.run(host.rotation(), "proved")
    does(host, "")
    host.more["entry"]["migration"]["turn"]["seconds"] = 60
    host.go_back() if back else host.go_forward()
    host.check_ended("rolled_back" if back else "committed")
    host.stop()


def test_what_it_leaves_running_is_ended(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "LEFT_SECONDS", 0.5)
    does(host, "leaves a process")
    host.go_to("proved")
    left = Path("/proc", (host.lab.app / "left").read_text(), "cmdline")
    assert not left.exists() or not left.read_bytes(), "it goes on"
    host.go_forward()
    host.check_ended("committed")


def test_one_that_a_killed_call_has_left_is_ended_before_its_rows_go_back(host: Host) -> None:
    host.go_to("prepared")
    lock = host.state_file("prepared.lock")
    with lock.open("x") as file, host.lab.database.open("rb") as database:
        fcntl.flock(file, fcntl.LOCK_EX)
        left = subprocess.Popen(["sleep", "1000"], pass_fds=[file.fileno(), database.fileno()])
    host.more["entry"]["migration"]["turn"]["seconds"] = 1
    turn.run(host.rotation(), "proved")
    assert left.wait() == -signal.SIGKILL
    host.go_back()
    host.check_ended("rolled_back")


@pytest.mark.parametrize("fault", ["deletes a row", "loses it under the old key"])
def test_what_is_gone_keeps_the_service_down_until_it_is_put_right(host: Host, fault: str) -> None:
    does(host, fault)
    host.go_to("prepared")
    with pytest.raises(KeyturnError, match="has not turned them as they were"):
        turn.run(host.rotation(), "proved")
    for _ in range(2):
        with pytest.raises(KeyturnError, match=r"not what the backup has either: put right .* then run rollback\.yml"):
            host.go_back()
        assert host.lab.get("/health") == 0
    with contextlib.closing(sqlite3.connect(host.lab.database)) as connection, connection:
        connection.execute("ATTACH ? AS kept", (str(host.state_file("backup.db")),))
        connection.execute("DELETE FROM plaid_items")
        connection.execute("INSERT INTO plaid_items SELECT * FROM kept.plaid_items")
    host.go_back()
    host.check_ended("rolled_back")


def test_what_the_application_has_written_since_survives_both_ways(host: Host) -> None:
    host.go_to("proved")
    in_database(
        host,
        "UPDATE plaid_items SET access_token = ? WHERE item_id = ?",
        Fernet(host.new).encrypt(b"access-late"),
        *last(host),
    )
    host.tokens[last(host)[0]] = host.lab.tokens[last(host)[0]] = "access-late"
    host.go_back()
    assert host.forms_under()[1] == {"old"}


def last(host: Host) -> list[str]:
    return [max(host.lab.tokens)]


def test_a_row_under_the_old_value_after_a_kill_is_the_applications_and_stays(host: Host) -> None:
    """Where nothing keeps a service from starting, it may write between a kill and the way back: it has the old value."""
    does(host, "takes another key")
    host.go_to("prepared")
    with pytest.raises(KeyturnError, match="open under neither"):
        turn.run(host.rotation(), "proved")
    late = Fernet(host.old).encrypt(b"access-late").decode()
    in_database(host, "UPDATE plaid_items SET access_token = ? WHERE item_id = ?", late, *last(host))
    with pytest.raises(
        KeyturnError, match=r"if they are right as they are, remove .*prepared\.before\.json"
    ) as refused:
        host.go_back()
    host.state_file("prepared.before.json").unlink()
    assert str(host.state_file("prepared.before.json")) in str(refused.value)
    host.go_back()
    host.tokens[last(host)[0]] = host.lab.tokens[last(host)[0]] = "access-late"
    assert host.forms_under()[1] == {"old"}


def test_a_host_that_takes_over_does_not_guess_what_the_rows_held(host: Host) -> None:
    host.go_to("prepared")
    item = last(host)[0]
    token = Fernet(host.new).encrypt(host.lab.tokens[item].encode()).decode()
    in_database(host, "UPDATE plaid_items SET access_token = ? WHERE item_id = ?", token, item)
    with pytest.raises(KeyturnError, match=r"1 rows are under the new value already .* another one has begun"):
        turn.run(host.rotation(), "proved")
    assert ran(host) == 0
    host.go_back()
    assert host.forms_under()[1] == {"old"}


def test_what_is_shown_to_be_right_is_not_turned_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.go_to("prepared")
    with monkeypatch.context() as patch:
        patch.setattr(Rotation, "replace_values", broken)
        with pytest.raises(KeyturnError, match="the test"):
            turn.run(host.rotation(), "proved")
    assert ran(host) == 1
    host.go_forward()
    assert ran(host) == 1
    host.check_ended("committed")


def broken(*_: object) -> None:
    raise KeyturnError("the test ends it here")


def test_a_program_that_was_cut_off_is_run_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    does(host, "fails")  # after it has turned the rows
    host.go_to("prepared")
    with pytest.raises(KeyturnError, match="exit code 3"):
        turn.run(host.rotation(), "proved")
    assert host.forms_under()[1] == {"new"}
    does(host, "")
    host.go_forward()
    assert ran(host) == 2
    host.check_ended("committed")


def test_a_row_that_needs_the_old_value_keeps_its_rotation_open(host: Host) -> None:
    host.go_to("decided")
    in_database(
        host,
        "UPDATE plaid_items SET access_token = ? WHERE item_id = ?",
        Fernet(host.old).encrypt(b"access-x"),
        *last(host),
    )
    with pytest.raises(KeyturnError, match="1 rows still need the old value"):
        finish.run(host.rotation())


SERVICES = services({"backend": {"manager": "systemd", "unit": "b", "health_url": "http://127.0.0.1/"}})
TURN: dict[str, Any] = {"command": ["./turn.sh"], "environment": {"KEYS": "{new},{old}"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"turn": ...}, r"kind is command .* missing: turn"),
        ({"rows": ...}, r"kind is command .* missing: rows"),
        ({"turn": TURN | {"command": ...}}, "missing required arguments: command"),
        ({"turn": TURN | {"online": True}}, "online"),
        ({"turn": TURN | {"command": []}}, r"turn\.command is empty: name the program"),
        ({"turn": TURN | {"environment": {}}}, r"turn tells \./turn\.sh no value: write \{new\}"),
        ({"turn": TURN | {"command": ["./turn.sh", "--key={new}"]}}, "a value in command would show"),
        ({"turn": TURN | {"seconds": 0}}, r"turn\.seconds is 0: give the program a second"),
        ({"rows": {"kind": "several"}}, "must be one of: fernet_sqlite, fernet_postgresql, got: several"),
        ({"rows": {"kind": "fernet_sqlite", "database": "a.db", "columns": []}}, r"rows: migration\.columns is empty"),
    ],
)
def test_an_entry_that_would_not_do_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    shipped = lab.catalogue()["db_key"]
    probes = [probe for probe in shipped["probes"] if probe["kind"] != "fernet_rows"]
    migration = {"kind": "command", "turn": TURN, "rows": shipped["migration"]}
    check(shipped | {"migration": migration, "probes": probes})
    wrong = {name: value for name, value in (migration | without(change)).items() if value is not ...}
    with pytest.raises(KeyturnError, match=message):
        check(shipped | {"migration": wrong, "probes": probes})


def without(change: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {key: one for key, one in value.items() if one is not ...} if isinstance(value, dict) else value
        for name, value in change.items()
    }


def test_with_a_list_of_keys_no_program_turns_rows() -> None:
    shipped = lab.catalogue()["db_key"]
    migration = {"kind": "command", "turn": TURN, "rows": shipped["migration"]}
    with pytest.raises(KeyturnError, match="with overlap key_list the application serves"):
        check(shipped | {"migration": migration, "overlap": "key_list", "probes": [{"kind": "rows"}]})


def check(entry: dict[str, Any]) -> None:
    check_meaning("db_key", validated("db_key", catalogue.ENTRY, entry), SERVICES)


def test_a_program_that_cannot_be_run_is_told_before_anything_stops(host: Host) -> None:
    host.more["entry"]["migration"]["turn"]["command"] = ["./nothing"]
    with pytest.raises(KeyturnError, match=r"\./nothing is no program that can be run there"):
        stage.run(host.rotation())
    host.more["entry"]["migration"]["turn"]["command"] = ["true"]
    host.more["encrypt_plaintext_rows"] = True
    with pytest.raises(KeyturnError, match="unset keyturn_encrypt_plaintext_rows: true turns its rows"):
        stage.run(host.rotation())
    assert host.lab.get("/health") == 200
