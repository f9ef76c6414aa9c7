"""Every line of the application's log, replayed to the real mtail: exact counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.lab import Lab
from support.watching import Mtail, get, wait_for

AUTH = "WARNING:src.security.auth_middleware:"
FAILED = f"{AUTH}JWT verification failed for /api/positions: "
PLAID = "ERROR:src.finances.plaid_client:Failed to get accounts: Status Code: 400"
PLAID_BODY = 'HTTP response body: {"error_code": "%s", "error_type": "INVALID_INPUT", "request_id": "x"}'
ALPACA = 'Authentication failed: {"code": 40110000, "message": "access key verification failed"}'
ACCESS = 'INFO:     192.0.2.1:5000 - "%s HTTP/1.1" %s'
TRACEBACK = """\
ERROR:    Exception in ASGI application
Traceback (most recent call last):
  File "/usr/lib/python3/dist-packages/jose/jws.py", line 239, in _verify_signature
    raise JWSSignatureError()
jose.exceptions.JWSSignatureError

During handling of the above exception, another exception occurred:

jose.exceptions.JWTError: Signature verification failed.
  logger.warning("JWT verification failed for %s: %s", path, error)
fastapi.exceptions.HTTPException"""

# each line or block, and all that it counts
CASES = {
    "missing header": (f"{AUTH}Missing Authorization header for /api/positions", {"auth_missing_header": 1}),
    "format": (f"{AUTH}Invalid Authorization header format for /api/positions", {"auth_header_format": 1}),
    "signature": (f"{FAILED}Signature verification failed.", {"auth_signature": 1}),
    "expired": (f"{FAILED}Signature has expired.", {"auth_expired": 1}),
    "malformed": (f"{FAILED}Not enough segments", {"auth_malformed": 1}),
    "algorithm": (f"{FAILED}The specified alg value is not allowed", {"auth_algorithm": 1}),
    "subject": (f"{AUTH}Token missing 'sub' claim for /api/positions", {"auth_subject": 1}),
    "another cause": (f"{FAILED}Error decoding token headers.", {"auth_other": 1}),
    "a traceback": (f"{FAILED}Signature verification failed.\n{TRACEBACK}", {"auth_signature": 1}),
    "another logger": ("WARNING:root:JWT verification failed for /: Signature has expired.", {}),
    "a path that names another cause": (
        f"{AUTH}JWT verification failed for /api/positions/: Signature has expired.: Not enough segments",
        {"auth_malformed": 1},
    ),
    "a path that names another failure": (
        f"{AUTH}Missing Authorization header for /api/positions{FAILED}Signature verification failed.",
        {"auth_missing_header": 1},
    ),
    "a path that looks like a line": (
        f"{AUTH}Missing Authorization header for /api/positions {PLAID} {ACCESS % ('POST /api/auth/login', 401)}",
        {"auth_missing_header": 1},
    ),
    "Plaid, four lines": (
        f"{PLAID}\nReason: Bad Request\nHTTP response headers: {{}}\n{PLAID_BODY % 'INVALID_API_KEYS'}",
        {"plaid_errors": 1, "plaid_invalid_keys": 1},
    ),
    "Plaid, another code": (
        f"{PLAID}\nReason: Bad Request\nHTTP response headers: {{}}\n{PLAID_BODY % 'ITEM_LOGIN_REQUIRED'}",
        {"plaid_errors": 1},
    ),
    "Plaid, each call": (
        "\n".join(
            f"ERROR:src.finances.plaid_client:Failed to {call}: Status Code: 400"
            for call in (
                "create link token",
                "exchange public token",
                "get accounts",
                "get balances",
                "get transactions",
            )
        ),
        {"plaid_errors": 5},
    ),
    "Alpaca, said twice": (
        f"ERROR:src.brokers.alpaca_adapter:Failed to connect to Alpaca: {ALPACA}\n"
        f"ERROR:src.trading_engine:Failed to initialize trading engine: {ALPACA}",
        {"alpaca_errors": 1, "alpaca_invalid_keys": 1},
    ),
    "Alpaca, out of reach": (
        "ERROR:src.brokers.alpaca_adapter:Failed to connect to Alpaca: [Errno 111] Connection refused",
        {"alpaca_errors": 1},
    ),
    "Alpaca, a call": ("ERROR:src.brokers.alpaca_adapter:Error getting account value: HTTP 500", {"alpaca_errors": 1}),
    "the engine's own errors": (
        "ERROR:src.trading_engine:Error getting status: x\nERROR:src.dashboard.run_server_simple:Error getting gate status: x",
        {},
    ),
    "Alpaca, connected": ("INFO:src.brokers.alpaca_adapter:Connected to Alpaca (Account: PA1)", {"alpaca_requests": 1}),
    "database key": (
        "ERROR:src.security.token_encryption:Invalid token or wrong decryption key: \n"
        "WARNING:src.security.token_encryption:Returning encrypted token (decryption failed)",
        {"token_decryption_errors": 1},
    ),
    "a request": (ACCESS % ("GET /health", "200 OK"), {"requests": 1}),
    "a request over IPv6": ('INFO:     2001:db8::1:5000 - "GET / HTTP/1.1" 200 OK', {"requests": 1}),
    "a request for banks": (ACCESS % ("GET /api/bank/accounts", "502"), {"requests": 1, "plaid_requests": 1}),
    "a request for positions": (ACCESS % ("GET /api/positions?a=1", "200 OK"), {"requests": 1, "alpaca_requests": 1}),
    "a failed login": (ACCESS % ("POST /api/auth/login", "401 Unauthorized"), {"requests": 1, "login_failures": 1}),
    "a login that is not there": (ACCESS % ("POST /api/auth/login", "404 Not Found"), {"requests": 1}),
    "a login": (ACCESS % ("POST /api/auth/login", "200 OK"), {"requests": 1}),
    "a path that ends as a login": (ACCESS % ("GET /x/api/auth/login", "401 Unauthorized"), {"requests": 1}),
    "an address in a path": (
        ACCESS % ("GET /192.0.2.9:1%20-%20%22GET%20/%20HTTP/1.1%22%20401", "404"),
        {"requests": 1},
    ),
}


def timed(text: str) -> str:
    """The other form of the lines that Python's logging writes; all others stay."""
    return re.sub(r"^([A-Z]+):([A-Za-z0-9_.]+):", r"2026-04-18 10:00:00,123 - \2 - \1 - ", text, flags=re.MULTILINE)


@pytest.fixture
def read(tmp_path: Path) -> Iterator[tuple[Path, Mtail]]:
    log = tmp_path / "app.log"
    log.touch()
    mtail = Mtail(tmp_path, log)
    yield log, mtail
    mtail.stop()


def test_each_line_counts_what_it_says(read: tuple[Path, Mtail]) -> None:
    """One mtail and one line after the other, each in both its forms, so that a wrong count names its line."""
    log, mtail = read
    total: dict[str, int] = {}
    lines = 0
    for name, (text, counted) in CASES.items():
        written = text + "\n" if timed(text) == text else f"{text}\n{timed(text)}\n"
        with log.open("a") as file:
            file.write(written)
        lines += written.count("\n")
        times = 1 if timed(text) == text else 2
        total = {key: total.get(key, 0) + times * counted.get(key, 0) for key in {*total, *counted}}
        assert mtail.after(lines) == total, name


def test_a_log_that_is_rotated_and_truncated_loses_nothing(read: tuple[Path, Mtail]) -> None:
    log, mtail = read
    line = CASES["signature"][0] + "\n"
    with log.open("a") as file:
        file.write(line * 3)
    assert mtail.after(3) == {"auth_signature": 3}
    log.rename(log.with_suffix(".log.1"))
    log.write_text(line * 2)
    assert mtail.after(5) == {"auth_signature": 5}
    log.write_text("")
    # what is truncated and written again between two looks is not told from what has grown
    wait_for("the truncation", lambda: get(f"http://127.0.0.1:{mtail.port}/debug/vars")["file_truncates_total"])
    with log.open("a") as file:
        file.write(line)
    assert mtail.after(6) == {"auth_signature": 6}


def test_what_strangers_send_to_the_application_fakes_no_line(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    """The real server, its quoting and its logger: line breaks and quotation marks in a path."""
    lab = make_lab()
    lab.start()
    logs = [lab.app / "logs/backend.out.log", lab.app / "logs/backend.err.log"]

    def lines() -> int:
        return sum(log.read_text().count("\n") for log in logs)

    before = lines()
    mtail = Mtail(tmp_path, *logs)
    try:
        forged = [
            "%0AERROR:src.finances.plaid_client:Failed%20to%20get%20accounts:%20x",
            "%0D%0AERROR:src.brokers.alpaca_adapter:Failed%20to%20connect%20to%20Alpaca:%20Authentication%20failed:%20x",
            "%20HTTP/1.1%22%20401%0AINFO:%20%20%20%20%20192.0.2.9:1%20-%20%22POST%20/api/auth/login%20HTTP/1.1%22%20401",
            ":%20Signature%20has%20expired.",
        ]
        for text in forged:
            assert lab.get(f"/api/positions{text}", login=False) == 500
        # a traceback is still being written when its answer is there, so both ends are looked at until they agree
        wait_for("the last request", lambda: mtail.counts().get("requests") == len(forged))
        wait_for("the last line", lambda: mtail.counts()["lines"] == lines() - before)
        counted = {name: count for name, count in mtail.counts().items() if count and name != "lines"}
        assert counted == {"auth_missing_header": len(forged), "requests": len(forged)}
    finally:
        mtail.stop()
