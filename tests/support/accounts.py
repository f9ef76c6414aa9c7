"""A server of accounts by HTTP: an administrator sets and ends passwords by JSON, and whoever logs in is told who he is."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

USER, TOKEN = "trader", "canary-of-the-token"
DONE = {"verdict": "accepted", "status": [200, 204]}
REFUSED = {"verdict": "rejected", "status": [403], "says": '"error"'}


class Accounts(ThreadingHTTPServer):
    """One account, whose ``passwords`` live. ``mood`` is what goes wrong: the names of ``Way`` in databases.py."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.passwords: list[str] = []
        self.mood, self.changes, self.lines = "", 0, [""]
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.token = folder / "token"
        self.token.write_text(TOKEN + "\n")
        self.token.chmod(0o600)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def entry(self, strategy: str) -> dict[str, Any]:
        """Return the provider and the issuer of an entry of the catalogue."""
        login = {"headers": {"Authorization": f"Basic {USER}:{{password}}"}, "fields": ["password"]}
        answers = [
            {"verdict": "accepted", "status": [200], "says": '"name"'},
            {"verdict": "rejected", "status": [401], "says": '"error"'},
        ]
        provider = {"kind": "http", "url": f"{self.url}/me", "tls": False, "answers": answers, **login}
        bodies = {
            "single": {"set": '{"only": "{new_password}"}', "unset": '{"only": "{old_password}"}'},
            "overlap": {
                "set": '{"add": "{new_password}"}',
                "unset": '{"end": "{new_password}"}',
                "retire": '{"end": "{old_password}"}',
            },
        }
        headers = {"Authorization": "Bearer {admin_password}", "Idempotency-Key": "{rotation_id}"}
        request = {
            "method": "PUT",
            "url": f"{self.url}/accounts/{USER}",
            "headers": headers,
            "answers": [DONE, REFUSED],
        }
        requests = {call: {**request, "body": body} for call, body in bodies[strategy].items()}
        admin = {"password_file": str(self.token)}
        issuer = {
            "kind": "http",
            "strategy": strategy,
            "requests": requests,
            "tls": False,
            "seconds": 2,
            "admin": admin,
        }
        return {
            "provider": provider,
            "issuer": issuer,
            "overlap": "both" if strategy == "overlap" else "none",
            "switch": "rolling" if strategy == "overlap" else "together",
        }

    def give(self, role: str, password: str) -> None:
        """Give the account one password alone; of another account there is nothing to know."""
        if role == USER:
            self.passwords = [password]

    def forget(self, role: str) -> None:
        """There is no second account."""

    def verifier(self, role: str) -> str:
        """Return what the server keeps of an account."""
        return json.dumps(self.passwords) if role == USER else ""

    def restore(self, role: str, kept: str) -> None:
        """Put back what ``verifier`` has returned."""
        if role == USER:
            self.passwords = json.loads(kept)

    def logged(self) -> str:
        """Return what a log of the server has: the first line of each request."""
        return "\n".join(self.lines)

    def change(self, told: dict[str, str]) -> None:
        """Do what an administrator wants."""
        for what, password in told.items():
            others = [one for one in self.passwords if one != password]
            self.passwords = {"only": [password], "add": [*others, password], "end": others}[what]


class _Call(BaseHTTPRequestHandler):
    server: Accounts

    def do_GET(self) -> None:
        """Say who logs in."""
        if self._broken(""):
            return
        if self.server.mood == "confused":
            self._say(500, {"error": "ask later"})
            return
        given = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        knows = given.partition(":")[::2] in [(USER, one) for one in self.server.passwords]
        self._say(200, {"name": USER}) if knows else self._say(401, {"error": "who are you"})

    def do_PUT(self) -> None:
        """Change the passwords of the account."""
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.changes += 1
        if self._broken("refused"):
            return
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._say(403, {"error": "may not"})
            return
        for _ in range(2 if self.server.mood == "twice" else 1):
            self.server.change(told)
        if self.server.mood == "slow":
            time.sleep(0.05)
        if not self._broken("lost"):
            self._say(200, {})

    def _broken(self, mood: str) -> bool:
        if self.server.mood == "stuck":
            while self.connection.recv(4096):
                pass
        return self.server.mood in ("away", "stuck", mood) and bool(self.server.mood)

    def _say(self, status: int, answer: dict[str, str]) -> None:
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the line, as a server's log does."""
        self.server.lines.append(format % args)
