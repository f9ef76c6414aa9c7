"""A list of keys: all processes read the new one, then write under it, the rows follow while they serve, and the old key goes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from dotenv import dotenv_values, set_key
from keyturn.base.errors import KeyturnError
from keyturn.fleet.answers import Work
from keyturn.ground.rows import sqlite_file
from keyturn.ground.rows.sqlite_file import RestartedTooOften
from keyturn.ground.rows.sqlite_store import SqliteStore
from keyturn.host.phases import holdings_info, key_list, prepare, restart, rollback, stage, turn
from keyturn.inputs import catalogue as shapes
from keyturn.inputs import meaning
from keyturn.inputs.validation import services as with_defaults
from keyturn.inputs.validation import validated
from support.faults import Host
from support.lab import KEY, catalogue

LIST = {"overlap": "key_list", "key_list": {"separator": ",", "grace_seconds": 0}}


def listed(**more: Any) -> dict[str, Any]:
    return catalogue()["db_key"] | LIST | more


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Host]:
    """A host with a value of its own."""
    made = Host(tmp_path / "host", entry=listed(value="per_host"))
    yield made
    made.stop()


@pytest.fixture(params=["per_host", "shared"])
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    made = Host(tmp_path / "host", entry=listed(value=request.param))
    yield made
    made.stop()


def held(host: Host) -> list[str]:
    """The keys in the file, by side."""
    names = {host.old: "old", host.new: "new"}
    return [names[key] for key in str(dotenv_values(host.lab.env)[KEY]).split(",")]


STEPS = {
    # what the file holds, and what rows are under
    "prepared": (["old"], {"old"}),
    "accepts": (["old", "new"], {"old"}),
    "leads": (["new", "old"], {"old"}),
    "turned": (["new", "old"], {"new"}),
    "switched": (["new"], {"new"}),
    "proved": (["new"], {"new"}),
}


def steps(host: Host) -> list[str]:
    own = host.more["entry"]["value"] == "per_host"
    return [step for step in STEPS if not (own and step == "accepts")]


def test_each_step_leaves_a_host_that_serves(host: Host) -> None:
    stage.run(host.rotation())
    host.learn()
    for step in steps(host):
        turn.run(host.rotation(), step)
        assert (held(host), host.forms_under()[1]) == STEPS[step], step
        assert host.lab.get("/health") == 200
    host.go_forward()
    host.check_ended("committed")
    assert [turn.run(host.rotation(), step)["changed"] for step in steps(host)] == [False] * len(steps(host))


@pytest.mark.covering("host", until=lambda until: str(STEPS[until]))
@pytest.mark.parametrize("until", STEPS)
def test_each_step_can_go_back(host: Host, until: str) -> None:
    stage.run(host.rotation())
    host.learn()
    for step in steps(host):
        turn.run(host.rotation(), step)
        if step == until:
            break
    if host.more["entry"]["value"] == "shared":
        rollback.run(host.rotation(), "a test", abandon_commit=False, until="accepts")
        assert held(host) == (["old"] if until == "prepared" else ["old", "new"])
    host.go_back()
    host.check_ended("rolled_back")


def to(host: Host, phase: str) -> None:
    """Take a host with a value of its own to a phase, and know the new one."""
    stage.run(host.rotation())
    turn.run(host.rotation(), phase)
    host.learn()


def write(host: Host, key: str, item: str = "late") -> None:
    """As the application does: a row under a key."""
    with contextlib.closing(sqlite3.connect(host.lab.database)) as connection, connection:
        token = f"access-{item}"
        connection.execute(
            "INSERT OR REPLACE INTO plaid_items (item_id, access_token) VALUES (?, ?)",
            (item, Fernet(key).encrypt(token.encode()).decode()),
        )
    host.tokens[item] = token


# -- no host goes on before every other one is there ---------------------------------------------------------------------


@pytest.mark.covering()
@pytest.mark.parametrize(
    ("at", "until", "why"),
    [
        ("prepared", "leads", "does not read the new key yet"),
        ("accepts", "turned", "does not write under the new key yet"),
        ("leads", "proved", "does not have no row under the old value yet"),
    ],
)
def test_a_host_that_shares_the_value_takes_no_step_before_the_one_before(
    tmp_path: Path, at: str, until: str, why: str
) -> None:
    host = Host(tmp_path / "host", entry=listed(value="shared"))
    try:
        stage.run(host.rotation())
        for step in list(STEPS)[: list(STEPS).index(at) + 1]:
            turn.run(host.rotation(), step)
        with pytest.raises(KeyturnError, match=f"{why}.*run resume.yml"):
            turn.run(host.rotation(), until)
        host.go_back()
    finally:
        host.stop()


def test_what_a_call_does() -> None:
    own, shared = (
        [
            turn.steps("key_list", value, until)
            for until in ("prepared", "accepts", "leads", "turned", "switched", "proved")
            if (value, until) != ("per_host", "accepts")
        ]
        for value in ("per_host", "shared")
    )
    assert own[-1] == ("back_up", "lead", "reencrypt", "drop", "prove")
    assert shared == [("back_up",), ("back_up", "accept"), ("lead",), ("reencrypt",), ("drop",), ("drop", "prove")]
    assert turn.steps("none_needed", "shared", "proved") == ("prepare", "switch", "prove")


# -- who writes under the old key ----------------------------------------------------------------------------------------


def test_a_row_that_comes_under_the_old_key_in_the_grace_time_keeps_it(
    own: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.run(own.rotation())
    grace = SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: write(own, own.old))
    monkeypatch.setattr(key_list, "time", grace)
    with pytest.raises(
        KeyturnError, match=r"bank_accounts\.db: 1 rows were written under the old value after all .* kept"
    ):
        turn.run(own.rotation(), "proved")
    own.learn()
    assert held(own) == ["new", "old"] and own.journal()["phase"] == "turning"
    monkeypatch.undo()
    own.go_forward()
    assert own.forms_under()[1] == {"new"} and own.journal()["outcome"] == "committed"


def test_a_row_that_comes_after_the_census_keeps_the_old_key(own: Host) -> None:
    to(own, "turned")
    write(own, own.old)
    with pytest.raises(KeyturnError, match="1 rows were written under the old value after all of them had been turned"):
        turn.run(own.rotation(), "proved")
    assert held(own) == ["new", "old"]
    own.go_back()
    assert own.forms_under()[1] == {"old"} and own.journal()["outcome"] == "rolled_back"


def test_who_never_ends_to_write_under_the_old_key_is_told(own: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    look, seen = SqliteStore.turn_online, []

    def again(store: SqliteStore, *given: Any) -> Any:
        write(own, own.old, f"late-{len(seen)}")
        seen.append(look(store, *given))
        return seen[-1]._replace(left=1)

    stage.run(own.rotation())
    monkeypatch.setattr(SqliteStore, "turn_online", again)
    with pytest.raises(KeyturnError, match="rows were written under the old value"):
        turn.run(own.rotation(), "turned")
    assert len(seen) == 1 + key_list.PASSES
    monkeypatch.undo()
    own.learn()
    own.go_back()


HOLD = """\
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1])
connection.execute("select 1 from plaid_items")
print(flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def holding(host: Host) -> Iterator[subprocess.Popen[bytes]]:
    """A process that nobody has declared, and that has the database open from now on."""
    command = [sys.executable, "-c", HOLD, str(host.lab.database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.fixture
def worker(own: Host) -> Iterator[subprocess.Popen[bytes]]:
    """One that has it open from before the rotation."""
    with holding(own) as process:
        yield process


@pytest.mark.parametrize("phase", ["turned", "proved"])
def test_a_worker_that_was_not_restarted_is_named_and_the_old_key_stays(
    own: Host, worker: subprocess.Popen[bytes], phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        if phase == "proved":
            patch.setattr(restart.procfs, "holders", lambda files: [])
            to(own, "turned")
        else:
            to(own, "leads")
    with pytest.raises(KeyturnError, match=rf"\(pid {worker.pid}\) has the data open since before .*stop it"):
        turn.run(own.rotation(), phase)
    assert held(own) == ["new", "old"]
    worker.kill()
    worker.wait()
    own.go_forward()
    own.check_ended("committed")


@pytest.mark.covering()
@pytest.mark.parametrize("forgotten", ["old", "old,new"])
def test_a_process_with_another_list_in_its_environment_is_named(own: Host, forgotten: str) -> None:
    to(own, "leads")
    given = ",".join({"old": own.old, "new": own.new}[side] for side in forgotten.split(","))
    with subprocess.Popen(["sleep", "600"], env={KEY: given}) as process:
        try:
            with pytest.raises(
                KeyturnError, match=rf"process {process.pid} \(sleep\) has {KEY} in its environment.*stop it"
            ):
                turn.run(own.rotation(), "turned")
        finally:
            process.kill()
    turn.run(own.rotation(), "turned")
    own.go_back()


def test_going_back_waits_for_who_writes_under_the_new_key(own: Host) -> None:
    to(own, "leads")
    with holding(own) as worker:
        with pytest.raises(KeyturnError, match=rf"\(pid {worker.pid}\) has the data open since before"):
            own.go_back()
        assert held(own) == ["old", "new"], "it can be read by all"
    own.go_back()
    own.check_ended("rolled_back")


# -- what the evidence says ----------------------------------------------------------------------------------------------


def test_a_third_value_stops_everything_and_each_of_the_lists_is_known(own: Host) -> None:
    to(own, "leads")
    right = str(dotenv_values(own.lab.env)[KEY])
    third = f"{Fernet.generate_key().decode()},{right}"
    set_key(own.lab.env, KEY, third, quote_mode="never")
    with pytest.raises(KeyturnError, match="neither the old value"):
        turn.run(own.rotation(), "proved")
    with pytest.raises(KeyturnError, match="neither the old value"):
        own.go_back()
    set_key(own.lab.env, KEY, right, quote_mode="never")
    own.go_back()


@pytest.mark.covering()
@pytest.mark.parametrize("separator", [",", ";", "|"])
def test_a_list_of_before_is_turned_whole_and_only_the_new_key_is_left(tmp_path: Path, separator: str) -> None:
    host = Host(
        tmp_path / "host", entry=listed(value="per_host", key_list={"separator": separator, "grace_seconds": 0})
    )
    try:
        older = Fernet.generate_key().decode()
        with contextlib.closing(sqlite3.connect(host.lab.database)) as connection, connection:
            connection.execute("DROP TRIGGER touched")
        write(host, older, "oldest")
        both = f"{host.old}{separator}{older}"
        host.lab.env.write_text(host.lab.env.read_text().replace(host.old, both))
        host.stop()
        host.start()
        before = dotenv_values(host.lab.env)
        assert holdings_info.run([host.rotation()])["problems"] == []
        to(host, "turned")
        assert dotenv_values(host.lab.env)[KEY] == f"{host.stored_values()['pending.json']}{separator}{both}"
        host.new = host.stored_values()["pending.json"]
        assert host.forms_under()[1] == {"new"}
        host.save("turned")
        host.go_back()
        same = dotenv_values(host.lab.env) == before
        assert same and host.journal()["outcome"] == "rolled_back"
        host.restore("turned")
        host.go_forward()
        assert dotenv_values(host.lab.env)[KEY] == host.new
        assert host.journal()["evidence"]["backup"] == {"ok": True, "rows": 13}
    finally:
        host.stop()


def test_a_service_that_does_not_take_a_list_goes_back_with_every_row(own: Host) -> None:
    script = own.lab.app / "start.sh"
    script.write_text(script.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\ngrep -q '^{KEY}=.*,' .env && exit 3\n", 1))
    stage.run(own.rotation())
    with pytest.raises(KeyturnError, match="exit code 3"):
        turn.run(own.rotation(), "proved")
    own.learn()
    # going back needs both keys only where one was in use
    own.go_back()
    own.check_ended("rolled_back")


# -- long work, and what needs none -------------------------------------------------------------------------------------


class Killed(BaseException):
    """The end of a process: nothing of ours handles it."""


@pytest.mark.parametrize("at", ["stamp", "stop", "instant"])
@pytest.mark.parametrize("way", ["forward", "back"])
def test_what_was_killed_before_a_restart_goes_on(
    own: Host, monkeypatch: pytest.MonkeyPatch, at: str, way: str
) -> None:
    """Whatever the journal has by then: a host with a value of its own has not been restarted yet."""

    def killed(*_: object) -> None:
        raise Killed

    stage.run(own.rotation())
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(restart, at, killed)
        turn.run(own.rotation(), "proved")
    own.learn()
    own.go_forward() if way == "forward" else own.go_back()
    own.check_ended("committed" if way == "forward" else "rolled_back")


def test_rows_are_turned_in_calls_that_go_on(own: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "SECONDS", 0)
    monkeypatch.setattr(sqlite_file.pages, "__defaults__", ((), 5))
    stage.run(own.rotation())
    work, said, lines = Work("turn", "here"), [], []
    while "progress" in (result := turn.run(own.rotation(), "proved")):
        said.append((result["progress"]["done"], result["progress"]["total"]))
        lines.append(work.left({**result}))
        assert result["rotation"]["phase"] == "turning"
    own.learn()
    assert said == [(5, 12), (10, 12), (12, 12)]
    assert lines[0].startswith("5 of 12 rows turned, ")
    own.go_forward()
    own.check_ended("committed")


def test_an_application_that_writes_as_fast_as_rows_are_read_is_an_end(
    own: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "SECONDS", 0)
        patch.setattr(prepare, "MORE_ROWS", -2 * len(own.tokens) + 7)
        patch.setattr(sqlite_file.pages, "__defaults__", ((), 5))
        stage.run(own.rotation())
        assert turn.run(own.rotation(), "proved")["progress"]["done"] == 5
        with pytest.raises(KeyturnError, match=r"10 rows have been read, and there were 12: something writes them"):
            turn.run(own.rotation(), "proved")
    own.learn()
    own.go_forward()
    own.check_ended("committed")


def test_a_backup_that_the_application_does_not_let_be_made_is_made_between_two_starts(
    own: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, backup = [], sqlite_file.Database.backup

    def often(self: Any, target: Path, online: bool) -> None:
        made.append((online, own.lab.get("/health")))
        if online:
            raise RestartedTooOften
        backup(self, target, online)

    monkeypatch.setattr(sqlite_file.Database, "backup", often)
    to(own, "leads")
    assert made == [(True, 200), (False, 0)]
    first = own.journal()["downtime_seconds"]
    own.go_forward()
    own.check_ended("committed")
    assert own.journal()["downtime_seconds"] > first > 0, "the downtime is that of all restarts"


def test_check_mode_says_each_step_and_changes_nothing(own: Host) -> None:
    before = own.lab.env.read_bytes(), own.lab.database.read_bytes()
    dry = own.rotation().__class__(**{**own.rotation().__dict__, "check_mode": True})
    stage.run(own.rotation())
    said = turn.run(dry, "proved")["would"].splitlines()
    assert [line.split()[0] for line in said] == ["back", "have", "turn", "take", "prove"]
    assert (own.lab.env.read_bytes(), own.lab.database.read_bytes()) == before
    own.go_back()


# -- the catalogue -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"migration": {"kind": "none"}}, "overlap key_list goes with a migration"),
        ({"value": "shared", "switch": "together"}, "and with switch rolling"),
        ({"key_list": {"separator": ""}}, "must be characters that are in no key"),
        ({"key_list": {"separator": "="}}, "must be characters that are in no key"),
        ({"key_list": {"separator": "x"}}, "must be characters that are in no key"),
        ({"key_list": {"grace_seconds": -1}}, "give a number from 0 on"),
    ],
)
def test_a_list_that_cannot_be_is_refused(more: dict[str, Any], why: str) -> None:
    known = with_defaults({"backend": {"manager": "systemd", "unit": "b", "health_url": "http://127.0.0.1:1/h"}})
    good = validated("entry", shapes.ENTRY, listed())
    meaning.check_meaning("db_key", good, known)
    assert good["key_list"] == {"separator": ",", "grace_seconds": 0}
    with pytest.raises(KeyturnError, match=why):
        meaning.check_meaning("db_key", validated("entry", shapes.ENTRY, listed(**more)), known)


def test_rows_in_clear_stay_so_and_that_is_said_before_anything_changes(own: Host) -> None:
    own.more["encrypt_plaintext_rows"] = True
    with pytest.raises(KeyturnError, match="unset keyturn_encrypt_plaintext_rows"):
        stage.run(own.rotation())
    assert not own.journal()


def test_no_key_of_a_list_is_shown(own: Host) -> None:
    shown: list[str] = []
    rotation = own.rotation()
    stage.run(rotation)
    turn.run(rotation.__class__(**{**rotation.__dict__, "hide": shown.extend}), "proved")
    own.learn()
    assert {own.old, own.new, f"{own.new},{own.old}"} <= set(shown)
    texts = [json.dumps(own.journal()), *(path.read_text() for path in own.lab.state.rglob("journal.json"))]
    assert not any(key in text for text in texts for key in (own.old, own.new))
    own.go_back()
