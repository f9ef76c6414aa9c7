"""Issuers that are data or a program, at real servers: an account of a mail server, and tokens that a server issues and revokes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator
from keyturn.base import http
from keyturn.base.errors import KeyturnError
from keyturn.providers import http_data
from support.databases import APPLICATION
from support.faults import Host
from support.issued import NEW, OLD, Issued
from support.lab import optional
from support.mail import MailServer
from support.stores import ROOT_TOKEN, openbao

# writes what a mail server keeps of a password, as an owner of one does who has a table of them
MAIL_PROGRAM = """#!/usr/bin/python3
import hashlib, json, os, sys
side, table = sys.argv[1], open("issuer.conf").read()
told = json.load(sys.stdin)
with open(table + ".next", "w") as file:
    file.write("trader: " + hashlib.sha256(told[side]["DB_PASSWORD"].encode()).hexdigest() + chr(10))
os.chmod(table + ".next", 0o644)
os.rename(table + ".next", table)
"""


class Mailed(Issued):
    """A host whose application has the password of a mail account."""

    def __init__(self, folder: Path, server: MailServer) -> None:
        self.alternates = self.lives = False
        self.server, self.variables, self.mail = server, ["DB_PASSWORD"], server  # type: ignore[assignment]
        told = {"set": ["./issuer", "new"], "unset": ["./issuer", "old"]}
        described = optional()["db_password"] | {
            "provider": server.entry(APPLICATION),
            "issuer": {"kind": "command", "strategy": "single", "seconds": 20, **told},
            "probes": [{"kind": "provider"}],
        }
        Host.__init__(self, folder, rows=1, secret="db_password", entry=described)
        (self.lab.app / "issuer").write_text(MAIL_PROGRAM)
        (self.lab.app / "issuer").chmod(0o700)
        (self.lab.app / "issuer.conf").write_text(str(server.logins))
        self.lab.env.write_text(f"{self.lab.env.read_text()}DB_PASSWORD={OLD}\n")


def test_the_password_of_a_mail_account_is_turned_and_taken_back(tmp_path: Path) -> None:
    """The account is a real mail server's, and each verdict a login there."""
    with MailServer(APPLICATION, OLD) as mail:
        host = Mailed(tmp_path / "host", mail)
        try:
            host.until("unset")
            assert host.verdicts() == {"old": "rejected", "new": "accepted"}
            mail.lose()
            with pytest.raises(KeyturnError, match=r"does not say whether it has the new value .*SMTP 435"):
                host.back()
            mail.give(APPLICATION, NEW)
            host.back()
            host.check_end("old")
            host.forward(rotation_id="20260101T000001Z-0123456789abcdef")
            assert host.verdicts() == {"old": "rejected", "new": "rejected"}
            assert mail.logged().count("235") == 0 and mail.letters == []
        finally:
            host.stop()


# -- tokens, by the API that OpenBao publishes of itself ---------------------------------------------------------------------

ADMIN = {"X-Vault-Token": "{admin_password}"}
DONE = [{"verdict": "accepted", "status": [200, 204]}, {"verdict": "rejected", "status": [400, 403]}]


class Audited(NamedTuple):
    """What a server notes of each request and each answer, in a folder."""

    folder: Path

    def logged(self) -> str:
        """Return all of it."""
        return (self.folder / "audit.log").read_text()


class Tokens(Issued):
    """A host whose application has a token; the old one and the new one live side by side."""

    def __init__(self, folder: Path, url: str) -> None:
        self.alternates, self.lives, self.variables = False, True, ["DB_PASSWORD"]
        self.server = Audited(folder.parent)  # type: ignore[assignment]
        admin = folder.parent / "admin"
        admin.write_text(ROOT_TOKEN)
        admin.chmod(0o600)

        def request(path: str, **body: Any) -> dict[str, Any]:
            told = {"method": "POST", "url": f"{url}/v1/auth/token/{path}", "headers": ADMIN, "answers": DONE}
            return told | {"body": json.dumps(body)}

        requests = {
            "set": request("create", id="{new_token}", policies=["default"], no_parent=True, period="24h"),
            "unset": request("revoke", token="{new_token}"),
            "retire": request("revoke", token="{old_token}"),
        }
        provider = {
            "kind": "http",
            "fields": ["token"],
            "url": f"{url}/v1/auth/token/lookup-self",
            "headers": {"X-Vault-Token": "{token}"},
            "tls": False,
            "answers": [
                {"verdict": "accepted", "status": [200], "says": '"policies"'},
                {"verdict": "rejected", "status": [403], "says": "permission denied"},
            ],
        }
        issuer = {"kind": "http", "strategy": "overlap", "tls": False, "admin": {"password_file": str(admin)}}
        described = optional()["db_password"] | {
            "provider": provider,
            "issuer": issuer | {"requests": requests},
            "probes": [{"kind": "provider"}],
            "overlap": "both",
            "switch": "rolling",
        }
        Host.__init__(self, folder, rows=1, secret="db_password", entry=described)
        self.lab.env.write_text(f"{self.lab.env.read_text()}DB_PASSWORD={OLD}\n")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, bytes | None]]:
    """Return a list that gets each request: the method, the address and the body."""
    found: list[tuple[str, str, bytes | None]] = []
    ask = http.ask

    def noted(url: str, seconds: float, headers: Any = None, body: Any = None, **more: Any) -> http.Answer:
        found.append((more.get("method") or ("POST" if body else "GET"), url, body))
        return ask(url, seconds, headers, body, **more)

    monkeypatch.setattr(http_data.http, "ask", noted)
    return found


def check_published(document: Any, method: str, path: str, body: bytes | None) -> None:
    """Hold a request against what the server publishes of itself: the path, the method, and each name of the body."""
    operation = document["paths"][path][method.lower()]
    if body is None:
        assert "requestBody" not in operation
        return
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    strict = schema | {"unevaluatedProperties": False, "components": document["components"]}
    assert not [error.json_path for error in Draft202012Validator(strict).iter_errors(json.loads(body))]


def test_a_token_is_issued_and_the_old_one_revoked(tmp_path: Path, asked: list[tuple[str, str, bytes | None]]) -> None:
    with openbao(audit=tmp_path) as url:
        admin = {"X-Vault-Token": ROOT_TOKEN}
        document = http.ask(f"{url}/v1/sys/internal/specs/openapi", 20, admin, limit=1 << 24).document()
        assert http.ask(f"{url}/v1/auth/token/create", 20, admin, {"id": OLD, "policies": ["default"]}).status == 200
        asked.clear()
        host = Tokens(tmp_path / "host", url)
        try:
            host.until("unset")
            assert host.verdicts() == {"old": "accepted", "new": "accepted"}
            host.back()
            host.check_end("old")
            host.forward(rotation_id="20260101T000001Z-0123456789abcdef")
            assert host.verdicts() == {"old": "rejected", "new": "rejected"}, "a third one is the value now"
        finally:
            host.stop()
    told = [(method, address.removeprefix(f"{url}/v1"), body) for method, address, body in asked if url in address]
    for request in told:
        check_published(document, *request)
    assert {path for _, path, _ in told} == {f"/auth/token/{name}" for name in ("create", "lookup-self", "revoke")}
