"""The main job: ansible-playbook as a process, while a client uses the application."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from keyturn.base.fingerprint import fingerprint
from support import reports
from support.evidence import Client, everything, lost
from support.lab import KEY, ROOT, Lab

FORMS = {"two_layer": 9, "one_layer": 1, "plaintext": 1, "empty": 1}


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_turns_the_key_while_a_client_writes_and_reads(make_lab: Callable[..., Lab], journal_mode: str) -> None:
    lab = make_lab(journal_mode=journal_mode)
    lab.start()
    old = lab.key()
    began = time.monotonic()
    with Client(lab) as client:
        done = lab.play("rotate_db_key")
    took = time.monotonic() - began
    assert done.returncode == 0, done.stdout
    assert lab.key() != old
    check_client(lab, client)
    check_host(lab, old, FORMS)
    check_report(lab, old, done.stdout, took)
    without = re.sub(r"^HF_TOKEN=.*\n", "", lab.env.read_text(), flags=re.M)
    assert len(without) < len(lab.env.read_text())
    lab.env.write_text(without)
    verified = lab.play("verify")
    assert verified.returncode == 0, verified.stdout
    assert "hf_token is not used here" in verified.stdout
    assert f"{KEY} is {fingerprint(lab.key())}" in verified.stdout


def test_a_second_run_turns_the_key_again_and_the_same_id_changes_nothing(lab: Lab) -> None:
    first, second = lab.key(), ""
    for number in (1, 2):
        # the one from the root, the other from playbooks/: both are promised
        done = lab.play("rotate_db_key") if number == 1 else play_from_its_folder(lab)
        assert done.returncode == 0, done.stdout
        second, first = first, lab.key()
        assert lab.key() not in (second, ""), "the key was not turned"
    records = reports.log(lab)
    ids = [record["rotation_id"] for record in records]
    assert len(ids) == 2
    assert ids == sorted(ids)
    assert reports.report(lab)["rotation_id"] == ids[1], "the newest report has not the last id"
    before = everything(lab)
    again = lab.play("rotate_db_key", "-e", f"keyturn_rotation_id={ids[1]}")
    assert again.returncode == 0, again.stdout
    assert "changed=0" in recap(again.stdout, "here")
    assert "changed=0" in recap(again.stdout, "localhost")
    assert everything(lab) == before
    assert not lost(lab, lab.tokens)
    ended = reports.report(lab)["finished"]
    assert f"OVER: Database Encryption Key (db_key) in test is committed since {ended};" in again.stdout
    assert "COMMITTED" not in again.stdout, "an old summary is printed as if it were new"
    checked = lab.play("rotate_db_key", "--check", "-e", f"keyturn_rotation_id={ids[1]}").stdout
    assert f"over        committed since {ended}: what has ended is not turned again" in checked
    assert not re.search("here: (prove|decide|stop|back)", checked), checked
    other = lab.play("rotate_jwt_secret", "-e", f"keyturn_rotation_id={ids[1]}")
    assert other.returncode == 2 and f"rotation {ids[1]} is one of db_key" in " ".join(other.stdout.split()), (
        other.stdout
    )


def test_plaintext_rows_are_encrypted_only_when_asked(lab: Lab) -> None:
    (plaintext,) = [item for item, stored in stored_rows(lab) if stored.startswith("access-")]
    for name in ("stage", "prepare", "switch"):
        lab.step(name)
    assert dict(stored_rows(lab))[plaintext] == lab.tokens[plaintext]
    lab.step("rollback", cause="a test")
    done = lab.play("rotate_db_key", "-e", "keyturn_encrypt_plaintext_rows=true")
    assert done.returncode == 0, done.stdout
    assert not [item for item, stored in stored_rows(lab) if stored.startswith("access-")]
    told = f"rows of before: plaid_items.access_token of '{plaintext}' was plaintext and is encrypted"
    assert told in reports.report(lab)["hosts"]["here"]["findings"] and told in done.stdout
    assert dict(stored_rows(lab))[plaintext].startswith("Z0FBQUFB")
    assert not lost(lab, lab.tokens)
    verified = lab.verified()
    assert verified["rows"] == {"two_layer": 10, "one_layer": 1, "plaintext": 0, "empty": 1}


def test_a_service_that_fails_the_proof_is_rolled_back_and_its_id_is_used_up(lab: Lab) -> None:
    old, before = lab.key(), lab.env.read_bytes()
    # The application comes up, is healthy, and cannot use its tokens: as if something else in its code broke.
    start = lab.app / "start.sh"
    once = "[ -e run/tried ] || { touch run/tried; export TRADER_AI_ONE_LAYER=refuse; }"
    start.write_text(start.read_text().replace("mkdir -p logs run\n", f"mkdir -p logs run\n{once}\n"))
    done = lab.play("rotate_db_key")
    assert done.returncode == 2, done.stdout
    assert lab.key() == old
    assert lab.env.read_bytes() == before
    assert not lost(lab, lab.tokens)
    assert lab.get("/api/bank/accounts") == 200
    report = reports.report(lab)
    assert report["outcome"] == "rolled_back"
    assert report["failure"] == "here: proof http of backend is rejected: GET /api/bank/accounts: HTTP 502"
    assert f"rolled_back: {report['failure']}" in " ".join(done.stdout.split())
    assert [proof["verdict"] for proof in report["hosts"]["here"]["proofs"]] == ["accepted"] * 3 + ["not configured"]
    again = lab.play("rotate_db_key", "-e", f"keyturn_rotation_id={report['rotation_id']}")
    assert again.returncode == 2, again.stdout
    assert "was rolled back on this host: its id is used up" in " ".join(again.stdout.split())
    assert reports.report(lab) == report, "repeating a rotation that has ended rewrote its report"
    assert len(reports.log(lab)) == 1
    assert lab.key() == old


def play_from_its_folder(lab: Lab) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("ansible-playbook")
    inventory = Path("..", *[".."] * (len(ROOT.parts) - 1), *lab.inventory.parts[1:])
    command = [str(program), "rotate_db_key.yml", "-i", str(inventory)]
    return subprocess.run(command, cwd=ROOT / "playbooks", env=lab.environment(), text=True, capture_output=True)


def recap(output: str, host: str) -> str:
    return next(line for line in reversed(output.splitlines()) if re.match(rf"{host} +:", line))


def stored_rows(lab: Lab) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(f"file:{lab.database}?mode=ro", uri=True)) as connection:
        return list(connection.execute("SELECT item_id, access_token FROM plaid_items"))


def check_client(lab: Lab, client: Client) -> None:
    assert client.written and client.deleted, "the client did nothing"
    assert client.reads["good"] > 0
    assert client.reads["bad"] == 0, f"the application answered with an error: {client.reads}"
    assert lost(lab, client.written) == []
    back = client.deleted & lab.tokens_read().keys()
    assert not back, f"deleted and there again: {sorted(back)}"
    assert lost(lab, lab.tokens) == []
    assert lab.get("/api/bank/accounts") == 200


def check_host(lab: Lab, old: str, forms: dict[str, int]) -> None:
    stored = dict(stored_rows(lab))
    begins = {item: text[:6] for item, text in stored.items() if item in lab.tokens}
    counts = {"Z0FBQU": "two_layer", "gAAAAA": "one_layer", "access": "plaintext", "": "empty"}
    found = dict.fromkeys(forms, 0)
    for begin in begins.values():
        found[counts[begin]] += 1
    assert found == forms
    (journal,) = lab.journals()
    assert (journal["phase"], journal["outcome"]) == ("closed", "committed")
    assert not list(lab.state.rglob("pending.json*")), "the new value stands in a second place"
    assert not list(lab.state.rglob("prepared.db*"))
    (previous,) = lab.state.rglob("previous.json")
    assert old in previous.read_text(), "the value that opens the backup is gone"
    for path in [*lab.state.rglob("*"), lab.state, lab.env]:
        assert path.stat().st_mode & 0o077 == 0, f"{path} is open to others"


def check_report(lab: Lab, old: str, printed: str, took: float) -> None:
    report = reports.report(lab)
    assert (report["outcome"], report["failure"]) == ("committed", None)
    assert (report["environment"], report["secret"], report["reason"]) == ("test", "db_key", "scheduled")
    host = report["hosts"]["here"]
    assert host["old"] == {KEY: fingerprint(old)}
    assert host["new"] == {KEY: fingerprint(lab.key())}
    assert host["rows"].keys() == FORMS.keys()
    assert sum(host["rows"].values()) >= 12
    assert 0 < host["downtime_seconds"] < took
    assert host["backup"]["opens_with"] == host["old"]
    assert Path(host["backup"]["path"]).stat().st_size == host["backup"]["bytes"]
    assert [(proof["proof"], proof["verdict"]) for proof in host["proofs"]] == [
        ("process", "accepted"),
        ("rows", "accepted"),
        ("http", "accepted"),
        ("log", "not configured"),
    ]
    assert "environment test" in printed
    for text in ("COMMITTED: Database Encryption Key (db_key) in test", *host["old"].values(), *host["new"].values()):
        assert text in printed
    (record,) = reports.log(lab)
    assert record["rotation_id"] == report["rotation_id"]
    assert (record["outcome"], record["verified_by"]) == ("committed", "keyturn, 3 of 3 proofs")
