"""Proofs of a real process and a real HTTP server: what is no acceptance, and what is not the value's fault."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from keyturn.base import jwt, procfs
from keyturn.base.fingerprint import fingerprint
from keyturn.host import probes
from keyturn.host.probes import Question
from keyturn.inputs import catalogue
from keyturn.inputs.validation import validated
from keyturn.services.script import ScriptService

SECRET = "s" * 32


class Api(BaseHTTPRequestHandler):
    """Answers the status that the path names; /guarded wants a token, and says 500 without, as the application does."""

    def do_GET(self) -> None:
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        good = bool(token) and jwt.signed_with(token, SECRET)
        guarded, status = self.path.startswith("/guarded"), int(self.path.rpartition("/")[2])
        self.send_response(500 if guarded and not good else status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield "http://{}:{}".format(*server.server_address[:2])
    server.shutdown()
    server.server_close()


def service(url: str = "http://127.0.0.1:1", **more: Any) -> ScriptService:
    given = {
        "manager": "script",
        "start": "./a",
        "stop": "./b",
        "health_url": f"{url}/200",
        "proof_secret": "JWT_SECRET_KEY",
    } | more
    return ScriptService("backend", validated("backend", catalogue.SERVICE, given), Path("/"), None, Path("/"))


def question(services: Sequence[ScriptService], dead: dict[str, str] | None = None, secret: str = SECRET) -> Question:
    held = {"JWT_SECRET_KEY": secret}
    return Question("new", held, dead, services, None, value_of=held.__getitem__)


@pytest.mark.parametrize(
    ("path", "auth", "verdict", "said"),
    [
        ("/200", "none", "accepted", "GET /200: HTTP 200"),
        ("/204", "none", "accepted", "GET /204: HTTP 204"),
        ("/502", "none", "rejected", "GET /502: HTTP 502"),
        ("/302", "none", "rejected", "GET /302: HTTP 302"),
        ("/404", "none", "unknown", "GET /404: HTTP 404, the application has no such path"),
        ("/401", "none", "unknown", "GET /401: HTTP 401, it may want a login (proof_auth: jwt)"),
        ("/guarded/200", "none", "unknown", "GET /guarded/200: HTTP 500, it may want a login (proof_auth: jwt)"),
        ("/guarded/200", "jwt", "accepted", "GET /guarded/200: HTTP 200"),
        ("/guarded/502", "jwt", "rejected", "GET /guarded/502: HTTP 502"),
        ("/guarded/500", "jwt", "rejected", "GET /guarded/500: HTTP 500"),
        ("/guarded/404", "jwt", "unknown", "GET /guarded/404: HTTP 404, the application has no such path"),
        ("/guarded/403", "jwt", "unknown", "GET /guarded/403: HTTP 403, the login is not taken"),
    ],
)
def test_what_a_proof_path_says(url: str, path: str, auth: str, verdict: str, said: str) -> None:
    (line,) = probes.http_status(question([service(url, proof_path=path, proof_auth=auth)]), {})
    assert (line["verdict"], line["detail"]) == (verdict, said)
    assert probes.holds(line) == (verdict == "accepted")


def test_a_path_that_is_not_there_refuses_no_token(url: str) -> None:
    """The dead secret is not dead because nobody answers for it."""
    lines = list(probes.jwt_token(question([service(url)], dead={"J": "d" * 32}), {"path": "/404"}))
    assert [line["verdict"] for line in lines] == ["unknown", "unknown"]
    assert not any(probes.holds(line) for line in lines)
    lines = list(probes.jwt_token(question([service(url)], dead={"J": "d" * 32}), {"path": "/guarded/200"}))
    assert [line["verdict"] for line in lines] == ["accepted", "rejected"]


def given_as(pid: int) -> dict[str, tuple[str, str]]:
    return {name: (name, value) for name, value in procfs.environment(pid, ["KEY", "NOT_GIVEN"]).items()}


@pytest.mark.parametrize(("given", "verdict"), [("live", "accepted"), ("another", "rejected"), ("", "rejected")])
def test_a_variable_of_the_process_wins_over_the_file(tmp_path: Path, given: str, verdict: str) -> None:
    """A process that was started with the old value stays on it, whatever stands in `.env`."""
    sleeping = [sys.executable, "-c", "print(flush=True); import time; time.sleep(600)"]
    process = subprocess.Popen(sleeping, env={"KEY": given}, stdout=subprocess.PIPE)
    try:
        assert process.stdout and process.stdout.readline()
        (tmp_path / "pid").write_text(str(process.pid))
        one = service(pid_file=str(tmp_path / "pid"))
        (line,) = probes.environment([one], {"KEY": "live", "NOT_GIVEN": "live"}, given_as)
        assert (line["verdict"], line["subject"]) == (verdict, "backend")
        assert line["detail"] == f"the process was started with KEY {fingerprint(given)}"
        assert probes.holds(line) == (verdict == "accepted")
    finally:
        process.kill()
        process.communicate()
    assert procfs.started_at(process.pid) is None
    assert list(probes.environment([one], {"KEY": "live"}, given_as)) == [], "nobody can be asked"


class Logging(ScriptService):
    """A service of whose log the test knows what stands in it."""

    said: list[str] | None = None

    def log_lines(self) -> Iterator[str] | None:
        return None if self.said is None else iter(self.said)


@pytest.mark.parametrize(
    ("said", "log", "line"),
    [
        (None, "not configured", "unknown"),
        ([], "not configured", "unknown"),
        (["INFO:x:up"], "accepted", "unknown"),
        (["INFO:x:Account P1"], "accepted", "accepted"),
        (["2026-04-18 10:00:00,123 - x - INFO - Account P1"], "accepted", "accepted"),
        (["INFO:x:Account P2"], "accepted", "rejected"),
        (['GET "/INFO:x:Account P1"', "INFO:x:see ERROR:x:refused"], "accepted", "unknown"),
        (["2026-04-18 10:00:00,123 - x - ERROR - refused"], "rejected", "unknown"),
        (["ERROR:x:refused"], "rejected", "unknown"),
    ],
)
def test_what_a_log_says(said: list[str] | None, log: str, line: str) -> None:
    """A log that was not written since the start is no log of a start without errors."""
    plain = service()
    one = Logging("backend", plain.spec, Path("/"), None, Path("/"))
    one.said = said
    asked = question([one], dead={})._replace(account="P1")
    (found,) = probes.log(asked, {"lines": [{"level": "ERROR", "logger": "x", "message": "refused"}]})
    assert found["verdict"] == log
    known = {"level": "INFO", "logger": "x", "message": "Account (.+)"}
    (found,) = probes.log_line(asked, {"service": "backend", "line": known})
    assert found["verdict"] == line
