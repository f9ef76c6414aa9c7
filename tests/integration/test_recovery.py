"""A rotation that was interrupted after a phase: resume.yml and rollback.yml end it, and nothing else may begin."""

from __future__ import annotations

import json
import stat
import urllib.request
import uuid
from typing import Any

import pytest
from cryptography.fernet import Fernet
from keyturn.base.fingerprint import fingerprint
from keyturn.fleet import attempts
from keyturn.host.phases.common import stamp
from keyturn.records.report import documents
from support import reports
from support.evidence import everything, lost
from support.lab import KEY, Lab

STEPS: dict[str, dict[str, Any]] = {
    "stage": {},
    "prepare": {},
    "switch": {},
    "prove": {},
    "commit": {"step": "decide"},
}
SIDES = {"stage": "old", "prepare": "old", "switch": "new", "prove": "new", "commit": "decided"}
ID = "20260101T000000Z-0123456789abcdef"


@pytest.mark.covering(last=SIDES.get)
@pytest.mark.parametrize("last", STEPS)
def test_resume_ends_it_on_the_new_value(lab: Lab, last: str) -> None:
    old = lab.key()
    interrupt(lab, last)
    written = save_item(lab)
    done = lab.play("resume")
    assert done.returncode == 0, done.stdout
    assert f"rotation {ID} of db_key is open on here" in done.stdout
    assert lab.key() != old
    check_ended(lab, written, "committed")
    if last in ("stage", "commit"):
        again = lab.play("resume" if last == "stage" else "rollback")
        assert again.returncode == 0, again.stdout
        assert "nothing is open: there is nothing to do" in again.stdout
        assert len(reports.log(lab)) == 1


@pytest.mark.covering(last=SIDES.get)
@pytest.mark.parametrize("last", [name for name in STEPS if name != "commit"])
def test_rollback_ends_it_on_the_old_value(lab: Lab, last: str) -> None:
    lab.env.chmod(0o640)
    old, env = lab.key(), lab.env.read_bytes()
    interrupt(lab, last)
    written = save_item(lab)  # from the switch on, by an application on the new value: it must survive going back
    done = lab.play("rollback")
    assert done.returncode == 0, done.stdout
    assert lab.key() == old
    assert (lab.env.read_bytes(), stat.S_IMODE(lab.env.stat().st_mode)) == (env, 0o640)
    check_ended(lab, written, "rolled_back")
    assert not list(lab.state.rglob("pending.json")), "the value that nobody uses is still there"


def test_repeating_the_id_completes_report_and_log_of_a_controller_that_died_before_them(lab: Lab) -> None:
    interrupt(lab, "commit")
    lab.step("commit", step="finish")
    key = lab.key()
    done = lab.play("rotate_db_key", "-e", f"keyturn_rotation_id={ID}")
    assert done.returncode == 0, done.stdout
    assert lab.key() == key
    check_ended(lab, {}, "committed")


def test_what_is_decided_only_goes_forward(lab: Lab) -> None:
    interrupt(lab, "commit")
    before = everything(lab)
    done = lab.play("rollback")
    assert done.returncode == 2, done.stdout
    said = " ".join(done.stdout.split())
    assert f"rotation {ID} is decided on every host that answers: it only goes forward, run resume.yml" in said
    assert everything(lab) == before
    answer = lab.module("rollback", cause="a test")
    assert "is decided: it only goes forward, run resume.yml" in answer["msg"]


def test_another_rotation_is_refused_while_one_is_open(lab: Lab) -> None:
    interrupt(lab, "switch")
    key, journal = lab.key(), lab.journals()
    done = lab.play("rotate_db_key")
    assert done.returncode == 2, done.stdout
    report = reports.report(lab)
    assert report["outcome"] == "refused"
    since = journal[0]["started"]
    assert report["failure"] == (
        f"here: rotation {ID} of db_key is open on this host (phase switched, by tester since {since}): "
        "end it with resume.yml (on the new value) or rollback.yml (on the old one)"
    )
    assert report["failure"] in " ".join(done.stdout.split())
    assert (lab.key(), lab.journals()) == (key, journal)


def test_resume_stops_at_a_third_value(lab: Lab) -> None:
    interrupt(lab, "switch")
    message = edit_env(lab)
    env, database = lab.env.read_bytes(), lab.database.read_bytes()
    done = lab.play("resume")
    assert done.returncode == 2, "a rotation was ended although .env holds another value"
    assert message in " ".join(done.stdout.split())
    assert reports.report(lab)["outcome"] == "interrupted"
    check_kept(lab, env, database)


@pytest.mark.parametrize("last", ["prepare", "switch", "prove", "commit"])
def test_a_third_value_stops_every_step_and_both_ways(lab: Lab, last: str) -> None:
    interrupt(lab, last)
    if last == "prepare":
        # as after a kill in the middle of the switch
        (journal,) = lab.state.rglob("journal.json")
        journal.write_text(json.dumps(json.loads(journal.read_text()) | {"phase": "switching", "stopped": stamp()}))
        assert lab.journals()[0]["phase"] == "switching"
    message = edit_env(lab)
    env, database = lab.env.read_bytes(), lab.database.read_bytes()
    forward = (lab.module(name, **more) for name, more in (*STEPS.items(), ("commit", {"step": "finish"})))
    failure = next(
        (answer["msg"] for answer in forward if answer.get("failed")), "every step of resume.yml accepted it"
    )
    assert message in failure
    if last != "commit":
        assert message in lab.module("rollback", cause="a test")["msg"]
    check_kept(lab, env, database)


def test_resume_fails_where_going_back_was_decided_while_the_host_was_away(lab: Lab) -> None:
    old = lab.key()
    interrupt(lab, "switch")
    (journal,) = lab.state.rglob("journal.json")
    # as a host that lost its power in the middle of going back
    journal.write_text(json.dumps(json.loads(journal.read_text()) | {"decision": "rollback", "failure": "it was away"}))
    done = lab.play("resume")
    assert done.returncode == 2, "resume.yml promises the new value"
    assert "rolled_back: the report says which host is on what; here was down for " in " ".join(done.stdout.split())
    assert lab.key() == old
    check_ended(lab, {}, "rolled_back")


def test_an_end_tells_what_the_file_holds_and_keeps_the_key_of_the_rows(lab: Lab) -> None:
    interrupt(lab, "stage")
    old = lab.key()
    edit_env(lab)
    third = fingerprint(lab.key())
    done = lab.play("rollback")
    assert done.returncode == 2, "the file holds another value, and the run calls that an end on the old one"
    report = reports.report(lab)
    assert report["outcome"] == "needs_attention"
    assert report["hosts"]["here"]["held"] == {KEY: third}
    assert f"{KEY} is {third} and not {fingerprint(old)}" in " ".join(done.stdout.split())
    (kept,) = lab.state.rglob("previous.json")
    assert (json.loads(kept.read_text()) == {KEY: old}) is True, "the only copy of the key that opens the rows is gone"
    assert lab.journals()[0]["phase"] == "closed"


def test_a_run_that_was_killed_before_it_asked_a_host_is_ended_by_the_next_command(lab: Lab) -> None:
    plan = {
        "rotation_id": ID,
        "secret": "db_key",
        "environment": "test",
        "overrides": {},
        "sessions": "kept",
        "title": "Key",
        "revision": "0123456789abcdef",
        "value": "per_host",
    }
    plan |= {
        "variables": [KEY],
        "reason": "x",
        "operator": "y",
        "downtime_budget_seconds": 1,
        "started": "2026-01-01T00:00:00Z",
    }

    def begin() -> None:
        """Open the report, as a run does that is killed then."""
        given = {"folder": str(lab.reports), "hosts": {"here": {}}, "ended": False, "entry": {}, "checklist": []}
        mine = attempts.mine() | {"process": [0, 0]}
        assert not lab.action("report", plan=plan | {"attempt": mine}, **given).get("failed")

    begin()
    done = lab.play("resume")
    assert done.returncode == 2, "nothing is on the new value"
    assert f"rotation {ID}: the run was killed before any host knew the rotation" in " ".join(done.stdout.split())
    assert reports.report(lab)["outcome"] == "refused"
    (lab.reports / "test" / f"{ID}.json").unlink()
    begin()
    done = lab.play("rotate_db_key")
    assert done.returncode == 0, done.stdout
    assert [one["outcome"] for one in documents(lab.reports / "test")] == ["refused", "committed"]


def edit_env(lab: Lab) -> str:
    """Put a third value into `.env`, and return what a refusal must say."""
    old, new = (lab.journals()[0][side][KEY] for side in ("old", "new"))
    third = Fernet.generate_key().decode()
    lab.env.write_text(lab.env.read_text().replace(lab.key(), third))
    return f"{lab.env}: {KEY} is {fingerprint(third)}, neither the old value {old} nor the new {new}"


def check_kept(lab: Lab, env: bytes, database: bytes) -> None:
    assert len(list(lab.state.rglob("pending.json"))) == 1, "the only copy of the value that opens the rows is gone"
    assert lab.env.read_bytes() == env
    assert lab.database.read_bytes() == database
    assert lab.journals()[0]["phase"] != "closed"


def interrupt(lab: Lab, last: str) -> None:
    """Take the rotation to the end of the step ``last``, as if the controller had died there."""
    for name, parameters in STEPS.items():
        lab.step(name, **parameters)
        if name == last:
            return


def save_item(lab: Lab) -> dict[str, str]:
    item, token = f"later-{uuid.uuid4().hex[:6]}", f"access-production-{uuid.uuid4()}"
    body = json.dumps({"item_id": item, "access_token": token}).encode()
    headers = {"Content-Type": "application/json", **lab.login()}
    request = urllib.request.Request(f"http://127.0.0.1:{lab.port}/api/bank/items", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 201
    return {item: token}


def check_ended(lab: Lab, written: dict[str, str], outcome: str) -> None:
    assert lost(lab, lab.tokens | written) == []
    assert lab.get("/api/bank/accounts") == 200
    (journal,) = lab.journals()
    assert (journal["phase"], journal["outcome"]) == ("closed", outcome)
    report = reports.report(lab)
    assert (report["outcome"], report["rotation_id"]) == (outcome, ID)
    assert [record["outcome"] for record in reports.log(lab)] == [outcome]
    assert lab.verified()["problems"] == []
