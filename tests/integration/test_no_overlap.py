"""Alpaca: the new pair is the death of the old one. What is checked before, and what happens when it then goes wrong."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import reports
from support.brought import Bench, bench

PLAYBOOK = "rotate_alpaca_credentials"
READY = ("-e", "keyturn_until=ready")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as found:
        yield found


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def break_engine(desk: Bench) -> None:
    """Let the next start of the engine fail, whatever the credential."""
    start = desk.lab.app / "start_engine.sh"
    (desk.lab.app / "start_engine.good").write_text(start.read_text())
    start.write_text("#!/bin/sh\nexit 7\n")


def mend_engine(desk: Bench) -> None:
    (desk.lab.app / "start_engine.sh").write_text((desk.lab.app / "start_engine.good").read_text())


def test_ready_then_regenerated_then_switched(desk: Bench) -> None:
    old = desk.fingerprints("alpaca")
    ready = desk.lab.play(PLAYBOOK, *READY)
    assert ready.returncode == 0, ready.stdout
    assert "READY: every check that needs no new value has passed on here" in ready.stdout
    assert "Regenerate the API keys" in ready.stdout
    assert desk.fingerprints("alpaca") == old
    assert desk.lab.journals() == []
    assert not list(desk.lab.reports.rglob("2*.json")), "ready is no rotation"
    desk.make("alpaca")  # the old pair is dead from here on
    done = desk.lab.play(PLAYBOOK, **desk.bring("alpaca"))
    assert done.returncode == 0, done.stdout
    host = reports.report(desk.lab)["hosts"]["here"]
    assert any(
        line.startswith("the current credential is dead already: GET /v2/account: HTTP 401")
        for line in host["findings"]
    )
    assert not any("cannot be asked any more" in line for line in host["findings"]), "READY did not keep the account"


def test_a_new_pair_of_another_account_is_refused_although_the_old_one_is_dead(desk: Bench) -> None:
    assert desk.lab.play(PLAYBOOK, *READY).returncode == 0
    desk.fakes["alpaca"].valid = {desk.new["alpaca"]: "PA99OTHER"}
    done = desk.lab.play(PLAYBOOK, **desk.bring("alpaca"))
    assert done.returncode == 2
    assert "of account PA99OTHER and the current one of PA31XK2" in said(done)
    assert desk.lab.journals() == []


def test_open_orders_stop_ready_and_a_reason_goes_on_and_is_logged(desk: Bench) -> None:
    fake = desk.fakes["alpaca"]
    fake.market_open, fake.open_orders = True, 2  # type: ignore[attr-defined]
    done = desk.lab.play(PLAYBOOK, *READY)
    assert done.returncode == 2
    assert "the market is open and so are orders" in said(done)
    assert "READY" not in done.stdout
    desk.make("alpaca")
    override = ("-e", '{"keyturn_override_open_orders": "the desk agreed"}')
    done = desk.lab.play(PLAYBOOK, *override, **desk.bring("alpaca"))
    assert done.returncode == 0, done.stdout
    assert reports.report(desk.lab)["overrides"] == {"open_orders": "the desk agreed"}
    assert reports.log(desk.lab)[-1]["overrides"] == {"open_orders": "the desk agreed"}


def test_after_a_failure_nothing_goes_back_to_a_dead_pair_and_resume_ends_it(desk: Bench) -> None:
    desk.make("alpaca")
    break_engine(desk)
    done = desk.lab.play(PLAYBOOK, **desk.bring("alpaca"))
    assert done.returncode == 2
    report = reports.report(desk.lab)
    assert report["outcome"] == "needs_attention"
    assert (
        "the old value is rejected at its provider, so nothing goes back; on the new value: here" in report["failure"]
    )
    assert desk.is_new("alpaca")
    assert report["hosts"]["here"]["old_credential"]["verdict"] == "rejected"
    assert reports.log(desk.lab)[-1]["outcome"] == "needs_attention"

    back = desk.lab.play("rollback")
    assert back.returncode == 2, "a dead pair was put back"
    assert reports.report(desk.lab)["outcome"] == "needs_attention"
    assert desk.is_new("alpaca")

    mend_engine(desk)
    done = desk.lab.play("resume")
    assert done.returncode == 0, done.stdout
    assert reports.report(desk.lab)["outcome"] == "committed"
    assert desk.is_new("alpaca")


@pytest.mark.left_open("the engine does not start on the new pair, and whether the old one lives is not known")
def test_a_provider_that_says_nothing_of_the_old_pair_is_no_reason_to_go_back(desk: Bench) -> None:
    desk.make("alpaca")
    fake = desk.fakes["alpaca"]
    start = desk.lab.app / "start_engine.sh"
    start.write_text(f"#!/bin/sh\ntouch {desk.lab.folder}/started\nexit 7\n")
    # what the provider answers from the failure on
    original = fake.answer
    fake.answer = lambda *call: (  # type: ignore[method-assign]
        type(original(*call))(500, {}) if (desk.lab.folder / "started").exists() else original(*call)
    )
    done = desk.lab.play(PLAYBOOK, **desk.bring("alpaca"))
    assert done.returncode == 2
    assert reports.report(desk.lab)["outcome"] == "needs_attention"
    assert desk.is_new("alpaca")


def test_an_old_pair_that_still_lives_is_rolled_back_to(desk: Bench) -> None:
    old = desk.fingerprints("alpaca")
    desk.fakes["alpaca"].valid[desk.new["alpaca"]] = "PA31XK2"  # both valid, against what is assumed
    break_engine(desk)
    start = desk.lab.app / "start_engine.sh"
    good = (desk.lab.app / "start_engine.good").read_text()
    start.write_text(
        good.replace("mkdir -p logs run\n", "mkdir -p logs run\n[ -e tried ] || { touch tried; exit 7; }\n")
    )
    done = desk.lab.play(PLAYBOOK, **desk.bring("alpaca"))
    assert done.returncode == 2
    report = reports.report(desk.lab)
    assert report["outcome"] == "rolled_back", report["failure"]
    assert desk.fingerprints("alpaca") == old


@pytest.mark.left_open("the engine ends by itself on a pair that is dead")
def test_when_both_are_dead_a_person_may_go_back_with_a_reason(desk: Bench) -> None:
    old = desk.fingerprints("alpaca")
    desk.make("alpaca")
    break_engine(desk)
    assert desk.lab.play(PLAYBOOK, **desk.bring("alpaca")).returncode == 2
    mend_engine(desk)
    desk.fakes["alpaca"].valid = {}
    assert desk.lab.play("resume").returncode == 2
    assert reports.report(desk.lab)["outcome"] == "needs_attention"
    override = ("-e", '{"keyturn_override_dead_value": "both are dead"}')
    done = desk.lab.play("rollback", *override)
    assert done.returncode == 0, done.stdout
    assert reports.report(desk.lab)["outcome"] == "rolled_back"
    assert desk.fingerprints("alpaca") == old
    (journal,) = desk.lab.journals()
    assert journal["phase"] == "closed", "nobody could begin another rotation"


def test_an_engine_that_another_secret_left_running_is_no_finding_and_an_edited_file_is(desk: Bench) -> None:
    """Secrets share `.env`: their rotation restarts only the services that they concern."""

    def to_restart() -> set[str]:
        return set(
            re.findall(r"service (\w+) \(process \d+\) started before its files changed", said(desk.lab.play("verify")))
        )

    assert desk.lab.play("rotate_db_key").returncode == 0
    assert to_restart() == set()
    desk.lab.env.touch()
    assert to_restart() == {"backend", "engine"}
