"""Public APIs that an entry of the catalogue describes: what they get and what they answer is held against what they publish."""

from __future__ import annotations

import base64
import json
from typing import Any, ClassVar

from support.fakes import SCHEMAS, Fake, Said


class FakeDiscord(Fake):
    """Discord's webhooks. ``valid`` has the id and the token of each; ``texts`` are what the call that is made for Slack's clients got."""

    schemas = json.loads((SCHEMAS / "discord.json").read_text())
    busy: ClassVar = {"code": 0, "message": "You are being rate limited.", "retry_after": 0.5, "global": False}

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.check("RatelimitedResponse", self.busy)

    def answer(self, method: str, path: str, query: dict[str, list[str]], headers: Any, body: Any) -> Said:
        _, kind, number, token, *call = path.split("/")
        self.check("Path", {"webhook_id": number, "webhook_token": token})
        one = {name: value[0] for name, value in query.items()}
        if (method, kind, call) == ("GET", "webhooks", []):
            self.check("Query", one)
            ids = {"application_id": None, "channel_id": "2", "guild_id": "3", "id": number, "type": 1}
            known = ids | {"name": "trader", "avatar": None, "token": token, "url": f"https://discord.com{path}"}
            return Said(200, known, "GuildIncomingWebhookResponse") if (number, token) in self.valid else self._gone()
        if (method, kind, call) == ("POST", "webhooks", ["slack"]):
            self.check("SlackQuery", one)
            self.check("SlackWebhook", body)
            if (number, token) not in self.valid:
                return self._gone()
            if not body["text"]:
                return Said(400, {"code": 50006, "message": "Cannot send an empty message"}, "ErrorResponse")
            self.texts.append(body["text"])
            return Said(200, "ok")
        self.violations.append(f"{method} of {kind} and {len(call)} more")
        return Said(404, {"code": 0, "message": "404: Not Found"}, "ErrorResponse")

    def _gone(self) -> Said:
        return Said(404, {"code": 10015, "message": "Unknown Webhook"}, "ErrorResponse")


class FakeElasticsearch(Fake):
    """Accounts of Elasticsearch. ``valid`` maps a user and its password to the user's role."""

    schemas = json.loads((SCHEMAS / "elasticsearch.json").read_text())

    def answer(self, method: str, path: str, query: dict[str, list[str]], headers: Any, body: Any) -> Said:
        kind, _, given = headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(given).decode().partition(":")
        self.check("Query", query)
        if kind != "Basic" or (user, password) not in self.valid:
            return self._refusal(401, f"unable to authenticate user [{user}]")
        role = self.valid[user, password]
        if (method, path, body) == ("GET", "/_security/_authenticate", None):
            realm = {"name": "default_native", "type": "native"}
            realms = {"authentication_realm": realm, "lookup_realm": realm, "authentication_type": "realm"}
            known = {
                "username": user,
                "roles": [role],
                "full_name": None,
                "email": None,
                "metadata": {},
                "enabled": True,
            }
            return Said(200, known | realms, "Authenticated")
        _, *parts = path.split("/")
        match parts:
            case ["_security", "user", name, "_password"] if method in ("POST", "PUT"):
                self.check("ChangePassword", body)
                if role != "superuser" and name != user:
                    return self._refusal(403, "action is unauthorized")
                held = next(own for (one, _), own in self.valid.items() if one == name)
                self.valid = {key: own for key, own in self.valid.items() if key[0] != name}
                self.valid[name, body["password"]] = held
                return Said(200, {})
        self.violations.append(f"{method} with {len(parts)} parts")
        return self._refusal(400, "no handler found")

    def _refusal(self, status: int, reason: str) -> Said:
        cause = {"type": "security_exception", "reason": reason}
        return Said(status, {"error": {"root_cause": [cause], **cause}, "status": status}, "Error")
