"""Stand-ins of Plaid and Alpaca on loopback: they know which credentials work, answer what a rotation asks, and print nothing."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, Any]]


class Provider(ThreadingHTTPServer):
    """A provider. ``valid`` has the credentials that work."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.valid: set[tuple[str, ...]] = set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client may be killed in the middle of a call."""

    def answer(self, path: str, headers: Any) -> Answer:
        """Answer one call."""
        raise NotImplementedError


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Provider
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one call."""
        status, body = self.server.answer(self.path.partition("?")[0], self.headers)
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        """Answer one call, whatever it brings."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


class Plaid(Provider):
    """Plaid: old and new secret work beside each other until a person deletes one."""

    def answer(self, path: str, headers: Any) -> Answer:
        """Answer ``/institutions/get``."""
        if (headers.get("PLAID-CLIENT-ID"), headers.get("PLAID-SECRET")) not in self.valid:
            return 400, {"error_type": "INVALID_INPUT", "error_code": "INVALID_API_KEYS"}
        if path != "/institutions/get":
            return 404, {"error_type": "INVALID_REQUEST", "error_code": "NOT_FOUND"}
        return 200, {"institutions": [], "total": 0}


class Alpaca(Provider):
    """Alpaca, whose market is closed: a new pair is the death of the old one."""

    def answer(self, path: str, headers: Any) -> Answer:
        """Answer for the account and the clock."""
        if (headers.get("APCA-API-KEY-ID"), headers.get("APCA-API-SECRET-KEY")) not in self.valid:
            return 401, {"code": 40110000, "message": "request is not authorized"}
        answers = {"/v2/account": {"account_number": "PA31XK2", "status": "ACTIVE"}, "/v2/clock": {"is_open": False}}
        return (200, answers[path]) if path in answers else (404, {"message": "endpoint not found"})
