"""What is due is turned, logged in a chain, signed by a second person and closed; the log tells who touched it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import tarfile
from typing import Any

import pytest
from keyturn.records import rotation_log
from support import canary, reports
from support.canary import Scanner
from support.evidence import everything
from support.lab import Lab


@pytest.fixture
def lab(lab: Lab) -> Lab:
    lab.write_inventory(keyturn_operator="pipeline-7")
    return lab


def said(lab: Lab, playbook: str, code: int, *arguments: str) -> str:
    done = lab.play(playbook, *arguments)
    assert done.returncode == code, done.stdout
    return " ".join(done.stdout.split())


def expired(journal: dict[str, Any]) -> dict[str, Any]:
    return journal | {"backup": journal["backup"] | {"expires": "2026-01-01T00:00:00Z"}}


def points(lab: Lab) -> dict[str, str]:
    return {point["id"]: point["state"] for point in reports.report(lab)["checklist"]}


def test_what_is_due_is_turned_signed_and_closed(lab: Lab) -> None:
    text = said(lab, "rotate_due", 0)
    assert "due now, in this order: db_key, jwt" in text and text.count("COMMITTED: ") == 2
    assert "turned: db_key, jwt" in text
    ends = reports.log(lab)
    assert [(entry["secret"], entry["outcome"]) for entry in ends] == [("db_key", "committed"), ("jwt", "committed")]
    report = reports.report(lab)
    head = report["log_head"]["hash"]
    assert head in text, "the summary prints the head of the log"
    kept = [journal["log_head"] for journal in lab.journals()]
    chained = {entry["hash"]: entry["event"] for entry in rotation_log.read(lab.reports / "test")}
    assert [chained[one["hash"]] for one in kept] == ["started"] * 2, "hosts keep the head of the log"
    found = points(lab)
    assert (found["works_everywhere"], found["old_deactivated"], found["logged"]) == ("proved",) * 3
    assert (found["users_notified"], found["logs_clean"]) == ("open", "open"), "its service keeps no log"
    first = json.loads(min((lab.reports / "test").glob("2*.json")).read_text())
    assert first["hosts"]["here"]["evidence"]["backup"] == {"ok": True, "rows": 12}

    name = ("-e", f"keyturn_rotation_id={report['rotation_id']}")
    assert "stays unsigned: logs_clean" in said(lab, "close_rotation", 2, *name)
    assert "Pipeline-7 has rotated, so somebody else" in said(
        lab, "sign_off", 2, *name, "-e", "keyturn_signer=Pipeline-7"
    )
    notes: dict[str, Any] = {"logs_clean": "read", "users_notified": "mail", "integrations": "tried"}
    given = {"keyturn_signer": "second", "keyturn_points": notes}
    assert "signed from the login that has rotated" in said(lab, "sign_off", 2, *name, "-e", json.dumps(given))
    key, signers = lab.folder / "key", lab.folder / "signers"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    signers.write_text(f"second,2nd {key.with_suffix('.pub').read_text()}")
    lab.write_inventory(keyturn_operator="pipeline-7", keyturn_allowed_signers=str(signers))
    said(lab, "sign_off", 0, *name, "-e", json.dumps(given | {"keyturn_signing_key": str(key)}))
    assert "closed, signed by second" in said(lab, "close_rotation", 0, *name)
    assert "| second (login root) (keyturn, " in (lab.reports / "test/rotation-log.md").read_text()

    text = said(lab, "status", 0)
    assert f"unsigned {first['rotation_id']} of db_key" in text and f"unsigned {report['rotation_id']}" not in text
    assert (
        f"sign_off.yml -e keyturn_rotation_id={first['rotation_id']} -e keyturn_signer=NAME -e keyturn_signing_key=KEY -e '{{"
        in text
    )
    assert "the chain is whole" in text
    assert "Database Encryption Key" in (lab.reports / "test/status.html").read_text()
    (backup,) = lab.state.rglob("backup.db")
    journal = backup.with_name("journal.json")
    journal.write_text(json.dumps(expired(json.loads(journal.read_text()))))
    (lab.reports / f"test/{first['rotation_id']}.json").unlink()
    lab.env.write_text(re.sub("^JWT_SECRET_KEY=", "JWT_SECRET_KEY=x", lab.env.read_text(), flags=re.M))
    text = said(lab, "status", 2)
    assert "broken: the table says what is needed" in text
    assert f"the old value of {first['rotation_id']} has expired and is still on here: run prune.yml" in text
    assert f"{first['rotation_id']} of db_key is committed on here and has no report of its end" in text
    assert "here: its files hold JWT_SECRET_KEY kt:" in text
    assert "would" not in said(lab, "rotate_db_key", 0, "-e", f"keyturn_rotation_id={first['rotation_id']}")
    assert (lab.reports / f"test/{first['rotation_id']}.json").exists(), (
        "the remedy that is printed is the one that works"
    )
    assert backup.exists() and "nothing is due" in said(lab, "rotate_due", 0)
    assert not backup.exists()
    lab.env.write_text(re.sub("^JWT_SECRET_KEY=x", "JWT_SECRET_KEY=", lab.env.read_text(), flags=re.M))

    text = said(lab, "verify_log", 0, "-e", f"keyturn_log_head={head}")
    assert "chain whole" in text and "signatures 1 by key, and all hold" in text
    text = said(lab, "evidence_pack", 0, "-e", "keyturn_from=2020-01-01", "-e", "keyturn_to=2099-12-31")
    assert re.search(r"period 2020-01-01 to 2099-12-31: \d+ records, 2 reports, 1 signatures sha256 [0-9a-f]{64}", text)
    (packed,) = (lab.reports / "test/audits").iterdir()
    with tarfile.open(packed) as tar:
        content = b"".join(tar.extractfile(member).read() for member in tar)  # type: ignore[union-attr]
    assert b"VERIFY.md" in content and Scanner(canary.secrets(lab)).find(content) == set(), "a value is in it"
    log = lab.reports / "test" / rotation_log.LINES
    log.write_text(log.read_text().replace('"signer": "second"', '"signer": "third"'))
    assert "record 6 was changed after it was written" in said(lab, "verify_log", 2)
    # a new controller: nobody has brought the folder of the reports
    shutil.move(lab.reports / "test", lab.reports / "lost")
    text = said(lab, "verify_log", 2)
    assert (
        "does not know what its hosts do: here: a rotation that neither log nor reports know is committed there" in text
    )
    assert f"({first['rotation_id']} of db_key and 1 more)" in text
    assert "broken: the table says what is needed" in said(lab, "status", 2)
    anew = ("-e", "keyturn_log_from_hosts='disk of the controller died'")
    assert "the log would begin with 2 rotations" in said(lab, "verify_log", 0, *anew, "--check")
    assert "whole: 3 records" in said(lab, "verify_log", 0, *anew)
    assert f"{lab.reports}/test has rotation-log.jsonl, so nothing was begun" in said(lab, "verify_log", 2, *anew)
    begun, _, taken = map(json.loads, log.read_text().splitlines())
    assert (begun["event"], begun["taken_over"]) == ("setup", "disk of the controller died")
    assert (taken["event"], taken["rotation_id"], taken["outcome"]) == (
        "taken over from hosts",
        report["rotation_id"],
        "committed",
    )
    assert taken["hosts"]["here"]["new"] == report["hosts"]["here"]["new"]
    said(lab, "verify_log", 0)
    said(lab, "status", 0)


def test_the_first_failure_stops_what_is_due_and_the_rest_is_told(lab: Lab) -> None:
    with contextlib.closing(sqlite3.connect(lab.database, isolation_level=None)) as connection:
        connection.execute("UPDATE plaid_items SET access_token = 'rubbish' WHERE item_id = 'item-00002'")
    key = lab.key()
    text = said(lab, "rotate_due", 2)
    assert "db_key ended with exit code 2; turned before: nothing; left: jwt" in text
    assert lab.key() == key
    assert [(entry["secret"], entry["outcome"]) for entry in reports.log(lab)] == [("db_key", "refused")]


def test_a_calendar_in_check_mode_changes_nothing_and_a_closed_window_neither(lab: Lab) -> None:
    before = everything(lab)
    assert "due now, in this order: db_key, jwt" in said(lab, "rotate_due", 0, "--check")
    assert everything(lab) == before
    assert "keyturn_maintenance_window begins and ends" in said(
        lab, "rotate_due", 2, "-e", json.dumps({"keyturn_maintenance_window": {"from": "02:00", "to": "02:00"}})
    )
    assert everything(lab) == before
