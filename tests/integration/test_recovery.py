"""A rotation that was interrupted after a phase: resume.yml and rollback.yml end it, and nothing else may begin."""

from __future__ import annotations

import json
import stat
import urllib.request
import uuid
from typing import Any

import pytest
from cryptography.fernet import Fernet
from keyturn.fingerprint import fingerprint
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
ID = "20260101T000000Z-0123456789abcdef"


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
        journal.write_text(
            journal.read_text().replace('"phase": "prepared",\n "prepared', '"phase": "switching",\n "prepared')
        )
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
    headers = {"Content-Type": "application/json"}
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
