"""Services with scripts: real scripts and processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn.base import http, procfs, programs
from keyturn.base.errors import KeyturnError
from keyturn.base.listening import Listening
from keyturn.services.script import ScriptService
from keyturn.services.systemd import SystemdService
from support.lab import free_port


def service(folder: Path, stop: str, **spec: Any) -> ScriptService:
    """A service that is not up, with this stop script."""
    (folder / "stop.sh").write_text(f"#!/bin/sh\n{stop}\n")
    (folder / "stop.sh").chmod(0o755)
    limits = {"health_timeout_seconds": 60, "stop_timeout_seconds": 60}
    url = f"http://127.0.0.1:{free_port()}/health"
    given = {"manager": "script", "start": "./start.sh", "stop": "./stop.sh", "health_url": url, **limits, **spec}
    return ScriptService("backend", given, folder, None, folder)


def test_the_stop_script_has_the_time_of_a_stop(tmp_path: Path) -> None:
    service(tmp_path, "sleep 0.2; touch stopped", health_timeout_seconds=0.001).stop()
    assert (tmp_path / "stopped").exists()


@pytest.mark.parametrize("seen", [True, False], ids=["process seen", "process not seen"])
def test_a_port_that_is_still_listened_on_is_no_stopped_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    """A service that answers nothing any more, and whose process may belong to a user that cannot be looked at."""
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        port = hanging.getsockname()[1]
        stopping = service(tmp_path, "true", health_url=f"http://127.0.0.1:{port}/health", stop_timeout_seconds=0.01)
        if not seen:
            monkeypatch.setattr(procfs, "listeners", lambda port: [])
        still = f"its process {os.getpid()} lives" if seen else f"port {port} is listened on"
        with pytest.raises(KeyturnError, match=f"still runs 0.01 s after ./stop.sh: {still}"):
            stopping.stop()


def test_a_query_of_the_health_url_is_asked_and_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, asked = "http://127.0.0.1:1/health?token=pa55word", []
    monkeypatch.setattr(http, "get", lambda url, timeout: asked.append(url))
    one = service(tmp_path, "true", health_url=url, health_timeout_seconds=0)
    with pytest.raises(
        KeyturnError, match=r"did not become healthy at http://127\.0\.0\.1:1/health within 0 s"
    ) as caught:
        one.wait_healthy()
    assert set(asked) == {url}
    assert "pa55word" not in str(caught.value)


def test_a_service_without_http_is_told_with_its_line_its_log_and_its_command(tmp_path: Path) -> None:
    spec = {"health_url": None, "health_line": "^up", "pid_file": "pid", "log_file": "logs/engine.log"}
    one = service(tmp_path, "true", **spec)
    assert one.health == f"its health_line `^up` in {tmp_path}/logs/engine.log"
    assert one.missing == f"start it (`cd {tmp_path} && ./start.sh`)"
    (tmp_path / "pid").write_text(str(os.getpid()))
    assert one.missing.endswith(f"has not said so since its start: look at {tmp_path}/logs/engine.log and restart it")
    assert service(tmp_path, "true", **spec | {"health_line": "x" * 100}).health.startswith(
        f"its health_line `{'x' * 60}...`"
    )
    given = {"manager": "systemd", "unit": "app-engine", "health_url": None, "health_line": "^up"}
    unit = SystemdService("engine", given, tmp_path, None, tmp_path)
    assert unit.health == "its health_line `^up` in `journalctl -u app-engine`"
    assert unit.start_command == "systemctl start app-engine"


@pytest.mark.parametrize(
    ("holders", "user", "own"),
    [
        ([10], 0, True),
        ([1, 10], 7, True),
        ([10, 99], 7, False),
        ([1], 7, True),
        ([99], 7, False),
        ([], 7, True),
        ([], 8, False),
    ],
)
def test_a_socket_is_the_unit_s_by_its_holders_and_where_none_is_to_be_seen_by_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holders: list[int], user: int, own: bool
) -> None:
    unit = SystemdService("engine", {"manager": "systemd", "unit": "app-engine"}, tmp_path, None, tmp_path)
    monkeypatch.setattr(unit, "processes", lambda: [10, 11])
    monkeypatch.setattr(procfs, "holders_of", lambda inode: holders)
    monkeypatch.setattr(procfs, "user_of", {10: 7, 11: 7, 99: 8}.get)
    assert unit._is_own(Listening("0100007F", 80, "4711", user)) is own


def test_a_stop_script_that_hangs_is_killed_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child"
    wait = subprocess.Popen.wait

    def out_of_time(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if timeout in (None, programs.KILL_SECONDS):
            return wait(process, timeout)
        while not child.exists():
            time.sleep(0.01)
        raise subprocess.TimeoutExpired("stop.sh", timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", out_of_time)
    hanging = service(tmp_path, "sleep 1000 & echo $! >new; mv new child; wait", stop_timeout_seconds=0.1)
    with pytest.raises(KeyturnError, match=r"service backend: ./stop.sh did not end within 0.1 s"):
        hanging.stop()
    deadline = time.monotonic() + 60
    while procfs.started_at(int(child.read_text())) is not None:
        assert time.monotonic() < deadline, "the child lives"
        time.sleep(0.01)


LINE = "INFO:engine:connected"
# what a start script does to the log of before, and then the engine says its line
LOGS = {
    "appended": "true",
    "begun anew": "rm -f log",
    "begun anew, and longer than before": "rm -f log; echo INFO:engine:hello >log; echo more >>log",
    "emptied": ": >log",
}


class Engine:
    """An engine with a log: real scripts, and a process that says one line (or nothing) and sleeps."""

    def __init__(self, folder: Path, before: str, says: str = f"echo {LINE} >>log;") -> None:
        self.folder = folder
        run = f"exec env -i {sys.executable} -c 'import time; time.sleep(600)'"
        self.write("start.sh", f"{before}\n(trap '' HUP; {says} {run}) >/dev/null 2>&1 &\necho $! >pid")
        stop = "kill $(cat pid) 2>/dev/null; rm -f pid"
        spec = {"health_url": None, "health_line": f"^{LINE}", "pid_file": "pid", "log_file": "log"}
        self.service = service(folder, stop, **spec)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.folder / name).chmod(0o755)

    def becomes(self) -> None:
        deadline = time.monotonic() + 60
        while self.service.pid() is None:
            assert time.monotonic() < deadline, "the shell does not become the engine"
            time.sleep(0.01)

    def lines(self) -> list[str] | None:
        found = self.service.log_lines()
        return None if found is None else list(found)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(before: str = "true", **more: str) -> Engine:
        made.append(Engine(tmp_path, before, **more))
        return made[-1]

    yield make
    for one in made:
        one.service.stop()


@pytest.mark.parametrize("log", LOGS)
def test_what_was_logged_before_the_start_never_counts(engine: Callable[..., Engine], tmp_path: Path, log: str) -> None:
    (tmp_path / "log").write_text("INFO:engine:of before\n" + f"{LINE}\n" * 3)
    here = engine(LOGS[log])
    here.service.start()
    here.service.wait_healthy()
    said = here.lines()
    assert said is not None and "INFO:engine:of before" not in said
    assert said.count(LINE) == 1


# what a rotation of logs does with it after the start: the old file's new name, or a copy and the same file
ROTATED = {
    "renamed": "mv log log.1; echo INFO:engine:later >log",
    "renamed, and the engine goes on there": "mv log log-20261128; echo INFO:engine:later >>log-20261128",
    "copied and emptied": "cp log log.1; : >log; echo INFO:engine:later >>log",
    "copied and emptied under a writer that goes on at its place": "cp log log.1; : >log; truncate -s 99 log; echo INFO:engine:later >>log",
}


@pytest.mark.parametrize("how", ROTATED)
def test_what_was_logged_since_the_start_counts_when_the_log_was_rotated(
    engine: Callable[..., Engine], tmp_path: Path, how: str
) -> None:
    (tmp_path / "log").write_text("INFO:engine:of before\n")
    (tmp_path / "log.2").write_text("INFO:engine:of long before\n")
    (tmp_path / "log.d").mkdir()
    here = engine()
    here.service.start()
    here.service.wait_healthy()
    subprocess.run(["sh", "-c", ROTATED[how]], cwd=tmp_path, check=True)
    assert here.lines() == [LINE, "INFO:engine:later"]


# all that Python takes for the end of a line
ENDS = [chr(number) for number in range(0x2030) if len(f"a{chr(number)}b".splitlines()) > 1 and number != ord("\n")]


def test_a_line_in_a_line_is_none(engine: Callable[..., Engine], tmp_path: Path) -> None:
    """What a stranger asks for is logged with its path, as he sent it."""
    said = [f"WARNING:auth:Missing header for /api/{end}ERROR:engine:forged" for end in ENDS]
    here = engine()
    here.service.start()
    here.service.wait_healthy()
    with (tmp_path / "log").open("a", newline="\n") as log:
        log.writelines(f"{line}\n" for line in said)
        log.write("INFO:engine:of a file with carriage returns\r\n")
    assert here.lines() == [LINE, *said, "INFO:engine:of a file with carriage returns"]


def test_a_log_that_nobody_writes_to_says_nothing(engine: Callable[..., Engine], tmp_path: Path) -> None:
    """The old engine was connected; the new one has not said so."""
    (tmp_path / "log").write_text(f"{LINE}\n")
    here = engine(says="")
    here.service.start()
    here.becomes()
    assert here.lines() == [] and not here.service.healthy()
    (tmp_path / "log").unlink()
    assert here.lines() == [], "nor does one that is gone"


def test_who_was_started_by_something_else_is_up_and_has_said_nothing_that_is_known(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    (tmp_path / "log").write_text("ERROR:engine:of before\n")
    here = engine()
    subprocess.run(["./start.sh"], cwd=tmp_path, check=True)
    here.becomes()
    assert here.lines() is None and here.service.healthy()
    here.service.stop()
    here.service.start()
    here.service.wait_healthy()
    assert here.lines() == [LINE]
    # and somebody starts it once more, later than a start script of keyturn's can have
    mark = tmp_path / "backend.start.json"
    document = json.loads(mark.read_text())
    document["moment"][1] -= here.service.spec["health_timeout_seconds"] + 1
    mark.write_text(json.dumps(document))
    assert here.lines() is None
    # a pid file that names what ran before the start
    document["moment"][1] = procfs.now().seconds + 1
    mark.write_text(json.dumps(document))
    assert here.lines() == [] and not here.service.healthy()


def test_a_shell_that_has_yet_to_become_the_engine_is_not_it(engine: Callable[..., Engine], tmp_path: Path) -> None:
    here = engine(says=f"while [ ! -e go ]; do sleep 0.01; done; echo {LINE} >>log;")
    here.service.start()
    assert procfs.started_at(int((tmp_path / "pid").read_text())) is not None
    assert here.service.pid() is None and not here.service.healthy() and not here.service.failed()
    (tmp_path / "go").touch()
    here.service.wait_healthy()
    pid = here.service.pid()
    assert pid is not None and procfs.environment(pid, ["PATH", "HOME"]) == {}, (
        "the engine's environment, not its shell's"
    )
    here.service.stop()
    assert here.service.failed()


def test_a_start_script_that_stays_in_the_foreground_has_done_its_work(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    here = engine()
    text = (tmp_path / "start.sh").read_text()
    (tmp_path / "start.sh").write_text(text + "while kill -0 $(cat pid); do sleep 0.05; done; touch ended\n")
    here.service.start()
    assert here.service.healthy() and not (tmp_path / "ended").exists()
    here.service.stop()
    deadline = time.monotonic() + 60
    while not (tmp_path / "ended").exists():
        assert time.monotonic() < deadline, "the script was killed"
        time.sleep(0.01)
    # one that stays without a service has failed
    here.write("start.sh", "sleep 1000")
    here.service.spec = {**here.service.spec, "health_timeout_seconds": 0.1}
    with pytest.raises(KeyturnError, match=r"./start.sh did not end within 0.1 s"):
        here.service.start()
