"""Fakes of providers: real HTTP servers whose requests and answers are held against the providers' own schemas."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qs, urlsplit

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parent / "schemas"
HTML = b"<html><body>Invalid user token</body></html>"


class Said(NamedTuple):
    """An answer: the status, the JSON, and the name of its schema."""

    status: int
    body: Any
    schema: str = ""


class Fake(ThreadingHTTPServer):
    """A provider. ``valid`` maps each credential that works to whom it belongs; ``mood`` is what goes wrong.

    Moods: ``slow`` (longer than any client waits), ``429``, ``500``, ``html``, ``reset``.
    """

    daemon_threads = True
    allow_reuse_address = True
    schemas: ClassVar[dict[str, Any]] = {}
    busy: ClassVar[dict[str, Any]] = {"message": "not now"}

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((address, port), Handler)
        self.valid: dict[tuple[str, ...], str] = {}
        self.mood = ""
        self.slowness = 30.0
        self.calls: list[str] = []
        self.violations: list[str] = []
        self.connections: set[int] = set()
        self.url = f"http://{address}:{self.server_address[1]}"

    def __enter__(self) -> Fake:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        self.shutdown()
        self.server_close()
        assert failed or not self.violations, self.violations

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(id(request))
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.connections.discard(id(request))

    def settle(self) -> None:
        """Wait until every call that was sent has been answered, whoever has died meanwhile."""
        with socket.create_connection(self.server_address) as last:  # connections are taken in turn
            last.shutdown(socket.SHUT_WR)
            last.recv(1)
        while self.connections:
            time.sleep(0.001)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients are killed in the middle of a call."""

    def answer(self, method: str, path: str, query: dict[str, list[str]], headers: Any, body: Any) -> Said:
        """Answer one call."""
        raise NotImplementedError

    def check(self, name: str, document: Any) -> None:
        """Hold a document against a schema; what is wrong stands in ``violations``, by places and no values."""
        for error in Draft202012Validator(self.schemas[name]).iter_errors(document):
            self.violations.append(f"{name}: {error.json_path}: {error.validator}")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Fake
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(size)
        if len(content) == size:  # else the client has died while it sent
            self._serve(json.loads(content))

    def _serve(self, body: Any) -> None:
        parts = urlsplit(self.path)
        self.server.calls.append(f"{self.command} {parts.path}")
        mood = self.server.mood
        if mood == "slow":
            time.sleep(self.server.slowness)
        if mood == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif mood in ("429", "500"):
            self._send(int(mood), json.dumps(self.server.busy).encode(), "application/json")
        elif mood == "html":
            self._send(401, HTML, "text/html")
        else:
            said = self.server.answer(self.command, parts.path, parse_qs(parts.query), self.headers, body)
            if said.schema:
                self.server.check(said.schema, said.body)
            self._send(said.status, json.dumps(said.body).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Request-ID", uuid.uuid4().hex)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class FakePlaid(Fake):
    """Plaid. ``tokens`` has the access token of each item; ``before`` is called before each invalidation, ``after`` after it.

    An item is told apart by what stands before a slash, where hosts have items of one name.
    """

    schemas = json.loads((SCHEMAS / "plaid.json").read_text())

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(address, port)
        self.tokens: dict[str, str] = {}
        self.invalidated: list[str] = []
        self.hook: Callable[[str, str], str | None] = lambda when, item: None

    def answer(self, method: str, path: str, query: dict[str, list[str]], headers: Any, body: Any) -> Said:
        endpoints = {
            "/institutions/get": ("InstitutionsGet", self._institutions),
            "/item/get": ("ItemGet", self._item),
            "/item/access_token/invalidate": ("ItemAccessTokenInvalidate", self._invalidate),
            "/accounts/get": ("AccountsGet", self._accounts),
        }
        if method != "POST" or path not in endpoints:
            return self.refusal(404, "INVALID_REQUEST", "NOT_FOUND")
        name, endpoint = endpoints[path]
        self.check(f"{name}Request", body)
        pair = (headers.get("PLAID-CLIENT-ID", ""), headers.get("PLAID-SECRET", ""))
        if pair not in self.valid:
            return self.refusal(400, "INVALID_INPUT", "INVALID_API_KEYS")
        if self.valid[pair] == "wrong environment":
            return self.refusal(400, "INVALID_INPUT", "UNAUTHORIZED_ENVIRONMENT")
        found = endpoint(body)
        return Said(200, found | {"request_id": uuid.uuid4().hex[:15]}, f"{name}Response") if found else self._unknown()

    def refusal(self, status: int, kind: str, code: str) -> Said:
        """Refuse as Plaid does."""
        error = {"error_type": kind, "error_code": code, "error_message": code.lower(), "display_message": None}
        return Said(status, error | {"request_id": uuid.uuid4().hex[:15]}, "PlaidError")

    def _unknown(self) -> Said:
        return self.refusal(400, "INVALID_INPUT", "INVALID_ACCESS_TOKEN")

    def _institutions(self, body: Any) -> dict[str, Any]:
        bank = {"institution_id": "ins_1", "name": "Bank", "products": ["auth"], "country_codes": ["US"]}
        return {"institutions": [bank | {"routing_numbers": [], "oauth": False}], "total": 1}

    def _item_of(self, body: Any) -> str | None:
        return next((item for item, token in self.tokens.items() if token == body["access_token"]), None)

    def _item(self, body: Any) -> dict[str, Any] | None:
        item = self._item_of(body)
        if item is None:
            return None
        more = {"webhook": None, "error": None, "available_products": [], "billed_products": []}
        return {
            "item": {
                "item_id": item.rpartition("/")[2],
                **more,
                "consent_expiration_time": None,
                "update_type": "background",
            }
        }

    def _accounts(self, body: Any) -> dict[str, Any] | None:
        item = self._item(body)
        return None if item is None else {"accounts": []} | item

    def _invalidate(self, body: Any) -> dict[str, Any] | None:
        item = self._item_of(body)
        if item is None:
            return None
        self.hook("before", item)
        self.tokens[item] = f"access-production-{uuid.uuid4()}"
        self.invalidated.append(item)
        self.hook("after", item)
        return {"new_access_token": self.tokens[item]}


class FakeAlpaca(Fake):
    """Alpaca, paper or live. ``valid`` maps a pair to its account number; ``restricted`` is a 403 that is no bad pair."""

    schemas = json.loads((SCHEMAS / "alpaca.json").read_text())

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(address, port)
        self.market_open = False
        self.open_orders = 0
        self.orders: list[dict[str, Any]] = []
        self.activities: list[dict[str, Any]] = []

    @staticmethod
    def _since(found: list[dict[str, Any]], mark: str, last: str, size: int) -> list[dict[str, Any]]:
        return [one for one in found if one[mark] > last][:size]

    def answer(self, method: str, path: str, query: dict[str, list[str]], headers: Any, body: Any) -> Said:
        pair = (headers.get("APCA-API-KEY-ID", ""), headers.get("APCA-API-SECRET-KEY", ""))
        if pair not in self.valid:
            return Said(401, {"code": 40110000, "message": "request is not authorized"})
        if self.mood == "restricted":
            return Said(403, {"code": 40310000, "message": "account is restricted"})
        if (method, path) == ("GET", "/v2/account"):
            account = {"id": str(uuid.uuid4()), "account_number": self.valid[pair], "status": "ACTIVE"}
            return Said(200, account, "Account")
        if (method, path) == ("GET", "/v2/clock"):
            moment = "2026-01-02T15:00:00Z"
            times = {"timestamp": moment, "next_open": moment, "next_close": moment}
            return Said(200, times | {"is_open": self.market_open}, "Clock")
        if (method, path) == ("GET", "/v2/orders") and query.get("status") == ["open"]:
            order = {"symbol": "AAPL", "notional": None, "qty": "1", "type": "limit", "side": "buy"}
            orders = [order | {"time_in_force": "day", "status": "new"}] * self.open_orders
            return Said(200, orders[: int(query.get("limit", ["50"])[0])], "Orders")
        if (method, path) == ("GET", "/v2/orders") and query.get("status") == ["all"]:
            return Said(
                200, self._since(self.orders, "submitted_at", query["after"][0], int(query["limit"][0])), "Orders"
            )
        if (method, path) == ("GET", "/v2/account/activities"):
            mark = query.get("page_token", [""])[0]
            return Said(200, self._since(self.activities, "id", mark, int(query["page_size"][0])))
        return Said(404, {"message": "endpoint not found"})


class FakeHuggingFace(Fake):
    """Hugging Face. ``valid`` maps a token to ``user:role``."""

    schemas = json.loads((SCHEMAS / "huggingface.json").read_text())

    def answer(self, method: str, path: str, query: dict[str, list[str]], headers: Any, body: Any) -> Said:
        kind, _, token = headers.get("Authorization", "").partition(" ")
        if (method, path, query, kind, body) != ("GET", "/api/whoami-v2", {}, "Bearer", None):
            self.violations.append(f"{method} {path} with {kind}")
            return Said(404, {"error": "Not Found"}, "Error")
        if (token,) not in self.valid:
            return Said(401, {"error": "Invalid username or password."}, "Error")
        name, _, role = self.valid[(token,)].partition(":")
        user = {"type": "user", "id": "6" * 24, "name": name, "fullname": name, "email": "trader@example.org"}
        flags = {"emailVerified": True, "canPay": False, "isPro": False, "periodEnd": None}
        auth = {"type": "access_token", "accessToken": {"displayName": "trader", "role": role or "read"}}
        return Said(200, user | flags | {"avatarUrl": "/avatars/1.svg", "orgs": [], "auth": auth}, "WhoAmI")
