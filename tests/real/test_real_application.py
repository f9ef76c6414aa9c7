"""All five procedures against the real application's own code: ``make real``.

Its database, token encryption, middleware and Plaid client run as the backend, its Alpaca adapter as the engine. What the public
repository cannot run at all, its engine (`main.py`), is not here.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dotenv import dotenv_values
from keyturn.base import log_lines
from keyturn.host import probes
from keyturn.host.probes import Question
from support import reports
from support.brought import PLAYBOOKS, VARIABLES, Bench, bench
from support.evidence import lost
from support.faults import Play, hold, release
from support.lab import KEY, catalogue
from support.real import RealLab, missing

if reason := missing():
    pytest.skip(reason, allow_module_level=True)

JWT = "JWT_SECRET_KEY"
GENERATED = {"jwt": "rotate_jwt_secret", "db_key": "rotate_db_key"}
FORMS = ("default", "timed")
# what a proof shows, where the secret is turned
SHOWN = {
    "jwt": {"token": "accepted", "token of the other secret": "rejected"},
    "db_key": {"rows": "accepted", "http": "accepted", "log": "accepted"},
    "plaid": {"provider": "accepted", "account": "accepted", "http": "accepted", "log": "accepted"},
    "alpaca": {"provider": "accepted", "account": "accepted", "log line": "accepted", "log": "accepted"},
    "hf_token": {"provider": "accepted", "account": "accepted"},
}
# where a literal may stand: the file, its section, and the keys of the secret's variables
PLACES = {
    "plaid, config.json": ("plaid", "config.json", "", ("plaid_client_id", "plaid_secret")),
    "alpaca, config.json": ("alpaca", "config.json", "", ("api_key", "secret_key")),
    "alpaca, phase2_integration.json": ("alpaca", "phase2_integration.json", "broker", ("api_key", "api_secret")),
}


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Make one bench with the real code."""
    with contextlib.ExitStack() as stack:
        yield lambda **more: stack.enter_context(bench(tmp_path / "real", RealLab, rows=3, **more))


def lab_of(desk: Bench) -> RealLab:
    assert isinstance(desk.lab, RealLab)
    return desk.lab


def rotate(desk: Bench, secret: str) -> dict[str, str]:
    """Rotate, and return what the proofs on the host say."""
    brought = {}
    if secret in PLAYBOOKS:
        desk.make(secret)
        brought = desk.bring(secret)
    done = desk.lab.play((GENERATED | PLAYBOOKS)[secret], **brought)
    assert done.returncode == 0, done.stdout
    report = reports.report(desk.lab)
    assert report["outcome"] == "committed"
    return {line["proof"]: line["verdict"] for line in report["hosts"]["here"]["proofs"]}


def works(desk: Bench) -> None:
    """Check that the application itself reads every token, uses it, and is connected."""
    assert lost(desk.lab, desk.lab.tokens) == []
    assert desk.lab.get("/bank/accounts") == 200
    assert "Connected to Alpaca (Account: PA31XK2)" in (desk.lab.app / "logs/trading.log").read_text()


@pytest.mark.parametrize("form", FORMS)
def test_all_five_are_rotated_and_proved(real: Callable[..., Bench], form: str) -> None:
    desk = real(log_form=form)
    works(desk)
    before = dotenv_values(desk.lab.env)
    for secret, shown in SHOWN.items():
        found = rotate(desk, secret)
        assert {name: found.get(name) for name in shown} == shown, secret
        works(desk)
    after = dotenv_values(desk.lab.env)
    turned = {name for name in before if before[name] != after[name]}
    assert turned == {JWT, KEY, "PLAID_SECRET", *VARIABLES["alpaca"], *VARIABLES["hf_token"]}


@pytest.mark.parametrize("place", PLACES)
def test_a_literal_in_the_configuration_is_turned_as_well(real: Callable[..., Bench], place: str) -> None:
    secret, name, section, keys = PLACES[place]
    desk = real()
    lab = lab_of(desk)
    old = desk.current(secret)
    lab.configure(name, section, **dict(zip(keys, old, strict=True)))
    rotate(desk, secret)
    held = [lab.held(name, section).get(key, "") for key in keys]
    # the id of Plaid's client stays what it was
    stands = [number for number, value in enumerate(old) if value in held and value not in desk.new[secret]]
    assert stands == [], "the old literal stands there still"
    desk.fakes[secret].valid.pop(old, None)
    lab.stop()
    lab.start()
    lab.start_engine()
    works(desk)
    errors = [line for line in (lab.app / "logs/trading.log").read_text().splitlines() if "Failed to connect" in line]
    assert errors == []


@pytest.mark.parametrize(
    ("state", "who", "way"),
    [("switching", "all", "resume"), ("switched", "controller", "rollback"), ("proved", "all", "rollback")],
)
def test_a_kill_loses_nothing(real: Callable[..., Bench], state: str, who: str, way: str) -> None:
    desk = real()
    lab = desk.lab
    hold(lab, state, 2)
    old = lab.key()
    run = Play(lab, GENERATED["db_key"])
    run.wait_for(state)
    run.kill(who)
    assert run.state() == state, "the kill came too late"
    release(lab)
    done = lab.play(way)
    assert done.returncode == 0, done.stdout
    turned = lab.key() != old
    assert turned == (way == "resume")
    works(desk)
    assert lab.verified()["problems"] == []


def test_a_kill_leaves_no_old_literal(real: Callable[..., Bench]) -> None:
    secret, name, section, keys = PLACES["alpaca, phase2_integration.json"]
    desk = real()
    lab = lab_of(desk)
    lab.configure(name, section, **dict(zip(keys, desk.current(secret), strict=True)))
    desk.make(secret)
    hold(lab, "switching", 2)
    run = Play(lab, PLAYBOOKS[secret], **desk.bring(secret))
    run.wait_for("switching")
    run.kill("all")
    assert run.state() == "switching", "the kill came too late"
    release(lab)
    done = lab.play("resume")
    assert done.returncode == 0, done.stdout
    assert tuple(lab.held(name, section)[key] for key in keys) == desk.new[secret]
    works(desk)


@pytest.mark.parametrize("place", PLACES)
def test_no_revocation_is_proved_while_a_file_holds_the_old_value(real: Callable[..., Bench], place: str) -> None:
    secret, name, section, keys = PLACES[place]
    desk = real()
    lab = lab_of(desk)
    old = desk.current(secret)
    rotate(desk, secret)
    desk.revoke(secret, old)
    file = lab.app / "config" / name
    right = file.read_text()
    lab.configure(name, section, **dict(zip(keys, old, strict=True)))
    asked = list(desk.fakes[secret].calls)
    done = lab.play("confirm_revoked", "-e", f"keyturn_secret={secret}")
    assert done.returncode == 2, done.stdout
    assert str(file) in done.stdout and "make them equal first" in " ".join(done.stdout.split())
    assert desk.fakes[secret].calls == asked
    file.write_text(right)
    done = lab.play("confirm_revoked", "-e", f"keyturn_secret={secret}")
    assert done.returncode == 0, done.stdout
    assert not list(lab.state.rglob("previous.json"))


def said(log: Path, secret: str) -> str:
    """What the log proof of a secret makes of a service's log."""
    (spec,) = [spec for spec in catalogue()[secret]["probes"] if spec["kind"] == "log"]
    lines = [*log_lines.split(log.read_bytes())]
    service: Any = SimpleNamespace(name=log.stem, log_lines=lambda: iter(lines))
    (line,) = probes.log(Question("new", {}, {}, [service], None), spec)
    return line["verdict"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", ["db_key", "plaid", "alpaca"])
def test_what_the_application_says_of_a_dead_value_is_understood(
    real: Callable[..., Bench], form: str, secret: str
) -> None:
    desk = real(log_form=form)
    lab = desk.lab
    log = lab.app / "logs" / ("trading.log" if secret == "alpaca" else "backend.err.log")
    assert lab.get("/bank/accounts") == 200
    assert said(log, secret) == "accepted"
    if secret == "db_key":
        lab.env.write_text(lab.env.read_text().replace(lab.key(), "A" * 43 + "="))
    else:
        desk.fakes[secret].valid = {}
    lab.stop()
    lab.start()
    if secret == "alpaca":
        subprocess.run([lab.app / "start_engine.sh"], check=True, env={"PATH": os.environ["PATH"]})
        deadline = time.monotonic() + 120
        while "Failed to connect" not in log.read_text():
            assert time.monotonic() < deadline, "the engine says nothing"
            time.sleep(0.1)
    else:
        assert lab.get("/bank/accounts") == 502
    assert said(log, secret) == "rejected"


@pytest.mark.parametrize("form", FORMS)
def test_a_line_that_a_stranger_asks_for_is_none(real: Callable[..., Bench], form: str) -> None:
    lab = real(log_form=form).lab
    log = lab.app / "logs/backend.err.log"
    for secret in ("db_key", "plaid"):
        (spec,) = [spec for spec in catalogue()[secret]["probes"] if spec["kind"] == "log"]
        (line,) = spec["lines"]
        # of a pattern, a text that it matches
        text = re.sub(r"\\(.)|\.\*|(.)\?", r"\1\2", line["message"])
        began = [
            start.replace("\\", "").replace(log_lines.TIME, "2026-04-18 10:00:00,123")
            for start in log_lines.starts(line)
        ]
        forged = [start + text for start in began]
        assert all(re.match(log_lines.pattern(line), one) for one in forged)
        for one in forged:
            for end in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029":
                assert lab.get(f"/api/{urllib.parse.quote(end + one)}", login=False) == 500
            assert f"\u2028{one}" in log.read_text()
        assert said(log, secret) == "accepted"


def test_a_proof_path_behind_the_middleware_is_asked_with_a_token(real: Callable[..., Bench]) -> None:
    desk = real(proof=(("proof_path", "/api/bank/accounts"), ("proof_auth", "jwt"), ("proof_secret", "JWT_SECRET_KEY")))
    assert desk.lab.get("/api/bank/accounts", login=False) == 500, "the middleware lets everybody in"
    assert rotate(desk, "jwt")["token"] == "accepted"
    # by a token of the secret that has just been turned
    assert rotate(desk, "db_key")["http"] == "accepted"
    works(desk)
