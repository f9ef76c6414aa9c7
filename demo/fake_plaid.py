"""A fake of Plaid on loopback: ``python demo/fake_plaid.py --port P [--client-id X --secret Y]``.

It answers ``POST /accounts/get`` only, and never prints what it was sent.
"""

from __future__ import annotations

import argparse
import json
import re
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ACCESS_TOKEN = re.compile(r"access-[a-z]+-[0-9a-f-]{36}")


class FakePlaid(ThreadingHTTPServer):
    """The server. Without credentials given it accepts any pair."""

    daemon_threads = True

    def __init__(self, port: int, client_id: str | None = None, secret: str | None = None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.client_id = client_id
        self.secret = secret

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that is stopped in the middle of a call is part of every test."""


class Handler(BaseHTTPRequestHandler):
    """One keep-alive connection."""

    server: FakePlaid
    protocol_version = "HTTP/1.1"
    # Headers and body leave in one piece and at once; otherwise each answer costs a delayed ACK.
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        """Answer one call."""
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(content)
        except ValueError:
            body = None
        if self.path != "/accounts/get":
            self._refuse(404, "INVALID_REQUEST", "NOT_FOUND", "the requested endpoint was not found")
        elif not isinstance(body, dict):
            self._refuse(400, "INVALID_REQUEST", "INVALID_BODY", "body could not be parsed as JSON")
        elif not self._credentials_are_good(body):
            self._refuse(400, "INVALID_INPUT", "INVALID_API_KEYS", "invalid client_id or secret provided")
        elif not ACCESS_TOKEN.fullmatch(str(body.get("access_token"))):
            message = "provided access token is in an invalid format"
            self._refuse(400, "INVALID_INPUT", "INVALID_ACCESS_TOKEN", message)
        else:
            self._answer(200, _accounts())

    def _credentials_are_good(self, body: dict[str, Any]) -> bool:
        wanted = (
            ("PLAID-CLIENT-ID", "client_id", self.server.client_id),
            ("PLAID-SECRET", "secret", self.server.secret),
        )
        return all(
            right is None or (self.headers.get(header) or body.get(name)) == right for header, name, right in wanted
        )

    def _refuse(self, status: int, kind: str, code: str, message: str) -> None:
        error = {"error_type": kind, "error_code": code, "error_message": message}
        self._answer(status, {**error, "display_message": None, "documentation_url": "https://plaid.com/docs/errors/"})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps({**body, "request_id": uuid.uuid4().hex[:15]}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _accounts() -> dict[str, Any]:
    balances = {"available": 100, "current": 110, "limit": None, "iso_currency_code": "USD"}
    account = {
        "account_id": uuid.uuid4().hex,
        "balances": {**balances, "unofficial_currency_code": None},
        "mask": "0000",
        "name": "Checking",
        "official_name": None,
        "type": "depository",
        "subtype": "checking",
    }
    item = {
        "item_id": uuid.uuid4().hex,
        "webhook": None,
        "error": None,
        "available_products": [],
        "billed_products": ["transactions"],
        "consent_expiration_time": None,
        "update_type": "background",
    }
    return {"accounts": [account], "item": item}


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description="A fake of Plaid on loopback.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--client-id")
    parser.add_argument("--secret")
    arguments = parser.parse_args()
    FakePlaid(arguments.port, arguments.client_id, arguments.secret).serve_forever()


if __name__ == "__main__":
    main()
