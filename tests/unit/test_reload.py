"""A service that reads its files anew when it is told to, by a script: believed by what it answers, never by being alive."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.host.phases import commit, rollback, stage, switch, turn
from keyturn.host.rotation import Rotation
from support.reloading import App


@pytest.fixture
def app(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[App]:
    made = App(tmp_path, getattr(request, "param", "rereads"))
    yield made
    made.stop()


def back(app: App) -> None:
    ended = rollback.run(app.rotation(), "a test", abandon_commit=False)["rotation"]
    assert ended["outcome"] == "rolled_back" and app.value() == "first-value"
    assert app.running() == app.pid and app.answers("/ask", "first-value")


def test_the_process_of_before_takes_the_new_value_and_nothing_stops(app: App) -> None:
    stage.run(app.rotation())
    found = turn.run(app.rotation(), "proved")["rotation"]
    assert [(line["proof"], line["verdict"]) for line in found["proofs"]] == [
        ("process", "not configured"),
        ("command", "accepted"),
    ]
    ended = commit.run(app.rotation(), "both")["rotation"]
    assert (ended["outcome"], ended["downtime_seconds"]) == ("committed", 0)
    assert app.running() == app.pid and app.told() == 1
    assert app.answers("/ask", app.value()) and not app.answers("/ask", "first-value")


def test_what_was_switched_goes_back_by_a_reload(app: App) -> None:
    stage.run(app.rotation())
    turn.run(app.rotation(), "proved")
    back(app)
    assert app.told() == 2


@pytest.mark.parametrize("app", ["deaf"], indirect=True)
def test_one_that_takes_nothing_and_lives_is_not_believed(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    rotation = app.rotation()
    rotation.services["web"]["health_timeout_seconds"] = 1  # how long its answer is waited for
    stage.run(rotation)
    with pytest.raises(KeyturnError, match=r"^proof command of \./check\.sh is rejected: exit code 1"):
        turn.run(rotation, "proved")
    back(app)


@pytest.mark.parametrize("app", ["deaf", "looks itself"], indirect=True)
def test_a_check_that_holds_before_the_reload_shows_nothing(app: App) -> None:
    """One that always holds, and one of an application that needs no reload."""
    if "deaf" in (app.app / "start.sh").read_text():
        (app.app / "check.sh").write_text("#!/bin/sh\nexit 0\n")
    stage.run(app.rotation())
    with pytest.raises(KeyturnError, match=r"^the probes of token have held before web was reloaded, so they do not"):
        turn.run(app.rotation(), "proved")
    assert app.told() == 0
    back(app)


@pytest.mark.covering("place", "on")
@pytest.mark.parametrize("place", ["replace_values", "open_start_gate", "start_again"])
@pytest.mark.parametrize("on", [True, False])
def test_a_call_that_ends_in_the_middle_is_gone_on_with_or_back(
    app: App, monkeypatch: pytest.MonkeyPatch, place: str, on: bool
) -> None:
    stage.run(app.rotation())
    with monkeypatch.context() as patch:
        where = Rotation if hasattr(Rotation, place) else switch
        ordinary = getattr(where, place)

        def cut(*given: Any) -> None:
            ordinary(*given)
            raise KeyboardInterrupt

        patch.setattr(where, place, cut)
        with pytest.raises(KeyboardInterrupt):
            turn.run(app.rotation(), "switched")
    if on:
        turn.run(app.rotation(), "proved")
        assert commit.run(app.rotation(), "both")["rotation"]["outcome"] == "committed"
        assert app.running() == app.pid and app.answers("/ask", app.value())
    else:
        back(app)


def test_one_that_has_ended_meanwhile_is_started(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run(app.rotation())
    ordinary = switch.open_start_gate

    def gone(rotation: Rotation) -> None:
        os.kill(app.pid, signal.SIGKILL)
        (app.app / "pid").unlink()
        ordinary(rotation)

    monkeypatch.setattr(switch, "open_start_gate", gone)
    turn.run(app.rotation(), "proved")
    assert app.told() == 0 and app.running() != app.pid
    assert commit.run(app.rotation(), "both")["rotation"]["outcome"] == "committed"


def test_a_reload_script_that_cannot_be_run_is_refused_at_stage(app: App) -> None:
    (app.app / "reload.sh").chmod(0o644)
    with pytest.raises(KeyturnError, match=r"service web: .*/reload\.sh is not a file .* correct `reload`"):
        stage.run(app.rotation())
    assert not app.state.exists()


def test_one_that_has_been_started_since_its_file_changed_needs_no_comparison(app: App) -> None:
    """As after a boot in the midst of a switch: it holds the new value before it is reloaded."""
    stage.run(app.rotation())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(switch, "tells_apart", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            turn.run(app.rotation(), "switched")
    app.stop()
    app.start()
    turn.run(app.rotation(), "proved")
    assert commit.run(app.rotation(), "both")["rotation"]["outcome"] == "committed"
    assert app.answers("/ask", app.value())
