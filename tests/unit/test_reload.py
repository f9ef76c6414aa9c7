"""A service that reads its files anew when it is told to, by a script: believed by what it answers, never by being alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.host.journal import Journal
from keyturn.host.phases import commit, rollback, stage, switch, turn
from keyturn.host.rotation import Rotation
from keyturn.inputs import catalogue
from keyturn.inputs.validation import services, validated
from support import stores
from support.lab import free_port

ROTATION_ID = "20260101T000000Z-0123456789abcdef"
# it answers whether it has a value; told to read its file anew it takes a moment, and nobody is told when it has
SERVER = """
import http.server, os, pathlib, signal, sys, threading
read = lambda: pathlib.Path(".env").read_text().strip().partition("=")[2]
value = read()
def take():
    global value
    value = read()
if sys.argv[2] == "rereads":
    signal.signal(signal.SIGHUP, lambda *_: threading.Timer(0.3, take).start())
else:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        held = read() if sys.argv[2] == "looks itself" else value
        self.send_response(200 if self.path == "/health" or self.headers["X-Value"] == held else 401)
        self.end_headers()
    def log_message(self, *_): pass
pathlib.Path("pid").write_text(str(os.getpid()))
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
CHECK = """
import pathlib, sys, urllib.request
value = pathlib.Path(".env").read_text().strip().partition("=")[2]
urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={"X-Value": value}), timeout=20)
"""
SCRIPTS = {
    "start.sh": "[ -e pid ] && kill -0 $(cat pid) || setsid {python} server.py {port} '{does}' >log 2>&1 &",
    "stop.sh": "kill -9 $(cat pid); rm -f pid",
    "reload.sh": "echo reload >>told; kill -HUP $(cat pid)",
    "check.sh": "exec {python} check.py http://127.0.0.1:{port}/ask",
}


class App:
    """An application of one value that is read when it starts, and when it is told to."""

    def __init__(self, folder: Path, does: str = "rereads") -> None:
        self.app, self.state, self.port = folder / "app", folder / "state", free_port()
        self.app.mkdir()
        for name, text in {**SCRIPTS, "server.py": SERVER, "check.py": CHECK}.items():
            head = "#!/bin/sh\n" if name.endswith(".sh") else ""
            filled = text.format(python=sys.executable, port=self.port, does=does) if head else text
            (self.app / name).write_text(f"{head}{filled}\n")
            (self.app / name).chmod(0o755)
        self.write("first-value")
        self.run("start.sh")
        deadline = time.monotonic() + 60
        while not self.answers("/health") and time.monotonic() < deadline:
            time.sleep(0.02)
        self.pid = self.running()

    def run(self, script: str) -> None:
        subprocess.run([f"./{script}"], cwd=self.app, check=False, stderr=subprocess.DEVNULL)

    def running(self) -> int:
        return int((self.app / "pid").read_text())

    def write(self, value: str) -> None:
        (self.app / ".env").write_text(f"SHOP_TOKEN={value}\n")
        (self.app / ".env").chmod(0o600)

    def value(self) -> str:
        return (self.app / ".env").read_text().strip().removeprefix("SHOP_TOKEN=")

    def answers(self, path: str, value: str = "") -> bool:
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"X-Value": value})
        try:
            return bool(urllib.request.urlopen(asked, timeout=20).status == 200)
        except OSError:
            return False

    def rotation(self, **more: Any) -> Rotation:
        check = {"command": ["./check.sh"]}
        entry = stores.ENTRY | {"variables": ["SHOP_TOKEN"], "services": ["web"], "value": "shared"}
        entry |= {"source": {"kind": "generated", "generator": "token_urlsafe"}, "migration": {"kind": "none"}}
        entry |= {"probes": [{"kind": "command", "checks": [check]}]}
        spec = {
            "manager": "script",
            "start": "./start.sh",
            "stop": "./stop.sh",
            "reload": "./reload.sh",
            "pid_file": "pid",
        }
        spec |= {
            "health_url": f"http://127.0.0.1:{self.port}/health",
            "reloads": ["token"],
            "health_timeout_seconds": 20,
        }
        given = {"rotation_id": ROTATION_ID, "environment": "test", "reason": "planned", "operator": "tester"}
        given |= {"secret": "token", "entry": validated("entry", catalogue.ENTRY, entry), **more}
        found = services({"web": spec})
        return Rotation(**given, services=found, app_root=self.app, app_user=None, state_dir=self.state)

    def journal(self) -> Journal:
        found = self.rotation().application.get(ROTATION_ID)
        assert found is not None
        return found

    def told(self) -> int:
        """How often it was told to read its file anew."""
        return len((self.app / "told").read_text().splitlines()) if (self.app / "told").exists() else 0

    def stop(self) -> None:
        self.run("stop.sh")


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


@pytest.mark.parametrize("place", ["replace_files", "open_start_gate", "start"])
@pytest.mark.parametrize("on", [True, False])
def test_a_call_that_ends_in_the_middle_is_gone_on_with_or_back(
    app: App, monkeypatch: pytest.MonkeyPatch, place: str, on: bool
) -> None:
    stage.run(app.rotation())
    with monkeypatch.context() as patch:
        ordinary = getattr(switch, place)

        def cut(*given: Any) -> None:
            ordinary(*given)
            raise KeyboardInterrupt

        patch.setattr(switch, place, cut)
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
