"""Every wait has an end: answers that drip, and files that are none, hold nothing up and take no memory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from keyturn.base import deadline, files, http, postgresql, programs
from keyturn.base.errors import KeyturnError
from keyturn.ground import scripts
from keyturn.ground.scripts import Scripts
from keyturn.services.script import LINE_BYTES, ScriptService
from support.lab import ROOT
from support.others import NOBODY, give, ground, needs_root

BEGIN = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n"
DRIPS = {
    "headers": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "more headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "continuing": (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "nothing": (b"", b""),
}


@pytest.mark.parametrize("phase", ["look", "evidence"])
def test_no_host_keeps_an_incident_from_its_rotations(phase: str) -> None:
    """It may be the very host that the incident is about, and stays silent for ever."""
    (task,) = yaml.safe_load((ROOT / f"roles/rotation/tasks/{phase}.yml").read_text())
    (call,) = task["block"]
    assert 0 < call["timeout"] <= 3600


@contextlib.contextmanager
def dripping(first: bytes, again: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says a little, and then a little more every twentieth of a second; yields what it was sent as well."""
    ended, sent = threading.Event(), list[bytes]()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    sent.append(connection.recv(65536))
                    connection.sendall(first)
                    while not ended.wait(0.05):
                        connection.sendall(again)

        server = threading.Thread(target=serve)
        server.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/health", sent
        finally:
            ended.set()
            server.join()


@pytest.mark.parametrize("drip", DRIPS)
def test_an_answer_that_drips_has_the_time_of_the_whole(drip: str) -> None:
    with dripping(*DRIPS[drip]) as (url, _):
        began = time.monotonic()
        answer = http.ask(url, 0.3)
        assert time.monotonic() - began < 1
        assert (answer.status, answer.body) == (200 if drip in ("body", "chunks") else None, b"")


@pytest.mark.parametrize("asked", [http, postgresql], ids=["http", "postgresql"])
def test_a_name_of_many_addresses_has_the_time_of_the_whole(monkeypatch: pytest.MonkeyPatch, asked: ModuleType) -> None:
    """Whoever has written an address may also say where its name leads."""
    waited: list[float] = []

    class Hole(socket.socket):
        def connect(self, place: Any) -> None:
            waited.append(self.gettimeout() or 0)
            raise TimeoutError

    clock = SimpleNamespace(monotonic=lambda: sum(waited, 0.0))
    for module in (deadline, asked):
        monkeypatch.setattr(module, "time", clock, raising=False)
    everywhere = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{number}", 80)) for number in range(200)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: everywhere)
    monkeypatch.setattr(socket, "socket", Hole)
    if asked is http:
        assert http.ask("http://many.example", 5.0).status is None
    else:
        there = postgresql.address("postgresql://many.example/shop")
        with pytest.raises(postgresql.Failed), postgresql.connected(there, "shop", "x", 5.0):
            pass
    assert waited == [5.0], "nothing is tried after that"


def test_an_address_that_answers_is_found_behind_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as gone:
        places = [gone.getsockname(), server.getsockname()]
        gone.close()
        both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        with deadline.connection("of-both.example", 80, time.monotonic() + 10) as found:
            assert found.getpeername() == places[1]


def test_an_answer_in_time_is_taken_in_pieces() -> None:
    with dripping(BEGIN + b"\r\n", b"xxxxx") as (url, sent):
        answer = http.ask(url, 10, {"Authorization": "Bearer x"})
    assert (answer.status, answer.body) == (200, b"x" * 10)
    assert b"Authorization: Bearer x\r\n" in sent[0]


def test_what_is_seen_when_the_connection_stands_keeps_everything_back() -> None:
    def refuse(peer: str) -> None:
        raise KeyturnError("a stranger")

    with dripping(BEGIN + b"\r\n", b"x") as (url, sent), pytest.raises(KeyturnError, match="a stranger"):
        http.ask(url, 10, {"Authorization": "Bearer x"}, connected=refuse)
    assert sent in ([], [b""])


def service(folder: Path, **spec: Any) -> ScriptService:
    limits = {"health_timeout_seconds": 1, "stop_timeout_seconds": 1}
    given = {
        "manager": "script",
        "start": "./start.sh",
        "stop": "./stop.sh",
        "health_url": "http://127.0.0.1:1",
        **limits,
    }
    return ScriptService("backend", given | spec, folder, None, folder)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


NO_FILES: dict[str, Callable[[Path], None]] = {"a pipe": pipe, "a device": device, "a folder": Path.mkdir}


@pytest.mark.parametrize("made", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, made: Callable[[Path], None]) -> None:
    made(tmp_path / "it")
    assert service(tmp_path, pid_file="it").pid() is None
    with pytest.raises(KeyturnError, match="it is not a regular file"):
        list(service(tmp_path, log_file="it").logged())
    with pytest.raises(KeyturnError, match="it is not a regular file"):
        service(tmp_path, log_file="it").start()


def test_a_file_is_read_up_to_a_size(tmp_path: Path) -> None:
    with (tmp_path / "pid").open("wb") as file:
        file.truncate(1 << 40)
    assert service(tmp_path, pid_file="pid").pid() is None
    with pytest.raises(KeyturnError, match="pid is larger than 10 bytes"):
        files.read(tmp_path / "pid", 10)


def test_a_line_without_an_end_comes_in_pieces_that_overlap(tmp_path: Path) -> None:
    secret = "a-value-that-stands-where-a-piece-ends"
    (tmp_path / "log").write_text("short\n" + "x" * (LINE_BYTES - 10) + secret + "x" * LINE_BYTES + "\nlast\n")
    lines = list(service(tmp_path, log_file="log").logged())
    assert (lines[0], lines[-1]) == ("short\n", "last\n")
    assert any(secret in line for line in lines)
    assert max(map(len, lines)) <= LINE_BYTES


# -- programs of other users ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def stopped_at_once(script: Path) -> Iterator[None]:
    """The user nobody stops what this process starts as that user. A lease on the script leaves the time for it."""
    ready, said = os.pipe()

    def stop() -> None:
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        held = os.open(script, os.O_RDWR)
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        os.write(said, b"leased")
        children = Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children")
        while True:
            for pid in map(int, children.read_text().split()):
                with contextlib.suppress(OSError):
                    if pid != os.getpid():
                        os.kill(pid, signal.SIGSTOP)

    attacker = os.fork()
    if attacker == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        stop()
    try:
        assert os.read(ready, 6) == b"leased"
        yield
    finally:
        os.kill(attacker, signal.SIGKILL)
        os.waitpid(attacker, 0)
        os.close(ready)
        os.close(said)


def program(path: Path, text: str = "") -> Path:
    """A program of the user nobody's."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    give(path)
    return path


@needs_root
def test_who_stops_a_program_before_it_has_begun_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "START_SECONDS", 1, raising=False)
    late = r"check\.sh in .* has not begun after 1 s: see what stops processes of the user nobody, "
    with (
        ground() as app,
        stopped_at_once(program(app / "check.sh")),
        deadline.within(20),
        pytest.raises(KeyturnError, match=late),
    ):
        Scripts(app, "nobody").run(["./check.sh"], 60)


@needs_root
def test_the_look_at_a_program_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "TEST_SECONDS", 0.1, raising=False)
    with ground() as app, deadline.within(20):
        program(app / "test", "exec sleep 60")
        monkeypatch.setattr(scripts, "PATH", f"{app}:{scripts.PATH}")
        with pytest.raises(KeyturnError, match=r"check\.sh can be run is not known after 0\.1 s"):
            Scripts(app, "nobody").runnable("./check.sh")


def test_what_a_kill_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a git that looks into a file system of its user's."""
    left: list[int] = []
    monkeypatch.setattr(programs, "KILL_SECONDS", 0.1, raising=False)
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: left.append(process.pid))
    try:
        with deadline.within(20), pytest.raises(subprocess.TimeoutExpired):
            programs.said(["sleep", "60"], 1000, 0.1)
    finally:
        os.kill(left[0], signal.SIGKILL)
