"""Every line of the application's log that is known, in both forms in which Python's logging writes it."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from keyturn.base.log_lines import pattern
from keyturn.inputs.application import Application
from keyturn.services.systemd import SystemdService
from support.lab import ROOT, catalogue

PROGRAM = importlib.util.spec_from_file_location("addresses", ROOT / "roles/monitoring/files/keyturn_addresses.py")
assert PROGRAM and PROGRAM.loader
addresses = importlib.util.module_from_spec(PROGRAM)
PROGRAM.loader.exec_module(addresses)
SHIPPED = yaml.safe_load((ROOT / "applications/trader_ai/catalogue.yml").read_text())
LINES = SHIPPED["log_lines"]
REQUEST = re.compile(Application(ROOT / "applications/trader_ai").part("monitoring.yml", "access")["line"])
FORMS = {"plain": logging.BASIC_FORMAT, "timed": "%(asctime)s - %(name)s - %(levelname)s - %(message)s"}
# by line: what the application says (src.brokers.alpaca_adapter and others), and what else it or a stranger says
SAID = {
    "auth": ("anything", "x"),
    "auth_missing_header": ("Missing Authorization header for /api/positions", "Invalid header for /"),
    "auth_header_format": ("Invalid Authorization header format for /api/positions", "Missing header for /"),
    "auth_subject": ("Token missing 'sub' claim for /api/positions", "Token missing"),
    "auth_verification": ("JWT verification failed for /api/positions: x", "JWT verification"),
    "plaid": ("Failed to get accounts: Status Code: 400", "Not Failed to get accounts"),
    "alpaca_connection": ("Failed to connect to Alpaca: [Errno 111]", "I Failed to connect to Alpaca: x"),
    "alpaca_keys": ("Failed to connect to Alpaca: Authentication failed: {}", "Failed to connect to Alpaca: x"),
    "alpaca_call": ("Error getting cash balance: HTTP 500", "An Error getting orders"),
    "alpaca_connected": ("Connected to Alpaca (Account: PA1)", "Connected to Alpaca"),
    "database_key": ("Invalid token or wrong decryption key: ", "Token decryption failed: x"),
}


def written(form: str, level: str, logger: str, message: str) -> str:
    record = logging.LogRecord(logger, getattr(logging, level), "", 0, message, None, None)
    return logging.Formatter(FORMS[form]).format(record)


def test_every_line_that_a_logger_writes_is_tried() -> None:
    assert {name for name, line in LINES.items() if line.get("logger")} == set(SAID)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SAID)
def test_both_forms_and_nothing_that_only_quotes_them(name: str, form: str) -> None:
    line, (said, other) = LINES[name], SAID[name]
    real = written(form, line["level"], line["logger"], said)
    known = re.compile(pattern(line))
    assert known.match(real)
    assert not known.search(f'INFO:     192.0.2.1:5 - "GET /{real} HTTP/1.1" 404'), "in a path"
    assert not known.search(written(form, "WARNING", "src.security.other", f"JWT verification failed for /{real}: x"))
    assert not known.match(written(form, "DEBUG", line["logger"], said)), "another level"
    assert not known.match(written(form, line["level"], line["logger"].replace(".", "x"), said)), "another logger"
    assert not known.match(written(form, line["level"], f"{line['logger']}.more", said)), "another logger"
    if name != "auth":
        assert not known.match(written(form, line["level"], line["logger"], other))


def probes(secret: str, kind: str) -> list[dict[str, Any]]:
    return [probe for probe in catalogue()[secret]["probes"] if probe["kind"] == kind]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("secret", "level", "logger", "message"),
    [
        ("db_key", "ERROR", "src.security.token_encryption", "Invalid token or wrong decryption key: "),
        ("alpaca", "ERROR", "src.brokers.alpaca_adapter", "Failed to connect to Alpaca: Authentication failed: {}"),
    ],
)
def test_the_line_that_a_wrong_value_causes_is_asked_for(
    secret: str, level: str, logger: str, message: str, form: str
) -> None:
    """The application's own words, not those of the catalogue: what stands there is to match what is written here."""
    ((line,),) = (probe["lines"] for probe in probes(secret, "log"))
    assert re.match(pattern(line), written(form, level, logger, message))
    assert not re.match(pattern(line), written(form, level, logger, f"no {message}"))


def test_the_body_of_plaids_answer_is_asked_for() -> None:
    ((line,),) = (probe["lines"] for probe in probes("plaid", "log"))
    body = 'HTTP response body: {"error_code": "INVALID_API_KEYS"}'
    assert re.match(pattern(line), body)
    assert not re.match(pattern(line), f'INFO:     192.0.2.1:5 - "GET /{body} HTTP/1.1" 404')


@pytest.mark.parametrize("form", FORMS)
def test_the_account_is_read_from_the_line_of_the_connection(form: str) -> None:
    (probe,) = probes("alpaca", "log_line")
    said = written(form, "INFO", "src.brokers.alpaca_adapter", "Connected to Alpaca (Account: PA1)")
    found = re.match(pattern(probe["line"]), said)
    assert found and found.groups() == ("PA1",)


# -- what a stranger sends stands within a line, whatever it is -------------------------------------------------------

FORGED = 'INFO:     192.0.2.66:1 - "GET / HTTP/1.1" 200 OK'
ENDS = [chr(number) for number in range(0x2030) if len(f"a{chr(number)}b".splitlines()) > 1 and number != ord("\n")]
SAID_BY_JOURNAL = "".join(
    f"WARNING:src.security.auth_middleware:Missing header for /api/{end}{FORGED}\n" for end in ENDS
)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """A journalctl that says these bytes, and a systemctl that knows the unit's name and nothing more."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def make(content: bytes) -> None:
        (tmp_path / "said").write_bytes(content)
        knows = "case $3 in Id) echo trader-ai.service;; esac"
        for name, text in {"journalctl": f"cat {tmp_path}/said", "systemctl": knows}.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)

    return make


def test_a_line_of_the_journal_ends_at_a_line_feed_and_may_hold_any_byte(
    journal: Callable[[bytes], None], tmp_path: Path
) -> None:
    journal(SAID_BY_JOURNAL.encode() + b"\xff\n")
    limits = {"stop_timeout_seconds": 60, "health_timeout_seconds": 60}
    unit = SystemdService("backend", {"unit": "trader-ai", **limits}, tmp_path, None, tmp_path)
    lines = list(unit.log_lines() or ())
    assert len(lines) == len(ENDS) + 1 and FORGED not in lines


def test_no_address_is_counted_that_stands_in_a_path(journal: Callable[[bytes], None], tmp_path: Path) -> None:
    journal((SAID_BY_JOURNAL + FORGED.replace(".66", ".1")).encode())
    found = addresses.journal_lines("trader-ai.service", tmp_path / "cursor")
    asked = [match["address"] for line in found if (match := REQUEST.match(line))]
    assert asked == ["192.0.2.1"]
