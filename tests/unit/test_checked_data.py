"""Data in a form that nobody but the application reads: its own programs turn it, and its own check is what shows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.fleet import run_state
from keyturn.ground.rows import command_checked
from keyturn.host.phases import holdings_info, rollback, switch, turn
from keyturn.host.rotation import Rotation
from keyturn.inputs import catalogue
from keyturn.inputs.meaning import check_meaning
from keyturn.inputs.validation import services, validated
from support import lab, others
from support.faults import Host
from support.others import give
from support.turning import CHECKED, NO_INVERSE, WORD, keep_in_vault, program, read, write


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "host")
    keep_in_vault(made)
    yield made
    made.stop()


def does(host: Host, fault: str) -> None:
    (host.lab.app / "fault").write_text(fault)


def ran(host: Host) -> list[str]:
    return (host.lab.app / "ran").read_text().split()


def test_programs_turn_it_and_what_nobody_has_shown_is_said(host: Host) -> None:
    host.go_to("prepared")
    assert set(ran(host)) == {"check"}
    found = turn.run(host.rotation(), "proved")["rotation"]
    (line,) = [line for line in found["proofs"] if line["proof"] == "rows"]
    assert line["detail"].endswith(" accepts the new value and no other")
    assert any("that it holds what it held was not shown" in finding for finding in found["findings"])
    host.go_forward()
    ended = host.journal()
    assert (ended["outcome"], read(host), host.lab.key() != host.old) == ("committed", "first", True)
    assert not ended["evidence"]["backup"]["ok"] and "was not tried" in ended["evidence"]["backup"]["failure"]
    assert [what for what in ran(host) if what != "check"] == ["backup", "turn"]
    assert host.state_file("backup.data").stat().st_mode & 0o777 == 0o600
    assert holdings_info.run([host.rotation()])["verified"]["db_key"]["problems"] == []


WRONG = {
    "turn": "which turns it, ended with exit code 3",
    "takes another key": r"has ended well, and .* does not accept the new value alone",
    "does nothing": "has ended well",
}


@pytest.mark.parametrize("fault", WRONG)
def test_before_the_service_starts_again_the_backup_is_put_back(host: Host, fault: str) -> None:
    host.go_to("prepared")
    does(host, fault)
    with pytest.raises(KeyturnError, match=WRONG[fault]):
        turn.run(host.rotation(), "proved")
    assert host.lab.get("/health") == 0
    host.go_back()
    assert (host.journal()["outcome"], read(host), host.lab.key()) == ("rolled_back", "first", host.old)
    assert ran(host).count("restore") == 1 and "back" not in ran(host)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("fault", ["", "does nothing"])
def test_all_programs_are_run_as_the_applications_user(fault: str) -> None:
    with others.ground() as app:
        host = Host(app.parent / "host", theirs=True)
        keep_in_vault(host)
        does(host, fault)
        give(host.lab.app, *host.lab.app.rglob("*"))
        host.go_to("prepared")
        if fault:
            with pytest.raises(KeyturnError, match="has ended well"):
                turn.run(host.rotation(), "proved")
            host.go_back()
        else:
            host.go_forward()
        host.check_owners()
        assert (read(host), (host.lab.app / "ran").stat().st_uid) == ("first", others.NOBODY)
        host.stop()


def test_what_was_written_since_is_turned_back_and_not_lost(host: Host) -> None:
    host.go_to("proved")
    write(host, host.new, "later")
    host.go_back()
    assert (host.journal()["outcome"], read(host), host.lab.key()) == ("rolled_back", "later", host.old)
    assert "restore" not in ran(host) and ran(host).count("back") == 1


@pytest.mark.parametrize("phase", ["prepared", "switching", "switched"])
def test_without_an_inverse_the_backup_is_put_back_until_the_service_starts(
    host: Host, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_vault(host, NO_INVERSE)
    host.go_to("prepared")
    does(host, "takes another key" if phase == "switching" else "")
    with monkeypatch.context() as patch:
        patch.setattr(switch, "open_start_gate", ended_here)
        if phase != "prepared":
            with pytest.raises(KeyturnError):
                turn.run(host.rotation(), "proved")
    assert host.journal()["phase"] == phase
    host.go_back()
    assert (host.journal()["outcome"], read(host), host.lab.key()) == ("rolled_back", "first", host.old)
    assert (ran(host).count("restore"), "lost_writes" in host.journal()) == (phase != "prepared", False)


@pytest.mark.parametrize("until", ["allowed", "rolled_back"])
def test_without_an_inverse_nothing_that_was_written_is_lost_without_a_word(host: Host, until: str) -> None:
    keep_in_vault(host, NO_INVERSE)
    host.go_to("proved")
    write(host, host.new, "later")
    before = host.journal()
    with pytest.raises(KeyturnError, match=REFUSED):
        rollback.run(host.rotation(), "a test", abandon_commit=False, until=until)
    with pytest.raises(KeyturnError, match=REFUSED):
        rollback.run(replace(host.rotation(), check_mode=True), "a test", abandon_commit=False, until=until)
    assert (host.journal(), read(host), host.lab.key()) == (before, "later", host.new)
    assert (host.lab.get("/health"), "restore" in ran(host)) == (200, False)
    host.go_forward()
    assert (host.journal()["outcome"], read(host)) == ("committed", "later")


MOMENT = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"
REFUSED = (
    rf"no inverse \(`back`\), its backup is of {MOMENT}, and the service was started on the new value at {MOMENT}: .* lose "
    r"what was written between then and now, .* resume\.yml goes forward; to go back and lose it: rollback\.yml -e "
    r"'\{.keyturn_override_lost_writes.: .REASON.\}'$"
)


@pytest.mark.parametrize("fails", ["nothing", "restore", "proof"])
def test_with_a_word_the_backup_is_put_back_and_what_is_lost_is_kept_in_mind(
    host: Host, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_vault(host, NO_INVERSE)
    host.go_to("proved")
    write(host, host.new, "later")
    host.more |= WORD
    rollback.run(host.rotation(), "a test", abandon_commit=False, until="allowed")
    told = rollback.run(replace(host.rotation(), check_mode=True), "a test", abandon_commit=False)["would"]
    assert "from phase proved, and lose what was written since 20" in told
    assert (read(host), host.journal().get("decision")) == ("later", None)
    with monkeypatch.context() as patch:
        does(host, fails)
        if fails == "proof":
            patch.setattr(rollback, "prove_back", ended_here)
        if fails != "nothing":
            with pytest.raises(KeyturnError):
                host.go_back()
            assert host.lab.get("/health") == (0 if fails == "restore" else 200)
            host.more |= {"overrides": {}}  # it was given, and the journal has it
    does(host, "")
    # what is written on the old value stays
    last = "afterwards" if fails == "proof" else "first"
    write(host, host.lab.key(), "afterwards" if fails == "proof" else "later")
    host.go_back()
    ended = host.journal()
    assert (ended["outcome"], read(host), host.lab.key()) == ("rolled_back", last, host.old)
    assert re.fullmatch(
        rf"since {MOMENT}, by the backup of {MOMENT}, on the word of .+ \(the desk agreed\)", ended["lost_writes"]
    )
    assert (ran(host).count("restore"), host.lab.get("/health")) == (2 if fails == "restore" else 1, 200)


def test_no_host_goes_back_before_all_may() -> None:
    switched: Any = {"rotation_turned": {"changed": True}}
    may, staged = {"rotation_allowed": {"changed": False}}, {"rotation_turned": {"skipped": True}}
    lost: Any = {"rotation_allowed": {"failed": True, "msg": "no answer"}}
    assert run_state.held_back({"a": switched | may, "b": switched | lost, "c": staged | lost}) == ["b"]
    assert run_state.held_back({"a": switched | may, "b": staged | may}) == []


def test_a_backup_that_is_another_is_not_put_back_on_any_word(host: Host) -> None:
    keep_in_vault(host, NO_INVERSE)
    host.go_to("proved")
    host.state_file("backup.data").write_text("another")
    host.more |= WORD
    with pytest.raises(KeyturnError, match=r"not the file that was made: .* so it only goes forward: run resume\.yml"):
        host.go_back()
    assert (read(host), host.lab.key(), host.lab.get("/health")) == ("first", host.new, 200)


@pytest.mark.parametrize(("fault", "began"), [("restore", True), ("reads no backup", True), ("back", False)])
def test_a_way_back_that_fails_keeps_the_service_down(host: Host, fault: str, began: bool) -> None:
    host.go_to("prepared" if began else "proved")
    if began:
        does(host, "does nothing")
        with pytest.raises(KeyturnError, match="has ended well"):
            turn.run(host.rotation(), "proved")
    kept = (host.lab.app / "data/vault").read_bytes()
    does(host, fault)
    for _ in range(2):
        with pytest.raises(KeyturnError, match="ended with exit code 3"):
            host.go_back()
        assert host.lab.get("/health") == 0
    does(host, "")
    (host.lab.app / "data/vault").write_bytes(kept)
    host.go_back()
    assert (host.journal()["outcome"], read(host), host.lab.key()) == ("rolled_back", "first", host.old)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("accepts all", "does not accept the old value alone, so it would show nothing"),
        ("check", r"accepts none of the values: nothing shows which value opens it"),
    ],
)
def test_a_check_that_shows_nothing_is_refused_before_anything_stops(host: Host, fault: str, message: str) -> None:
    does(host, fault)
    with pytest.raises(KeyturnError, match=message):
        host.go_to("prepared")
    assert host.lab.get("/health") == 200


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("backup", "which makes a backup, ended with exit code 3"),
        ("prints nothing", "has printed nothing: it prints the backup"),
        ("prints a lot", r"has printed more than the disk takes \(0 MiB\)"),
    ],
)
def test_without_a_backup_nothing_is_turned(
    host: Host, fault: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "prints a lot":
        left = SimpleNamespace(free=command_checked.SPARE_BYTES + (64 << 10))
        monkeypatch.setattr(command_checked, "shutil", SimpleNamespace(disk_usage=lambda folder: left))
    host.go_to("prepared")
    does(host, fault)
    with pytest.raises(KeyturnError, match=message):
        turn.run(host.rotation(), "proved")
    assert "turn" not in ran(host)
    does(host, "")
    if fault == "backup":
        write(host, host.old, "first")
    host.go_back()
    assert (read(host), host.lab.key()) == ("first", host.old)


@pytest.mark.parametrize("back", [False, True])
def test_a_call_that_ends_after_the_turn_converges(host: Host, back: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    host.go_to("prepared")
    with monkeypatch.context() as patch:
        patch.setattr(Rotation, "replace_values", ended_here)
        with pytest.raises(KeyturnError, match="the test"):
            turn.run(host.rotation(), "proved")
    host.go_back() if back else host.go_forward()
    assert (read(host), host.lab.key() == host.old) == ("first", back)
    assert ran(host).count("turn") == 1


def ended_here(*_: object) -> None:
    raise KeyturnError("the test ends it here")


def test_a_check_that_fails_later_keeps_nothing_down_where_nothing_was_turned(host: Host) -> None:
    host.go_to("prepared")
    does(host, "accepts all")
    with pytest.raises(KeyturnError, match="and nothing was turned here"):
        turn.run(host.rotation(), "proved")
    with pytest.raises(KeyturnError, match=r"the old value is back, but proof rows .* accepts both values"):
        host.go_back()
    assert (host.lab.get("/health"), read(host)) == (200, "first")
    assert not {"turn", "back", "restore"} & set(ran(host))
    does(host, "")
    host.go_back()


def test_a_host_that_takes_over_goes_back_where_nothing_is_clear(host: Host) -> None:
    host.go_to("prepared")
    (host.lab.app / "data/vault").write_bytes(b"half turned")
    with pytest.raises(KeyturnError, match=r"and nothing was turned here: run rollback\.yml"):
        turn.run(host.rotation(), "proved")
    assert "turn" not in ran(host)
    host.learn()
    write(host, host.new, "later")
    host.more["entry"] = host.more["entry"] | {"migration": CHECKED | {"shared": True}}
    host.go_back()
    assert (read(host), ran(host).count("back")) == ("later", 1)


def test_a_host_that_leaves_shared_data_to_another_asks_the_check_as_well(host: Host) -> None:
    host.more |= {"speaks": False, "speaker": "another"}
    host.go_to("staged")
    with pytest.raises(KeyturnError, match="its rows are not known to be under the new value, and another turns them"):
        turn.run(host.rotation(), "switched")
    assert set(ran(host)) == {"check"}
    host.learn()
    write(host, host.new, "first")
    turn.run(host.rotation(), "proved")
    write(host, host.old, "first")
    host.go_back()
    assert set(ran(host)) == {"check"}


SERVICES = services({"backend": {"manager": "systemd", "unit": "b", "health_url": "http://127.0.0.1/"}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({name: ...}, f"missing: {name}") for name in command_checked.PROGRAMS if name != "back"),
        ({"turn": program("turn")}, r"turn tells .* no value: write \{new\}"),
        ({"back": program("back")}, r"back tells .* no value: write \{old\}"),
        ({"check": program("check", input="{new}")}, r"check tells .* no value: write \{value\}"),
        ({"backup": program("backup") | {"command": []}}, r"backup\.command is empty"),
        ({"restore": program("restore") | {"command": ["./r", "{old}"]}}, "a value in command would show"),
        ({"check": CHECKED["check"] | {"seconds": 0}}, r"check\.seconds is 0"),
        (
            {"back": program("back", input="{old} {value}")},
            r"back has \{value\}, and its places are \{new\} and \{old\}",
        ),
        ({"check": program("check", input="{value} {old}")}, r"check has \{old\}, and its places are \{value\}"),
        ({"shared": True}, "the rows of the migration command_checked are one for all hosts"),
    ],
)
def test_an_entry_that_would_not_do_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    entry = lab.catalogue()["db_key"] | {"probes": [{"kind": "rows"}]}

    def check(migration: dict[str, Any], **more: Any) -> None:
        given = {name: value for name, value in migration.items() if value is not ...}
        check_meaning("db_key", validated("db_key", catalogue.ENTRY, entry | {"migration": given} | more), SERVICES)

    check(CHECKED)
    check(NO_INVERSE)
    check(CHECKED, value="shared", switch="together")
    with pytest.raises(KeyturnError, match=r"back is missing, .*: name the program, or take value per_host"):
        check(NO_INVERSE, value="shared", switch="together")
    with pytest.raises(KeyturnError, match=message):
        check(CHECKED | change)
