"""The hooks' module with a real HAProxy: what it refuses is an error, and what a person has set stays."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.services import haproxy
from keyturn.services.haproxy import Server
from support.lab import free_port

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin") or shutil.which("haproxy")
pytestmark = pytest.mark.skipif(HAPROXY is None, reason="there is no HAProxy")
CONFIGURATION = """
global
    stats socket {folder}/admin mode 600 level admin
    stats socket {folder}/operator mode 600 level operator
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
frontend www
    bind 127.0.0.1:{port}
    default_backend apps
backend apps
    default-server inter 50ms fastinter 50ms downinter 50ms fall 1 rise 1
    server app1 127.0.0.1:{server} check
    server app2 127.0.0.1:{server} disabled
"""


class Balancer:
    """A balancer, and a server behind it that answers when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.answer = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()
        text = CONFIGURATION.format(folder=folder, port=self.port, server=self.listener.getsockname()[1])
        (folder / "cfg").write_text(text)
        self.process = subprocess.Popen([str(HAPROXY), "-db", "-f", folder / "cfg"], stderr=subprocess.DEVNULL)
        self.wait("app1", "2 0")

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._one, args=(self.listener.accept()[0],), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            if connection.recv(4096):
                self.answer.wait(60)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

    def ask(self, command: str) -> str:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.connect(str(self.folder / "admin"))
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def state(self, name: str) -> str:
        """Its operational and administrative state."""
        lines = self.ask("show servers state apps").splitlines()
        return " ".join(next(line.split()[5:7] for line in lines if f" {name} " in line))

    def wait(self, name: str, state: str) -> None:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                if self.state(name) == state:
                    return
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def request(self) -> socket.socket:
        """A request that waits for its answer."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server, deadline = self.server(), time.monotonic() + 60
        while not server._connections():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return connection

    def server(self, name: str = "app1", path: str = "admin", backend: str = "apps") -> Server:
        return Server(str(self.folder / path), backend, name)


@pytest.fixture
def balancer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Balancer]:
    monkeypatch.setattr(haproxy, "POLL_SECONDS", 0.02)
    made = Balancer(tmp_path)
    yield made
    made.answer.set()
    made.process.kill()
    made.process.wait()
    made.listener.close()


def test_a_server_is_drained_and_put_back(balancer: Balancer) -> None:
    server = balancer.server()
    assert server.drain(60, change=False) and balancer.state("app1") == "2 0"
    assert server.drain(60) and balancer.state("app1") == "2 8"
    assert not server.drain(60), "a repetition has nothing to order"
    assert server.put_back(60, change=False) and balancer.state("app1") == "2 8"
    assert server.put_back(60) and balancer.state("app1") == "2 0"
    assert not server.put_back(60)


def test_a_connection_is_waited_for_and_named_at_the_end(balancer: Balancer) -> None:
    with balancer.request():
        with pytest.raises(
            KeyturnError, match=r"apps/app1 still has 1 connections after 0.1 s: .*keyturn_haproxy.seconds"
        ):
            balancer.server().drain(0.1)
        threading.Timer(0.2, balancer.answer.set).start()
        balancer.server().drain(60)
        assert balancer.answer.is_set()


def test_an_order_that_is_refused_is_an_error(balancer: Balancer) -> None:
    with pytest.raises(
        KeyturnError, match=r"cannot be set to drain, the socket answers Permission denied: .*`level admin`"
    ):
        balancer.server(path="operator").drain(60)
    assert balancer.state("app1") == "2 0"
    balancer.server().drain(60)
    with pytest.raises(KeyturnError, match="cannot be set to ready, the socket answers Permission denied"):
        balancer.server(path="operator").put_back(60)


def test_an_order_that_is_taken_and_not_done_is_an_error(balancer: Balancer, monkeypatch: pytest.MonkeyPatch) -> None:
    server = balancer.server()
    ask = server._ask
    monkeypatch.setattr(server, "_ask", lambda command: "\n" if command.startswith("set") else ask(command))
    with pytest.raises(KeyturnError, match="was told to drain, and does not"):
        server.drain(60)


@pytest.mark.parametrize("before", ["2 0", "2 8"], ids=["before the drain", "meanwhile"])
def test_maintenance_stays(balancer: Balancer, before: str) -> None:
    server = balancer.server()
    if before == "2 8":
        server.drain(60)
    balancer.ask("set server apps/app1 state maint")
    held = balancer.state("app1")
    assert server.kept_out()
    assert not server.drain(60) and balancer.state("app1") == held
    assert not server.put_back(60) and balancer.state("app1") == held


def test_one_that_the_configuration_disabled_counts_once_a_person_has_enabled_it(balancer: Balancer) -> None:
    server = balancer.server("app2")
    assert server.kept_out() and not server.drain(60)
    balancer.ask("set server apps/app2 state ready")
    assert balancer.state("app2") == "2 4", "HAProxy remembers"
    assert server.drain(60) and balancer.state("app2") == "2 12"
    assert server.put_back(60) and balancer.state("app2") == "2 4"


def test_one_that_is_not_healthy_is_not_back(balancer: Balancer) -> None:
    balancer.server().drain(60)
    balancer.listener.shutdown(socket.SHUT_RDWR)
    balancer.wait("app1", "0 8")
    with pytest.raises(KeyturnError, match=r"apps/app1 is not running after 0.1 s"):
        balancer.server().put_back(0.1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "app"}, r"apps/app is not found \(has no such line\): keyturn_haproxy.backend"),
        ({"backend": "nope"}, r"nope/app1 is not found \(Can't find backend.\): keyturn_haproxy.backend"),
        ({"path": "none"}, r"/none: No such file or directory: keyturn_haproxy.socket names"),
        ({"path": "cfg"}, r"/cfg: Connection refused: keyturn_haproxy.socket names"),
        ({"name": "a; set server apps/app1 state maint"}, "is no name that HAProxy has"),
        ({"backend": "apps\nshutdown"}, "is no name that HAProxy has"),
    ],
)
def test_what_is_not_there_is_named(balancer: Balancer, given: dict[str, str], said: str) -> None:
    with pytest.raises(KeyturnError, match=said):
        balancer.server(**given).drain(60)
    assert balancer.state("app1") == "2 0"


def test_a_socket_that_never_answers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "ASK_SECONDS", 0.1)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        with pytest.raises(KeyturnError, match="/silent: no answer: "):
            Server(str(tmp_path / "silent"), "apps", "app1").drain(60)
