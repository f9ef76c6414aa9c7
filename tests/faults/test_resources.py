"""What a host lacks or refuses: disk space, a free database, a service that comes up, a free lock."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn.base import procfs
from keyturn.base.errors import KeyturnError
from keyturn.base.fingerprint import fingerprints
from keyturn.ground.rows import sqlite_file
from keyturn.host.phases import turn
from keyturn.records import report, report_text
from support.evidence import lost
from support.faults import Host, Play, hold, patched, record, release, run
from support.lab import KEY, Lab
from support.processes import running
from unit.test_report_and_log import HEADER

HOLD_DATABASE = (
    "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE')\n"
    "print('held', flush=True); time.sleep(600)"
)
HOLD_LOCK = (
    "import fcntl, json, os, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX)\n"
    "f.write(json.dumps({'call': 'switch', 'pid': os.getpid()})); f.flush(); print('held', flush=True); time.sleep(600)"
)


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def make(journal_mode: str = "delete") -> Host:
        hosts.append(Host(tmp_path / f"host{len(hosts)}", journal_mode))
        return hosts[-1]

    yield make
    for host in hosts:
        host.stop()


@contextlib.contextmanager
def holder(program: str, path: Path) -> Iterator[int]:
    """Run a process that holds ``path``; its pid."""
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process.pid
    finally:
        process.kill()
        process.wait()


def message(done: subprocess.CompletedProcess[str]) -> str:
    """Return the message of a module that failed."""
    result = json.loads(done.stdout)
    assert result["failed"]
    return str(result["msg"])


# -- no space left -------------------------------------------------------------------------------------------------

# strace knows a file by its path, so the names of temporary files are known here (``named``)
NAMED = f".keyturn-{'0' * 16}"
FULL = {
    "database's journal": ("switch", "delete", "app/data/bank_accounts.db-journal", "pwrite64", 1, "SQLITE_FULL"),
    "database": ("switch", "delete", "app/data/bank_accounts.db", "pwrite64", 1, "SQLITE_FULL"),
    "database's second page": ("switch", "delete", "app/data/bank_accounts.db", "pwrite64", 2, "SQLITE_FULL"),
    "wal": ("switch", "wal", "app/data/bank_accounts.db-wal", "pwrite64", 1, "SQLITE_FULL"),
    "wal's second frame": ("switch", "wal", "app/data/bank_accounts.db-wal", "pwrite64", 3, "SQLITE_FULL"),
    "database at the checkpoint": ("switch", "wal", "app/data/bank_accounts.db", "pwrite64", 1, "SQLITE_FULL"),
    "file": ("switch", "delete", "app/.env" + NAMED, "write", 1, ".env: No space left on device"),
    "file at fsync": ("switch", "delete", "app/.env" + NAMED, "fsync", 1, ".env: No space left on device"),
    "journal, switching": ("switch", "delete", "{rotation}/journal.json" + NAMED, "write", 1, "journal.json: No space"),
    "journal, switched": ("switch", "delete", "{rotation}/journal.json" + NAMED, "write", 2, "journal.json: No space"),
    "journal, downtime": ("switch", "delete", "{rotation}/journal.json" + NAMED, "write", 3, "journal.json: No space"),
    "rollback's journal": (
        "rollback",
        "delete",
        "{rotation}/journal.json" + NAMED,
        "write",
        1,
        "journal.json: No space",
    ),
    "rollback's database": ("rollback", "delete", "app/data/bank_accounts.db", "pwrite64", 1, "SQLITE_FULL"),
    "rollback's wal": ("rollback", "wal", "app/data/bank_accounts.db-wal", "pwrite64", 1, "SQLITE_FULL"),
    "rollback's file": ("rollback", "delete", "app/.env" + NAMED, "write", 1, ".env: No space left on device"),
    "backup": ("prepare", "delete", "{rotation}/backup.db", "pwrite64", 1, "SQLITE_FULL"),
    "side file": ("prepare", "delete", "{rotation}/prepared.db", "pwrite64", 1, "SQLITE_FULL"),
}


@pytest.mark.covering(what=lambda what: (*FULL[what][:2], FULL[what][3]))
@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_is_named_and_goes_back(make_host: Callable[..., Host], what: str) -> None:
    module, journal_mode, path, call, number, expected = FULL[what]
    host = make_host(journal_mode)
    host.go_to({"prepare": "staged", "switch": "prepared", "rollback": "proved"}[module])
    target = host.lab.folder / path.format(rotation=host.state_file("x").parent)
    options = ["-P", str(target), "-e", f"trace={call}", "-e", f"inject={call}:error=ENOSPC:when={number}+"]
    done = host.module(module, *options, named=NAMED, **({"cause": "a test"} if module == "rollback" else {}))
    assert "(INJECTED)" in host.log.read_text(), "no call was refused"
    assert expected in message(done)
    lost_rows = host.lost_rows()
    host.check_invariants()
    host.check_converges()
    record("ENOSPC, module", {"points": 1, "fired": 1, "lost_rows": lost_rows, "converged": 1, "note": what})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")
def test_a_small_disk_is_refused_before_anything_changes(make_host: Callable[..., Host]) -> None:
    host = make_host()
    host.lab.state.mkdir(mode=0o700)
    image = host.lab.folder / "small"
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", image, "256k"], check=True)
    mount = f'mount -o loop {image} {host.lab.state} && chmod 700 {host.lab.state} && exec "$@"'
    command = host.lab.module_command("stage", rotation=host.parameters())
    mounted = mount.replace('exec "$@"', "true")
    if subprocess.run(["unshare", "-m", "sh", "-c", mounted], check=False).returncode:
        pytest.skip("this container may not mount a file system")
    done = run(["unshare", "-m", "sh", "-c", mount, "sh", *command])
    assert re.search(r"state: \d+ MiB of disk space are needed and 0 MiB are free", message(done))
    assert list(host.lab.state.iterdir()) == []


# -- a database that somebody holds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a_process_that_holds_the_database_is_named_and_the_service_comes_back(
    make_host: Callable[..., Host], journal_mode: str
) -> None:
    host = make_host(journal_mode)
    host.go_to("prepared")
    with holder(HOLD_DATABASE, host.lab.database) as pid:
        done = host.module("switch")
        assert re.search(rf"bank_accounts.db is still open in \S+ \(pid {pid}\)", message(done))
        assert host.lab.get("/health") == 0
        host.check_invariants()
        host.go_back()
        assert host.lab.get("/health") == 200
    host.check_ended("rolled_back")


def test_processes_that_cannot_be_looked_at_are_a_finding(
    make_host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procfs, "unseen", lambda: 3)
    host = make_host()
    host.go_to("staged")
    (finding,) = [line for line in host.journal()["findings"] if "looked at" in line]
    assert finding.startswith("3 processes of other users could not be looked at: ")
    assert finding.endswith(f"one has {host.lab.database} open is not known; run as root")


def test_a_lock_longer_than_the_timeout_takes_nothing(make_host: Callable[..., Host]) -> None:
    """The holder is not to be seen from here, as one in another container."""
    host = make_host()
    host.go_to("prepared")
    unseen = (
        "from ansible.module_utils.keyturn.base import procfs\n"
        "from ansible.module_utils.keyturn.ground.rows import sqlite_file\n"
        "procfs.holders = lambda files: []; sqlite_file.BUSY_SECONDS = 0.5"
    )
    command = host.lab.module_command("switch", rotation=host.parameters())
    with holder(HOLD_DATABASE, host.lab.database):
        done = run(patched(command, unseen))
    assert re.search(r"locked by (another process|\S+ \(pid \d+\)) for more than 0\.5 s \(SQLITE_BUSY\)", message(done))
    host.check_invariants()
    host.go_back()
    host.check_ended("rolled_back")


def test_a_reader_that_keeps_old_ciphertexts_in_the_wal_is_refused(
    make_host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is this process, which is none of the others that have the database open."""
    host = make_host("wal")
    host.go_to("prepared")
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.5)
    with contextlib.closing(sqlite3.connect(host.lab.database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM plaid_items").fetchone()
        with pytest.raises(KeyturnError, match="the WAL cannot be emptied"):
            turn.run(host.rotation(), "switched")
    host.check_invariants()
    host.check_converges()


def test_a_held_database_through_the_playbook(lab: Lab) -> None:
    old = fingerprint(lab)
    with holder(HOLD_DATABASE, lab.database) as pid:
        done = lab.play("rotate_db_key")
        check_went_back(lab, done, old, rf"bank_accounts.db is still open in \S+ \(pid {pid}\)")


# -- a service that does not come up, or not well ---------------------------------------------------------------------

FAILS_ON_NEW = '[ "$(sha256sum <.env)" = "{checksum}" ] || exit 7\n'
FAILS_ONCE = "[ -e failed-once ] || { touch failed-once; exit 7; }\n"


PROOFS = ("process", "rows", "http")


@pytest.mark.parametrize("line", [FAILS_ON_NEW, FAILS_ONCE], ids=["always on the new value", "once"])
def test_a_service_that_does_not_start_is_rolled_back(lab: Lab, line: str) -> None:
    old = fingerprint(lab)
    lab.break_start(line)
    done = lab.play("rotate_db_key")
    check_went_back(lab, done, old, r"service backend: ./start.sh ended with exit code 7")


def test_a_service_that_has_the_old_value_in_its_environment_is_rolled_back(make_lab: Callable[..., Lab]) -> None:
    """What the service is started with wins over `.env`, so it comes up and cannot open a row."""
    lab = make_lab()
    conf = lab.app / "service.conf"
    conf.write_text(f"{conf.read_text()}{KEY}='{lab.key()}'\n")
    lab.start()
    old = fingerprint(lab)
    done = lab.play("rotate_db_key")
    check_went_back(lab, done, old, rf"proof \w+ of backend is rejected: .*({KEY}|HTTP 502)")


def test_a_service_that_starts_on_neither_value_leaves_the_rotation_open(make_host: Callable[..., Host]) -> None:
    host = make_host()
    host.go_to("prepared")
    start = host.lab.app / "start.sh"
    good = start.read_text()
    start.write_text("#!/bin/sh\nexit 7\n")
    assert "start.sh ended with exit code 7" in message(host.module("switch"))
    for _ in range(2):
        with pytest.raises(KeyturnError, match=r"start\.sh ended with exit code 7"):
            host.go_back()
    (journal,) = host.lab.journals()
    assert (journal["phase"], [*journal["down"]]) == ("switched", ["backend"])
    document = report.build(HEADER, {"here": journal}, "a cause", ended=True)
    head = report_text.text(document, Path("report")).splitlines()[:4]
    assert [line.split()[0] for line in head] == ["INTERRUPTED:", "down", "cause", "next"]
    assert f"backend of here since {journal['down']['backend']}" in head[1] and head[3].endswith("rollback.yml")
    assert f"{KEY}: {fingerprint(host.lab)} (kept)" in report_text.text(document, Path("report"))
    start.write_text(good)
    host.go_back()
    host.check_ended("rolled_back")
    assert "down" not in host.lab.journals()[0]


# a rollback that has begun only goes back
@pytest.mark.parametrize(("module", "way"), [("switch", "forward"), ("switch", "back"), ("rollback", "back")])
@pytest.mark.parametrize("script", ["stop.sh", "start.sh"])
def test_a_script_that_outlives_its_call_disturbs_nothing(
    make_host: Callable[..., Host], module: str, script: str, way: str
) -> None:
    """The call is killed while the script works, and the recovery starts at once."""
    host = make_host()
    host.go_to("prepared" if module == "switch" else "proved")
    (host.lab.app / f"outlive-{script}").touch()
    done = host.module(module, **({"cause": "a test"} if module == "rollback" else {}))
    assert done.returncode == -signal.SIGKILL
    host.check_invariants()
    if way == "forward":
        host.go_forward()
    else:
        host.go_back()
    while not (host.lab.app / "outlived").exists():
        time.sleep(0.01)
    while running(f"./{script}", host.lab.app):
        time.sleep(0.01)
    host.check_ended("committed" if way == "forward" else "rolled_back")
    record("SIGKILL during a script, module", {"points": 1, "fired": 1, "lost_rows": 0, "converged": 1})


# The script that outlives its call brings the application up just after the recovery has stopped it.
OUTLIVING_START = """cd "$(dirname "$0")" || exit 1
if [ -e outlive ]; then rm outlive; kill -9 $PPID; until [ -e stopped ]; do sleep 0.01; done; rm stopped; fi
"""
STOP_TOO_EARLY = """cd "$(dirname "$0")" || exit 1
if [ -e too-early ]; then rm too-early; touch stopped; until [ -s run/backend.pid ]; do sleep 0.01; done; exit 0; fi
"""


def test_a_process_that_a_killed_call_brings_up_is_replaced(lab: Lab) -> None:
    for name, text in {"start.sh": OUTLIVING_START, "stop.sh": STOP_TOO_EARLY}.items():
        script = lab.app / name
        script.write_text(script.read_text().replace(text.splitlines(keepends=True)[0], text))
    lab.step("stage")
    lab.step("prepare")
    (lab.app / "outlive").touch()
    done = run(lab.module_command("switch", rotation=lab.rotation()))
    assert done.returncode == -signal.SIGKILL
    (lab.app / "too-early").touch()
    lab.step("rollback", cause="a test")
    assert not (lab.app / "too-early").exists()
    assert not (lab.app / "stopped").exists()
    assert lab.journals()[0]["outcome"] == "rolled_back"
    assert lost(lab, lab.tokens) == []
    assert lab.get("/api/bank/accounts") == 200


def check_went_back(lab: Lab, done: subprocess.CompletedProcess[str], old: str, cause: str) -> None:
    """Check that a rotation failed, and that the host is back on the old value, running and proved."""
    assert done.returncode == 2, done.stdout
    report = lab.report()
    assert report["outcome"] == "rolled_back"
    assert re.search(cause, report["failure"])
    assert "\n" not in report["failure"]
    assert "going back failed" not in report["failure"]
    assert re.search(cause, done.stdout)
    assert fingerprint(lab) == old
    assert lost(lab, lab.tokens) == []
    assert lab.get("/api/bank/accounts") == 200
    proofs = report["hosts"]["here"]["proofs"]
    verdicts = {line["proof"]: line["verdict"] for line in proofs}
    assert {verdicts[name] for name in ("process", "rows", "http")} == {"accepted"}
    assert all(line["verdict"] in (line["wanted"], "not configured") for line in proofs)


def fingerprint(lab: Lab) -> str:
    return fingerprints({KEY: lab.key()})[KEY]


# -- two at once -------------------------------------------------------------------------------------------------------


def test_a_second_rotation_is_refused_and_the_first_is_not_disturbed(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    hold(lab, "switching")
    lab.start()
    old = fingerprint(lab)
    first = Play(lab, "rotate_db_key", "-e", "keyturn_operator=alice")
    first.wait_for("switching")
    (journal,) = lab.journals()
    second = lab.play("rotate_db_key")
    assert first.process.poll() is None, "the first rotation has ended too early"
    release(lab)
    assert second.returncode == 2
    said = re.sub(r"\s+", " ", second.stdout)
    assert f"rotation {journal['rotation_id']} of db_key is open on this host (phase switching, by alice since" in said
    assert "resume.yml" in said
    assert "rollback.yml" in said
    assert first.process.wait() == 0, first.output.read_text()
    (journal,) = lab.journals()
    assert journal["outcome"] == "committed"
    assert fingerprint(lab) != old
    assert lost(lab, lab.tokens) == []
    assert lab.get("/api/bank/accounts") == 200


@pytest.mark.parametrize("module", ["turn", "commit", "rollback"])
def test_a_call_that_is_still_at_work_is_waited_for_and_then_named(make_host: Callable[..., Host], module: str) -> None:
    host = make_host()
    host.go_to("staged")
    more: dict[str, Any] = {"commit": {"step": "decide"}, "rollback": {"cause": "a test"}}.get(module, {})
    command = host.lab.module_command(module, rotation=host.parameters(), **more)
    impatient = f"from ansible.module_utils.keyturn.host.phases import {module}; {module}.LOCK_WAIT_SECONDS = 0.5"
    with holder(HOLD_LOCK, host.rotation().application.folder / "lock") as pid:
        done = run(patched(command, impatient))
    assert f"keyturn is still at work on this host (switch, pid {pid}): wait until it ends" in message(done)
    (journal,) = host.lab.journals()
    assert journal["phase"] == "staged"
    assert "decision" not in journal
