"""What is due is turned, logged in a chain, signed by a second person and closed; the log tells who touched it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import Any

import pytest
from keyturn import rotation_log
from support import reports
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


def points(lab: Lab) -> dict[str, str]:
    return {point["id"]: point["state"] for point in reports.report(lab)["checklist"]}


def test_what_is_due_is_turned_signed_and_closed(lab: Lab) -> None:
    text = said(lab, "rotate_due", 0)
    assert "due now, in this order: db_key, jwt" in text and text.count("COMMITTED: ") == 2
    ends = reports.log(lab)
    assert [(entry["secret"], entry["outcome"]) for entry in ends] == [("db_key", "committed"), ("jwt", "committed")]
    report = reports.report(lab)
    head = report["log_head"]["hash"]
    assert head in text, "the summary prints the head of the log"
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
    given = {"keyturn_signer": "Second Person", "keyturn_points": notes}
    said(lab, "sign_off", 0, *name, "-e", json.dumps(given))
    assert "closed, signed by Second Person" in said(lab, "close_rotation", 0, *name)
    assert "| Second Person (keyturn, " in (lab.reports / "test/rotation-log.md").read_text()

    text = said(lab, "status", 0)
    assert f"unsigned {first['rotation_id']} of db_key" in text and f"unsigned {report['rotation_id']}" not in text
    assert "the chain is whole" in text
    assert "Database Encryption Key" in (lab.reports / "test/status.html").read_text()
    assert "nothing is due" in said(lab, "rotate_due", 0)

    assert "chain whole" in said(lab, "verify_log", 0, "-e", f"keyturn_log_head={head}")
    log = lab.reports / "test" / rotation_log.LINES
    log.write_text(log.read_text().replace("Second Person", "Third Person"))
    assert "record 5 was changed after it was written" in said(lab, "verify_log", 2)
    assert "broken: the table says what is needed" in said(lab, "status", 2)


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
