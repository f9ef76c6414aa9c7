"""Real stores on loopback, a wire between client and store that can be cut, and the host as a store of the same contract."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from keyturn.base import durable
from keyturn.ground import consumers
from keyturn.host import values
from keyturn.host.phases import commit, rollback, stage, turn
from keyturn.host.rotation import Rotation
from keyturn.inputs import catalogue
from keyturn.inputs.validation import validated
from keyturn.stores import open_store
from keyturn.stores.contract import Held, Version

from support.lab import free_port

ROOT_TOKEN = "root-of-the-tests"
AWS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
    "AWS_EC2_METADATA_DISABLED": "true",
}
CA = "vault-ca.pem"
VARIABLE = "TOKEN"
POLICY = Path(__file__).parents[2] / "files/openbao-policy.hcl"


@contextlib.contextmanager
def running(command: list[str], ready: str, log: Path = Path(os.devnull), ca: Path | None = None) -> Iterator[None]:
    """Run a server until the block ends; ``ready`` is a URL that it answers, ``log`` gets what it prints."""
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as server:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    context = ssl.create_default_context(cafile=ca) if ca else None
                    urllib.request.urlopen(ready, timeout=5, context=context).close()
                    break
                except OSError:
                    assert server.poll() is None, f"{command[0]} has ended"
                    assert time.monotonic() < deadline, f"{command[0]} does not start"
                    time.sleep(0.05)
            yield
        finally:
            server.kill()


@contextlib.contextmanager
def openbao(audit: Path | None = None, tls: Path | None = None) -> Iterator[str]:
    """Run OpenBao in memory, KV version 2 at ``secret``; its URL.

    ``audit`` is the folder for its log of all requests. With ``tls`` it speaks TLS, and leaves the certificate of its
    authority in that folder.
    """
    address = f"127.0.0.1:{free_port()}"
    url = f"https://{address}" if tls else f"http://{address}"
    program = str(Path(sys.executable).with_name("bao"))
    arguments = ["server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT_TOKEN}"]
    if audit is not None:
        config = audit / "openbao.hcl"
        config.write_text(f'audit "file" "to-file" {{ options {{ file_path = "{audit}/audit.log" }} }}\n')
        arguments.append(f"-config={config}")
    if tls is not None:
        arguments += ["-dev-tls", f"-dev-tls-cert-dir={tls}"]
    command = [program, *arguments, f"-dev-listen-address={address}"]
    with running(command, f"{url}/v1/sys/health", ca=tls / CA if tls else None):
        yield url


@contextlib.contextmanager
def secretsmanager(log: Path = Path(os.devnull)) -> Iterator[str]:
    """Run the APIs of AWS, among them Secrets Manager; its URL. ``log`` gets its log of requests."""
    port = free_port()
    program = str(Path(sys.executable).with_name("moto_server"))
    url = f"http://127.0.0.1:{port}"
    with running([program, "-H", "127.0.0.1", "-p", str(port)], f"{url}/moto-api/", log):
        yield url


def approle(url: str, environment: str, role: str) -> str:
    """Let an administrator give Keyturn a role for one environment, with the policy that the project ships; its secret id."""
    client: Any = open_store(spec("openbao", url), {"BAO_TOKEN": ROOT_TOKEN})._client
    if "approle/" not in client.sys.list_auth_methods()["data"]:
        client.sys.enable_auth_method("approle")
    client.sys.create_or_update_policy(role, POLICY.read_text().replace("ENVIRONMENT", environment))
    client.auth.approle.create_or_update_approle(role, token_policies=[role], token_ttl="5m")
    client.auth.approle.update_role_id(role, f"the-role-of-{role}")
    return str(client.auth.approle.generate_secret_id(role)["data"]["secret_id"])


def spec(kind: str, url: str, **more: Any) -> dict[str, Any]:
    """Return ``keyturn_store`` with its defaults."""
    given = {"kind": kind, "url": url, **({"region": "eu-west-1"} if kind == "aws_secretsmanager" else {}), **more}
    return validated("keyturn_store", catalogue.STORE, given, catalogue.STORE_REQUIRED_IF)


class Cut(Exception):
    """The wire is cut here."""


class Wire(ThreadingHTTPServer):
    """Passes requests on to a server, and calls ``hook(number, before)`` around each: before it is sent, and after its answer."""

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.origin = url.removeprefix("http://")
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.hook: Callable[[int, bool], None] = lambda number, before: None
        self.answer: tuple[int, bytes] | None = None  # given instead of the server's
        self.count = 0
        self.request = ("", "")
        self.aws_calls: set[tuple[str, str]] = set()  # operation and secret
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a cut is wanted."""


class _Passing(BaseHTTPRequestHandler):
    server: Wire

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        number = self.server.count
        self.server.count += 1
        self.server.request = (self.command, self.path)
        operation = self.headers.get("X-Amz-Target", "").partition(".")[2]
        if operation:
            asked = json.loads(body)
            self.server.aws_calls.add((operation, asked.get("SecretId") or asked["Name"]))
        if self.server.answer is not None:
            self._answer(*self.server.answer, {})
            return
        try:
            self.server.hook(number, True)
            there = http.client.HTTPConnection(self.server.origin, timeout=30)
            there.request(self.command, self.path, body, dict(self.headers))
            answer = there.getresponse()
            content = answer.read()
            there.close()
            self.server.hook(number, False)
        except Cut:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(answer.status, content, answer.headers)

    def _answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name in ("Content-Type", "x-amzn-RequestId"):
            if headers.get(name):
                self.send_header(name, headers[name])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_LIST = do_PATCH = do_DELETE = _pass

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


class Remote:
    """One of the stores of the controller behind a wire, at a path of the test's own."""

    def __init__(self, kind: str, url: str, path: str) -> None:
        self.kind, self.path = kind, path
        self.wire = Wire(url)
        self.direct = open_store(spec(kind, url), {"BAO_TOKEN": ROOT_TOKEN})
        self.store = self.open()

    def open(self, **environment: str) -> Any:
        """Return a client at the other end of the wire."""
        return open_store(spec(self.kind, self.wire.url), {"BAO_TOKEN": ROOT_TOKEN} | environment)

    def step(self, name: str, *arguments: Any) -> bool:
        """Take a step of the contract."""
        return bool(getattr(self.store, name)(self.path, *arguments))

    def read(self) -> Held:
        """Return what the store holds, past the wire."""
        return self.direct.read(self.path)

    def change(self, value: str) -> None:
        """Somebody else writes a current value, not knowing of Keyturn."""
        store: Any = self.direct
        if self.kind == "openbao":
            store._kv.create_or_update_secret(path=self.path, secret={VARIABLE: value}, mount_point="secret")
        else:
            store._make(self.path) if self.read().current is None else None
            store._client.put_secret_value(SecretId=self.path, SecretString=f'{{"{VARIABLE}": "{value}"}}')

    def killed_at(self, number: int, before: bool, name: str, *arguments: Any) -> bool:
        """Take a step in a process that gets SIGKILL at a call; tell whether there was such a call."""
        pid, killed = 0, threading.Event()

        def hook(count: int, is_before: bool) -> None:
            if (count, is_before) == (number, before):
                os.kill(pid, signal.SIGKILL)
                killed.set()
                raise Cut

        self.wire.count, self.wire.hook = 0, hook
        pid = os.fork()
        if pid == 0:
            self.step(name, *arguments)
            os._exit(0)
        os.waitpid(pid, 0)
        self.wire.hook = lambda count, is_before: None
        return killed.is_set()

    def close(self) -> None:
        """Take the wire away."""
        self.wire.shutdown()
        self.wire.server_close()


ENTRY = {
    "title": "A secret",
    "variables": [VARIABLE],
    "source": {"kind": "generated", "generator": "token_urlsafe"},
    "value": "shared",
    "switch": "together",
    "overlap": "none_needed",
    "consumers": [{"format": "dotenv", "path": ".env"}],
    "migration": {"kind": "none"},
    "services": [],
    "probes": [],
    "retire": {"kind": "none"},
    "downtime_budget_seconds": 60,
}


class Host:
    """The store ``dotenv``: the phases of the lifecycle on a host, each step of the contract as they take it."""

    kind = "dotenv"

    def __init__(self, folder: Path) -> None:
        self.app, self.state = folder / "app", folder / "state"
        self.app.mkdir()
        self.env = self.app / ".env"

    def rotation(self, rotation_id: str) -> Rotation:
        """Return the rotation as a module on the host gets it."""
        entry = validated("the entry", catalogue.ENTRY, ENTRY)
        accepted = {"unproved": "the store is tried, no application"}
        given = {"rotation_id": rotation_id, "environment": "test", "reason": "test", "operator": "tester"}
        given |= {"secret": "secret", "entry": entry, "services": {}, "overrides": accepted}
        return Rotation(**given, app_root=self.app, app_user=None, state_dir=self.state)

    def step(self, name: str, *arguments: Any) -> bool:
        """Take a step of the contract."""
        return bool(getattr(self, name)(*arguments))

    def stage(self, rotation_id: str, given: Mapping[str, str]) -> bool:
        """As the phase does."""
        return bool(stage.run(self.rotation(rotation_id), given)["changed"])

    def promote(self, rotation_id: str, _old: Any, _new: Any) -> bool:
        """The phases from the switch to the end."""
        rotation = self.rotation(rotation_id)
        answers = [turn.run(rotation, "proved"), commit.run(rotation, "both")]
        return any(answer["changed"] for answer in answers)

    def discard(self, rotation_id: str) -> bool:
        """As a rollback does."""
        return bool(rollback.run(self.rotation(rotation_id), "test", False)["changed"])

    def destroy_previous(self, rotation_id: str) -> bool:
        """As the end of the retention does."""
        journal = self.rotation(rotation_id).application.get(rotation_id)
        there = journal is not None and journal.path(values.PREVIOUS).exists()
        if there and journal is not None:
            values.destroy_previous(journal)
        return there

    def read(self) -> Held:
        """Return what the host holds."""
        held = consumers.read(self.rotation("none").consumers()[0], [VARIABLE])
        journals = self.rotation("none").application.journals()
        found = {}
        for name in (values.PENDING, values.PREVIOUS):
            with_file = [journal for journal in journals if journal.path(name).exists()]
            content = durable.read_json(with_file[-1].path(name)) if with_file else None
            found[name] = Version(content, with_file[-1].folder.name) if content else None
        previous = found[values.PREVIOUS]
        if previous is not None and dict(previous.values) == held:
            previous = None  # a copy of what is still current
        return Held(Version(held, ""), found[values.PENDING], previous)

    def change(self, value: str) -> None:
        """Somebody else writes a current value."""
        self.env.write_text(f"{VARIABLE}={value}\n")
        self.env.chmod(0o600)

    def killed_at(self, number: int, _before: bool, name: str, *arguments: Any) -> bool:
        """Take a step in a process that gets SIGKILL instead of its n-th fsync; tell whether there was one."""
        pid = os.fork()
        if pid == 0:
            count, fsync = iter(range(1000)), os.fsync
            os.fsync = lambda fd: (  # type: ignore[assignment]
                os.kill(os.getpid(), signal.SIGKILL) if next(count) == number else fsync(fd)
            )
            self.step(name, *arguments)
            os._exit(0)
        return os.WIFSIGNALED(os.waitpid(pid, 0)[1])

    def close(self) -> None:
        """There is nothing to close."""
