"""The stand-in application: what it reads, what it answers, what it logs and how it ends."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import logging
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from dotenv import dotenv_values
from fake_plaid import FakePlaid
from jose import jwt
from seed import DATABASE, seed
from trader_ai.token_encryption import TokenEncryption
from trader_ai.token_store import TokenStore

CRYPTO_LOGGER = "src.security.token_encryption"
WRONG_KEY_LINES = [
    ("ERROR", "Invalid token or wrong decryption key: "),
    ("WARNING", "Returning encrypted token (decryption failed)"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Application:
    """One seeded root directory and the service in it."""

    def __init__(self, root: Path, rows: int, **options: object) -> None:
        self.root, self.port = root, free_port()
        self.tokens = seed(root, rows, self.port, random_seed=1, **options)
        self.env = dotenv_values(root / ".env")

    def run(self, script: str, **extra: str) -> subprocess.CompletedProcess[str]:
        # The caller's own variables would win over .env.
        environment = {name: value for name, value in os.environ.items() if name not in self.env} | extra
        return subprocess.run(
            [str(self.root / script)], env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    def start(self, **extra: str) -> None:
        result = self.run("start.sh", **extra)
        assert result.returncode == 0, result.stderr

    def call(self, method: str, path: str, body: object = None, token: str | None = None) -> tuple[int, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        with closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read()
        return response.status, json.loads(content) if content.startswith(b"{") else {}

    def token(self, secret: str | None = None, seconds: int = 60, **claims: str) -> str:
        return jwt.encode({"exp": int(time.time()) + seconds, **claims}, secret or self.env["JWT_SECRET_KEY"])

    def user(self) -> str:
        return self.token(sub="test")

    def log(self, stream: str) -> str:
        return (self.root / "logs" / f"backend.{stream}.log").read_text()


@pytest.fixture
def application(tmp_path):
    started = []

    def make(rows: int, **options: object) -> Application:
        started.append(Application(tmp_path / "app", rows, **options))
        return started[-1]

    yield make
    for one in started:
        one.run("stop.sh")


def test_seed_makes_every_form_and_the_store_reads_each(tmp_path):
    application = Application(tmp_path / "app", 100)
    with closing(sqlite3.connect(application.root / DATABASE)) as connection:
        stored = dict(connection.execute("SELECT item_id, access_token FROM plaid_items"))
    forms = Counter("empty" if not value else value[:7] for value in stored.values())
    assert forms == {"Z0FBQUF": 87, "gAAAAAB": 8, "access-": 4, "empty": 1}
    assert {len(value) for value in stored.values() if value.startswith("Z0FBQUFB")} == {220}
    items = TokenStore(application.root / DATABASE, application.env["DATABASE_ENCRYPTION_KEY"]).all_items()
    assert {item.item_id: item.access_token for item in items} == application.tokens
    assert not any("access-" in repr(item) for item in items)
    assert (application.root / ".env").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        seed(application.root, 1, 1)


def test_forms_do_not_depend_on_chance(tmp_path):
    def layout(name: str) -> list[str]:
        application = Application(tmp_path / name, 20)
        with closing(sqlite3.connect(application.root / DATABASE)) as connection:
            return [row[0] for row in connection.execute("SELECT substr(access_token, 1, 6) FROM plaid_items")]

    assert layout("one") == layout("two")


def test_two_layers_round_trip_and_save_and_delete(tmp_path):
    key = Fernet.generate_key().decode()
    store = TokenStore(tmp_path / "data" / "bank_accounts.db", key)
    store.save_item("a", "access-sandbox-1", "Institution 1")
    store.save_item("a", "access-sandbox-2", "Institution 1")
    assert store.get_access_token("a") == "access-sandbox-2"
    stored = TokenEncryption(key).encrypt("access-sandbox-2")
    assert Fernet(key).decrypt(base64.urlsafe_b64decode(stored)) == b"access-sandbox-2"
    assert store.delete_item("a") and not store.delete_item("a")
    assert store.get_access_token("a") is None


@pytest.mark.parametrize("kind", ["two_layer", "one_layer", "rubbish"])
def test_what_does_not_open_is_returned_as_it_is(kind, caplog):
    other = Fernet.generate_key()
    stored = {
        "two_layer": TokenEncryption(other.decode()).encrypt("access-sandbox-1"),
        "one_layer": Fernet(other).encrypt(b"access-sandbox-1").decode(),
        "rubbish": "not base64 at all!",
    }[kind]
    with caplog.at_level(logging.INFO):
        assert TokenEncryption(Fernet.generate_key().decode()).decrypt(stored) == stored
    assert [(r.levelname, r.getMessage()) for r in caplog.records if r.name == CRYPTO_LOGGER] == WRONG_KEY_LINES


def test_one_layer_can_be_refused_as_today(monkeypatch):
    key = Fernet.generate_key().decode()
    stored = Fernet(key).encrypt(b"access-sandbox-1").decode()
    assert TokenEncryption(key).decrypt(stored) == "access-sandbox-1"
    monkeypatch.setenv("TRADER_AI_ONE_LAYER", "refuse")
    assert TokenEncryption(key).decrypt(stored) == stored


def test_plaintext_passes_through_with_a_line(caplog):
    assert TokenEncryption(Fernet.generate_key().decode()).decrypt("access-sandbox-1") == "access-sandbox-1"
    assert "Token appears to be plaintext" in caplog.text and "sandbox" not in caplog.text


def test_the_key_is_read_at_each_construction(monkeypatch, tmp_path):
    monkeypatch.delenv("DATABASE_ENCRYPTION_KEY", raising=False)
    with pytest.raises(RuntimeError):
        TokenStore(tmp_path / "x.db")
    monkeypatch.setenv("DATABASE_ENCRYPTION_KEY", Fernet.generate_key().decode())
    assert TokenStore(tmp_path / "x.db").all_items() == []


def test_login_modes(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # no .env here
    monkeypatch.setenv("JWT_SECRET_KEY", "x")  # one character is accepted
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from trader_ai import app, auth

    def login() -> dict:
        async def body() -> dict:
            return {"type": "http.request", "body": b'{"user_id": "test"}'}

        return json.loads(bytes(asyncio.run(app.login(Request({"type": "http"}, body))).body))

    monkeypatch.delenv("TRADER_AI_LOGIN", raising=False)
    with pytest.raises(HTTPException) as refusal:
        login()
    assert refusal.value.status_code == 404
    for name in ("session_token", "access_token", "jwt_token"):
        monkeypatch.setenv("TRADER_AI_LOGIN", name)
        before = int(time.time())
        answer = login()
        claims = jwt.decode(answer[name], auth.SIGNING_SECRET, algorithms=["HS256"])
        assert claims["sub"] == "test" and before + 3600 <= claims["exp"] <= time.time() + 3600


def has_the_packages(python: str) -> bool:
    command = [python, "-c", "import cryptography, dotenv, jose, starlette, uvicorn"]
    return Path(python).exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"], ids=["venv", "system"])
def test_service_answers_and_logs(application, python):
    if not has_the_packages(python):
        pytest.skip("Debian's python3-starlette, -uvicorn, -jose and -dotenv are not installed")
    app = application(50, python=python)
    app.start()
    assert app.call("GET", "/health")[0] == app.call("GET", "/api/health")[0] == 200
    assert app.call("GET", "/api/positions", token=app.token(sub="test"))[0] == 200
    bad = [None, "a.b", app.token("another secret", sub="test"), app.token(seconds=-9, sub="test"), app.token()]
    bad.append(jwt.encode({"sub": "test"}, app.env["JWT_SECRET_KEY"], algorithm="HS512"))
    assert [app.call("GET", "/api/positions", token=token)[0] for token in bad] == [500] * len(bad)
    assert app.call("POST", "/api/auth/login", {"user_id": "test"})[0] == 404
    for path in ("/api/alerts", "/api/metrics/current", "/api/engine/status"):
        assert app.call("GET", path, token=app.user())[0] == 200
    assert app.call("GET", "/api/nothing", token=app.user())[0] == app.call("GET", "/nothing")[0] == 404
    assert app.call("GET", "/api/bank/accounts", token=app.user()) == (200, {"items": 50})
    assert (
        app.call("POST", "/api/bank/items", {"item_id": "x", "access_token": "access-sandbox-1"}, app.user())[0] == 201
    )
    assert app.call("GET", "/api/bank/accounts", token=app.user()) == (200, {"items": 51})
    assert app.call("DELETE", "/api/bank/items/x", token=app.user())[0] == 200
    warnings = [line for line in app.log("err").splitlines() if line.startswith("WARNING:src.security.auth")]
    prefix = "WARNING:src.security.auth_middleware:"
    assert warnings == [
        f"{prefix}Missing Authorization header for /api/positions",
        f"{prefix}JWT verification failed for /api/positions: Not enough segments",
        f"{prefix}JWT verification failed for /api/positions: Signature verification failed.",
        f"{prefix}JWT verification failed for /api/positions: Signature has expired.",
        f"{prefix}Token missing 'sub' claim for /api/positions",
        f"{prefix}JWT verification failed for /api/positions: The specified alg value is not allowed",
    ]
    assert app.log("err").count("Exception in ASGI application") == len(bad)
    # the token is asked for before anything else: before CORS answers, and before anybody looks whether there is such a path
    assert [app.call(*call)[0] for call in (("GET", "/api/nothing"), ("OPTIONS", "/api/positions"))] == [500, 500]
    assert '"GET /api/positions HTTP/1.1" 500 Internal Server Error' in app.log("out")
    everything = app.log("err") + app.log("out")
    assert not [name for name, value in app.env.items() if len(value) > 12 and value in everything]
    assert not [item_id for item_id, token in app.tokens.items() if token and token in everything]


def test_wrong_database_key_is_seen_only_in_use(application):
    server = FakePlaid(0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    app = application(20, plaid_url=f"http://127.0.0.1:{server.server_address[1]}")
    try:
        # The environment of the process wins over .env, so this start is on a wrong key.
        app.start(
            DATABASE_ENCRYPTION_KEY=Fernet.generate_key().decode(),
            TRADER_AI_BAD_TOKEN_STATUS="401",
            TRADER_AI_LOGIN="jwt_token",
        )
        assert app.call("GET", "/health")[0] == 200
        status, answer = app.call("POST", "/api/auth/login", {"user_id": "test"})
        assert app.call("GET", "/api/positions", token=answer["jwt_token"])[0] == status == 200
        assert app.call("GET", "/api/positions", token="a.b")[0] == 401
        # 20 rows: one plaintext and one never linked; every other one is ciphertext to Plaid.
        assert app.call("GET", "/api/bank/accounts", token=app.user()) == (502, {"items": 20, "failed": 18})
        log = app.log("err")
        assert log.count(f"\nERROR:{CRYPTO_LOGGER}:Invalid token or wrong decryption key: \n") == 18
        assert log.count(f"\nWARNING:{CRYPTO_LOGGER}:Returning encrypted token (decryption failed)\n") == 18
        start = log.index("ERROR:src.finances.plaid_client:Failed to get accounts: Status Code: 400")
        assert '"error_code": "INVALID_ACCESS_TOKEN"' in log[start:].splitlines()[3]
        assert app.run("stop.sh").returncode == 0
        app.start(TRADER_AI_LOG_FORM="timed")
        assert app.call("GET", "/api/bank/accounts", token=app.user()) == (200, {"items": 20})
        server.secret = "another"
        assert app.call("GET", "/api/bank/accounts", token=app.user()) == (502, {"items": 20, "failed": 19})
        assert '"error_code": "INVALID_API_KEYS"' in app.log("err")
        form = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - src\.finances\.plaid_client - ERROR - Failed to get accounts: Status"
        assert len(re.findall(form, app.log("err"), re.MULTILINE)) == 19
    finally:
        server.shutdown()
        server.server_close()


class FakeAlpaca(BaseHTTPRequestHandler):
    pair = ("", "")

    def do_GET(self) -> None:
        good = (self.headers["APCA-API-KEY-ID"], self.headers["APCA-API-SECRET-KEY"]) == self.pair
        body = {"account_number": "PA1", "status": "ACTIVE"} if good else {"code": 40110000, "message": "refused"}
        self.send_response(200 if good else 401)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


def test_alpaca_pair_is_the_one_of_env_unless_the_config_file_has_one(application):
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeAlpaca)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    app = application(1, alpaca_url=f"http://127.0.0.1:{server.server_address[1]}")
    trading = app.root / "logs/trading.log"
    FakeAlpaca.pair = (app.env["ALPACA_API_KEY"], app.env["ALPACA_SECRET_KEY"])
    try:
        app.start()
        assert app.call("GET", "/api/alpaca/account", token=app.user()) == (
            200,
            {"account_number": "PA1", "status": "ACTIVE"},
        )
        assert "Connected to Alpaca (Account: PA1)" in app.log("err")
        app.run("stop.sh")
        said = "Connected to Alpaca (Account: PA1)"
        for number in (1, 2):  # its own log is never begun anew
            app.run("start_engine.sh")
            wait_for(lambda times=number: trading.exists() and trading.read_text().count(said) == times)
            app.run("stop_engine.sh")
        (app.root / "config").mkdir()
        (app.root / "config" / "config.json").write_text('{"api_key": "env:ALPACA_API_KEY", "secret_key": ""}')
        staying = subprocess.Popen([str(app.root / "start_foreground.sh")], stdout=subprocess.DEVNULL)
        wait_for(lambda: "Uvicorn running on" in app.log("err").partition("Finished server process")[2])
        assert app.call("GET", "/api/alpaca/account", token=app.user())[0] == 502
        assert 'Failed to connect to Alpaca: Authentication failed: {"code": 40110000' in app.log("err")
        assert staying.poll() is None
        staying.terminate()
        assert staying.wait(30) == 0 and not (app.root / "run/backend.pid").exists(), "it has stopped what it started"
    finally:
        server.shutdown()
        server.server_close()


def test_stop_does_not_wait_for_clients_and_hits_nobody_else(application):
    app = application(4)
    reader, writer = os.pipe()
    subprocess.run([str(app.root / "start.sh")], pass_fds=[writer], capture_output=True, timeout=30, check=True)
    os.close(writer)
    os.set_blocking(reader, False)
    assert os.read(reader, 1) == b""  # end of file: the service did not keep the caller's descriptor
    os.close(reader)
    pid_file = app.root / "run" / "backend.pid"
    assert "already running" in app.run("start.sh").stdout
    with closing(http.client.HTTPConnection("127.0.0.1", app.port)) as idle:
        idle.request("GET", "/health")
        idle.getresponse().read()  # kept alive
        assert app.run("stop.sh").returncode == 0  # it gives the service 5 s
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", app.port)) != 0
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "trader_ai"])
    try:
        pid_file.write_text(str(stranger.pid))  # a reused process id, even with a matching command line
        assert app.run("stop.sh").returncode == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_missing_jwt_secret_ends_the_start_with_1(application):
    app = application(1)
    lines = (app.root / ".env").read_text().splitlines(keepends=True)
    (app.root / ".env").write_text("".join(line for line in lines if not line.startswith("JWT_SECRET_KEY")))
    assert app.run("start.sh").returncode == 1
    assert app.run("start.sh", JWT_SECRET_KEY="").returncode == 1
    assert not (app.root / "run" / "backend.pid").exists()


def test_a_taken_port_is_status_3(application):
    app = application(1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", app.port))
        other.listen()
        assert app.run("start.sh").returncode == 3


def test_it_moves_to_a_free_port_and_stays_where_the_other_is_taken(application):
    app = application(1)
    app.start()
    with socket.create_server(("127.0.0.1", 0)) as other:
        moved = subprocess.run([app.root / "start.sh", str(other.getsockname()[1])], capture_output=True)
    assert (moved.returncode, app.call("GET", "/health")[0]) == (3, 200), "nothing was stopped"
    none = subprocess.run([app.root / "start.sh", "abc"], capture_output=True)
    assert (none.returncode, app.call("GET", "/health")[0]) == (3, 200), "nothing was stopped for a port that is none"
    app.port = free_port()
    subprocess.run([app.root / "start.sh", str(app.port)], capture_output=True, check=True)
    assert app.call("GET", "/health")[0] == 200
    assert f"PORT={app.port}\n" in (app.root / "service.conf").read_text()


def test_a_port_that_is_taken_is_said_with_its_owner_and_the_way_out(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        seed(tmp_path / "app", 1, port)
        done = subprocess.run([tmp_path / "app/start.sh"], text=True, capture_output=True)
    assert done.returncode == 3
    assert f"port {port} is taken by process {os.getpid()} (" in done.stderr
    assert f"make rotate PORT={port + 1}" in done.stderr
