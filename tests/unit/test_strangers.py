"""Another user of the host: none takes a service's place and is shown a token, and root runs nothing that one may change."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from keyturn import issuers
from keyturn.base import deadline, postgresql, procfs
from keyturn.base.errors import KeyturnError
from keyturn.base.here import Listener
from keyturn.ground.scripts import Scripts
from keyturn.host import probes, storage
from keyturn.host.probes import Question
from keyturn.inputs import catalogue
from keyturn.inputs.validation import validated
from keyturn.issuers.admin import STRANGERS
from keyturn.issuers.contract import Told
from keyturn.services.script import ScriptService
from support import lab
from support.faults import Host
from support.others import NOBODY, give, ground, needs_root

pytestmark = needs_root
SECRET = "the-secret-of-the-test-0123456789abcdef"
WAITS = 20


@pytest.fixture
def app() -> Iterator[Path]:
    with ground() as made:
        yield made


class Stranger(NamedTuple):
    """A process of the user nobody's that answers everything with 200, and what it was sent."""

    pid: int
    port: int
    heard: int

    def received(self) -> bytes:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return b"".join(iter(lambda: os.read(self.heard, 65536), b""))


def listen(family: socket.AddressFamily, place: tuple[str, int], told: int) -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    signal.alarm(WAITS)
    with socket.socket(family) as listening:
        listening.bind(place)
        listening.listen()
        os.write(told, f"{listening.getsockname()[1]}\n".encode())
        while True:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                os.write(told, connection.recv(65536))
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")


@contextlib.contextmanager
def forked(does: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    """Run a stranger, which is given where to write what it is sent; yield its process and where to read that."""
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            does(told)
        finally:
            os._exit(1)
    os.close(told)
    try:
        yield pid, heard
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(heard)


@contextlib.contextmanager
def stranger(
    family: socket.AddressFamily = socket.AF_INET, place: tuple[str, int] = ("127.0.0.1", 0)
) -> Iterator[Stranger]:
    with forked(functools.partial(listen, family, place)) as (pid, heard):
        port = os.read(heard, 100)
        if not port:
            pytest.skip("this machine has no IPv6")
        yield Stranger(pid, int(port), heard)


def service(url: str, root: Path = Path("/"), user: str | None = None, **more: Any) -> ScriptService:
    given = {
        "manager": "script",
        "start": "./start.sh",
        "stop": "./stop.sh",
        "health_url": f"{url}/health",
        "proof_secret": "JWT_SECRET_KEY",
    } | more
    return ScriptService("backend", validated("backend", catalogue.SERVICE, given), root, user, root)


def shown(one: ScriptService) -> list[dict[str, str]]:
    live, dead = {"JWT_SECRET_KEY": SECRET}, {"JWT_SECRET_KEY": SECRET[::-1]}
    question = Question("new", live, dead, [one], None, value_of=live.__getitem__)
    return [*probes.jwt_token(question, {"path": "/guarded"}), *probes.http_status(question, {})]


def test_a_stranger_on_the_port_is_named_and_shown_no_token(tmp_path: Path) -> None:
    with stranger() as other:
        one = service(f"http://127.0.0.1:{other.port}", tmp_path, proof_path="/guarded", proof_auth="jwt")
        with pytest.raises(
            KeyturnError, match=f"port {other.port} is listened on by process {other.pid} .* of the user 65534"
        ):
            shown(one)
        question = Question("new", {"J": SECRET}, None, [one], None, value_of=lambda variable: SECRET)
        with pytest.raises(KeyturnError, match="which is not the service's"):
            list(probes.http_status(question, {}))
        (tmp_path / "pid").write_text(str(os.getpid()))  # a process of the service's that lives, and could not listen
        beside = service(f"http://127.0.0.1:{other.port}", tmp_path, pid_file="pid")
        for line in probes.process([one, beside], procfs.now()._replace(seconds=0)):
            assert (line["verdict"], f"process {other.pid} " in line["detail"]) == ("rejected", True)
        assert b"Bearer" not in other.received()


def test_one_that_takes_another_address_of_the_same_name_is_found(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        assert service("http://127.0.0.1:1", tmp_path).sockets(f"http://0.0.0.0:{port}"), (
            "which leads to this host as well"
        )
        with stranger(socket.AF_INET6, ("::1", port)):
            assert service(f"http://127.0.0.1:{port}", tmp_path).sockets(f"http://127.0.0.1:{port}")
            with pytest.raises(KeyturnError, match="of the user 65534"):
                service(f"http://[::1]:{port}", tmp_path).sockets(f"http://[::1]:{port}/x")


def test_the_applications_user_is_the_service(app: Path) -> None:
    with stranger() as own:
        for user in ("nobody", None):  # named, or whose the folder is
            one = service(f"http://127.0.0.1:{own.port}", app, user)
            assert shown(one)[0]["verdict"] == "accepted"
            assert one.foreign() == ""
        assert b"Bearer" in own.received()


@pytest.mark.parametrize("server_user", [None, "nobody"])
def test_who_takes_the_port_of_a_server_is_sent_no_admins_password(tmp_path: Path, server_user: str | None) -> None:
    (tmp_path / "admin").write_text(SECRET)
    (tmp_path / "admin").chmod(0o600)
    admin = {"user": None, "stored": None, "password_file": str(tmp_path / "admin"), "server_user": server_user}
    with stranger() as other:
        headers = {"Authorization": "Bearer {admin_password}"}
        answers = [{"verdict": "accepted", "status": [200], "says": None}]
        request = {"method": "PUT", "url": f"http://127.0.0.1:{other.port}/x", "headers": headers, "body": None}
        spec = {"admin": admin, "tls": False, "seconds": 9, "requests": {"set": request | {"answers": answers}}}
        told = Told("", {}, {}, lambda values: None)
        issuer = issuers.ISSUERS["http"].issuer(spec, {"kind": "http", "fields": []}, [], told)
        if server_user:
            issuer.set()
        else:
            with pytest.raises(KeyturnError, match=f"was told nothing: the user 65534 listens on port .*: {STRANGERS}"):
                issuer.set()
        assert (SECRET.encode() in other.received()) is bool(server_user)


def test_a_server_that_was_not_there_before_the_connection_is_not_believed() -> None:
    with socket.socket() as server, socket.socket(type=socket.SOCK_DGRAM) as leads_there:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        leads_there.connect(("127.0.0.1", port))
        before = Listener(port, {os.getuid()})
        place = f"port {port} of this host"
        assert before.refusal(leads_there) == f"nobody is seen to listen on {place}, where somebody answers"
        server.listen()
        assert before.refusal(leads_there) == f"who listens on {place} has changed in the same moment"
        assert Listener(port, {os.getuid()}).refusal(leads_there) == ""


def test_who_takes_the_port_between_the_look_and_the_connection_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stranger() as other:
        seen = iter([{"1"}, {"2"}])
        monkeypatch.setattr(ScriptService, "sockets", lambda one, url, connection=None: next(seen))
        with pytest.raises(KeyturnError, match="who listens there has changed, so nothing was sent"):
            shown(service(f"http://127.0.0.1:{other.port}", tmp_path))
        assert b"Bearer" not in other.received()


def test_nor_is_its_answer_a_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stranger() as other:
        seen = iter([{"1"}, {"1"}, {"2"}])
        monkeypatch.setattr(ScriptService, "sockets", lambda one, url, connection=None: next(seen))
        one = service(f"http://127.0.0.1:{other.port}", tmp_path, proof_path="/works")
        with pytest.raises(KeyturnError, match="who listens there has changed, so nothing was sent"):
            list(probes.http_status(Question("new", {}, {}, [one], None), {}))


RESET, FILTER = 4, 26
# of socket(7): drops what has the flag RST, the answer of a port on which nobody listens
DROPS_RESETS = b"".join(
    struct.pack("HBBI", *step) for step in [(0x30, 0, 0, 13), (0x45, 0, 1, RESET), (6, 0, 0, 0), (6, 0, 0, 1 << 16)]
)


def connect_to_clients(port: int, client: int, told: int) -> None:
    """Connect from a port to the one of a client before that connects to it: two that connect to each other are connected."""
    buffer = ctypes.create_string_buffer(DROPS_RESETS)
    program = struct.pack("HxxxxxxQ", len(DROPS_RESETS) // 8, ctypes.addressof(buffer))
    os.setresuid(NOBODY, NOBODY, 0)
    with socket.socket() as waiting:
        os.seteuid(0)  # some kernels let nobody else have a filter
        waiting.setsockopt(socket.SOL_SOCKET, FILTER, program)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        signal.alarm(WAITS)
        waiting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        waiting.bind(("127.0.0.1", port))
        waiting.setblocking(False)
        waiting.connect_ex(("127.0.0.1", client))
        os.write(told, b"waits")
        waiting.setblocking(True)
        while True:
            with contextlib.suppress(OSError):
                os.write(told, waiting.recv(65536))
                waiting.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
            time.sleep(0.05)


@contextlib.contextmanager
def who_connects_to_clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stranger]:
    """Such a stranger, and a server on the same port, on which it alone listens; our connections come from one port."""
    port, client = lab.free_port(), lab.free_port()
    here = ("127.0.0.1", client)
    monkeypatch.setattr(
        deadline, "connection", lambda host, port, ends: socket.create_connection((host, port), 9, here)
    )
    with forked(functools.partial(connect_to_clients, port, client)) as (pid, heard):
        assert os.read(heard, 5) == b"waits"
        with socket.create_server(("127.0.0.1", port)):
            yield Stranger(pid, port, heard)


def test_who_connects_to_us_in_the_place_of_the_service_is_shown_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with who_connects_to_clients(monkeypatch) as other:
        url = f"http://127.0.0.1:{other.port}"
        with pytest.raises(
            KeyturnError, match=rf"a connection to port .* was taken by process {other.pid} .*of the user {NOBODY}"
        ):
            shown(service(url, tmp_path))
        assert b"Bearer" not in other.received()


def test_nor_is_it_sent_an_admins_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with who_connects_to_clients(monkeypatch) as other:
        listener = Listener(other.port, [0])
        server = postgresql.Address("127.0.0.1", other.port, "postgres", tls=False)
        with (
            pytest.raises(postgresql.Failed, match=f"the user {NOBODY} answers on port {other.port} of this host"),
            postgresql.connected(server, "admin", SECRET, 9, refusal=listener.refusal),
        ):
            pass
        assert other.received() == b""


@pytest.mark.parametrize("url", ["http://192.0.2.1:8000", "https://127.0.0.1", ""])
def test_what_is_elsewhere_or_only_roots_to_take_is_not_looked_at(tmp_path: Path, url: str) -> None:
    assert service("http://127.0.0.1:1", tmp_path).sockets(url) is None


# -- programs ------------------------------------------------------------------------------------------------------


def program(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\nid -u >{folder}/ran\n")
    path.chmod(0o755)
    return path


def test_root_runs_no_script_that_another_user_may_change(app: Path) -> None:
    give(program(app, "start.sh"), program(app, "stop.sh"))
    one = service("http://127.0.0.1:1", app)
    told = f"{app}/start.sh would run as root, and the user nobody may change it .{app}.: set keyturn_app_user"
    for call in (one.check, one.start, lambda: one.scripts.run(["./start.sh"], 60)):
        with pytest.raises(KeyturnError, match=told):
            call()
    with pytest.raises(KeyturnError, match=r"start\.sh would run as root"):
        Scripts(app.parent, None).run(["/bin/sh", "app/start.sh"], 5)
    assert not (app / "ran").exists()
    assert Scripts(app, "nobody").run(["./start.sh"], 60) == 0
    assert (app / "ran").read_text() == f"{NOBODY}\n"


def test_root_runs_its_own(tmp_path: Path) -> None:
    program(tmp_path, "start.sh")
    assert Scripts(tmp_path, None).run(["./start.sh"], 60) == 0
    assert (tmp_path / "ran").read_text() == "0\n"


def test_the_storage_check_names_such_a_script(host: Host) -> None:
    def found() -> list[str]:
        rotation = host.rotation()
        return [
            one["what"] for one in storage.look([rotation], False)["findings"] if "would run as root" in one["what"]
        ]

    assert found() == []
    give(host.lab.app / "stop.sh")
    (what,) = found()
    assert f"service backend: {host.lab.app}/stop.sh would run as root, and the user nobody may change it" in what
    give(host.lab.app / "stop.sh", user=0)
