"""SIGKILL through ansible-playbook: at every transition of the journal, and at random times.

`make exhaustive` takes all; `make test` each state, victim and way once, and a few random times.
Of the controller alone, so that the module goes on as an orphan while the recovery starts at once, and of everything
but the application. `resume.yml` and `rollback.yml` take turns.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from keyturn.base.fingerprint import fingerprints
from support import reports, selection
from support.evidence import lost
from support.faults import Play, hold, record, release
from support.lab import KEY, Lab

STATES = ("staging", "staged", "preparing", "prepared", "switching", "switched", "proved", "decided", "closed")
# Every state and victim has one of the two ways, by turns. Where the module goes on as an orphan while the application is
# down, is up again, or can only go forward, both ways meet it.
KILLS = [
    (state, who, ("rollback", "resume")[(number + (who == "all")) % 2])
    for number, state in enumerate(STATES)
    for who in ("controller", "all")
]
KILLS += [
    (state, "controller", way)
    for state in ("switching", "switched", "decided")
    for way in ("resume", "rollback")
    if (state, "controller", way) not in KILLS
]
# After the release: the recovery meets a module that is still at work.
HOLD_SECONDS = 4.0
RANDOM_KILLS = 3  # of each victim and way
# Seconds from the opening of the journal, before which there is nothing to lose, to the end of a run; of one that came to its end they
# are known.
LATEST = 8.0


@pytest.mark.covering("state", ("who", "way"))
@pytest.mark.parametrize(("state", "who", "way"), KILLS)
def test_a_kill_at_a_transition_loses_nothing(make_lab: Callable[..., Lab], state: str, who: str, way: str) -> None:
    lab = make_lab()
    hold(lab, state, HOLD_SECONDS)
    lab.start()
    old = fingerprint(lab)
    run = Play(lab, "rotate_db_key")
    run.wait_for(state)
    run.kill(who)
    assert run.state() == state, "the kill came too late"
    if who == "controller":
        assert run.processes(), "no module is at work any more"
    release(lab)

    done = lab.play(way)
    outcome = "committed" if way == "resume" or state in ("decided", "closed") else "rolled_back"
    if way == "rollback" and outcome == "committed":
        assert done.returncode != 0
        assert "only goes forward, run resume.yml" in done.stdout
        done = lab.play("resume")
    assert done.returncode == 0, done.stdout
    check_ended(lab, old, outcome)
    record(f"SIGKILL of {who} at a transition", counts(lab) | {"note": f"{state}: {way}"})


@pytest.mark.covering("who", "way")
@pytest.mark.parametrize("number", range(RANDOM_KILLS))
@pytest.mark.parametrize("way", ["resume", "rollback"])
@pytest.mark.parametrize("who", ["controller", "all"])
def test_a_kill_at_a_random_time_loses_nothing(make_lab: Callable[..., Lab], who: str, way: str, number: int) -> None:
    draw = selection.draw(f"{who}.{way}.{number}")
    delay, latest = None, LATEST
    while delay is None:
        lab = make_lab(rows=1000)
        lab.start()
        old = fingerprint(lab)
        run = Play(lab, "rotate_db_key")
        run.wait_for_journal()
        began = time.monotonic()
        delay = draw.uniform(0, latest)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.process.wait(delay)
            delay, latest = None, time.monotonic() - began  # it came after the end, so it is drawn again
            lab.stop()
    run.kill(who)
    state = run.state()
    print(f"{number}: {delay:.2f} s, {who}, {state}, {way}")
    done = lab.play(way)
    if done.returncode and way == "rollback":
        assert "only goes forward, run resume.yml" in done.stdout
        done = lab.play("resume")
    assert done.returncode == 0, done.stdout
    journals = lab.journals()
    check_ended(lab, old, journals[0]["outcome"] if journals else None)
    note = f"seed {os.environ[selection.SEED]}: {delay:.2f} s, {state}: {way}"
    record(f"SIGKILL of {who} at a random time, 1000 rows", counts(lab) | {"note": note})


def check_ended(lab: Lab, old: str, outcome: str | None) -> None:
    """Check that the rotation ended whole: on the host, in the report and once in the log. None: it had not begun."""
    assert (fingerprint(lab) != old) == (outcome == "committed")
    assert lost(lab, lab.tokens) == []
    assert lab.get("/api/bank/accounts") == 200
    verified = lab.verified()
    assert verified["problems"] == []
    assert not [said for said in verified["findings"] if "is open" in said or "restart it" in said]
    if outcome is None:
        assert lab.journals() == []
        return
    (journal,) = lab.journals()
    assert (journal["phase"], journal["outcome"]) == ("closed", outcome)
    report = lab.report()
    assert (report["rotation_id"], report["outcome"]) == (journal["rotation_id"], outcome)
    assert report["hosts"]["here"]["outcome"] == outcome
    assert [entry["outcome"] for entry in log(lab) if entry["rotation_id"] == journal["rotation_id"]] == [outcome]


def log(lab: Lab) -> list[dict[str, Any]]:
    """Return the ends of whole runs: what a kill left was ended by the next run, as killed."""
    return [entry for entry in reports.log(lab) if entry["outcome"] not in ("killed", "interrupted")]


def counts(lab: Lab) -> dict[str, int]:
    return {"points": 1, "fired": 1, "lost_rows": len(lost(lab, lab.tokens)), "converged": 1}


def fingerprint(lab: Lab) -> str:
    """Return the fingerprint of the key: pytest would print a key that a test holds."""
    return fingerprints({KEY: lab.key()})[KEY]
