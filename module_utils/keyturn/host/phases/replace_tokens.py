"""Replace access tokens at the provider that gave them out, when the database and its key have both leaked.

The call gives a new token and ends the old one at once, and cannot be repeated: a kill between the provider's commit and
our fsync costs that one token. So each call stands in a log before it is made, and its answer, encrypted under the
database's key, before anything else happens. What is lost all the same is listed.
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from ... import providers
from ...base import http
from ...base.errors import KeyturnError
from ...base.fingerprint import fingerprint
from ...ground.rows import tokens
from ...ground.rows.contract import Item, Tokens
from ...inputs.catalogue import Entry
from ..journal import REPLACEMENT
from ..rotation import LOCK_WAIT_SECONDS, Holding
from ..token_log import TokenLog
from .answers import HostAnswer

ATTEMPTS = 5
LONGEST_PAUSE = 60
DEAD_TOKENS = ("INVALID_ACCESS_TOKEN", "ITEM_NOT_FOUND")
AGAIN = "run replace_plaid_tokens.yml again, it goes on where it stopped"


class _Client(NamedTuple):
    """Plaid, with the credential that the application uses."""

    url: str
    headers: dict[str, str]

    def call(self, path: str, token: str) -> http.Answer:
        return http.ask(f"{self.url}{path}", providers.TIMEOUT_SECONDS, self.headers, {"access_token": token})

    def verdict(self, item: str, token: str) -> tuple[str, str]:
        """Ask whether a token works: the verdict, and the evidence."""
        answer = self.call("/item/get", token)
        said = answer.document()
        code = said.get("error_code")
        detail = providers.evidence("POST /item/get", answer, code, said.get("request_id"))
        held = said.get("item")
        if http.good(answer.status) and isinstance(held, dict) and held.get("item_id") == item:
            return "accepted", detail
        return ("rejected" if code in DEAD_TOKENS else "unknown"), detail


def run(holding: Holding, issuer: Entry, seconds: float) -> HostAnswer:
    """Work for about ``seconds``; the result tells how far it is, and whether it has ``ended``.

    ``holding`` names the secret that encrypts the tokens, ``issuer`` is the catalogue entry of who gave them out.
    """
    opened = holding.application.open_journal()
    if opened is not None:
        raise KeyturnError(
            f"rotation {opened.folder.name} of {opened.secret} is open on this host: end it with resume.yml or "
            "rollback.yml, then replace the tokens"
        )
    current = holding.current_values()
    store = holding.migration(current, None)
    if store is None:
        raise KeyturnError(f"{holding.secret} encrypts no tokens: name the secret of the database")
    kept = tokens.of(holding.entry["migration"]["kind"], store)
    if not (holding.application.folder / REPLACEMENT).exists():
        holding.check_durable()
    if holding.check_mode:
        items = _by_name(kept)
        return {"changed": True, "total": len(items), "done": 0, "relink_required": [], "gone": [], "ended": True}
    with holding.application.lock("replace tokens", LOCK_WAIT_SECONDS):
        log = TokenLog(holding.application.folder)
        client = _client(holding, issuer, begin=not log.items)
        if log.items:
            kept.repair()
        return _work(_Replacement(kept, log, client), time.monotonic() + seconds)


def _client(holding: Holding, issuer: Entry, begin: bool) -> _Client:
    values = [holding.value_of(name) for name in issuer["variables"]]
    if begin:
        reply = providers.ask(issuer["provider"], values)
        if reply.verdict != "accepted":
            raise KeyturnError(
                f"the credential in use is {reply.verdict} ({reply.detail}), nothing was changed: rotate it first"
            )
    return _Client(issuer["provider"]["url"].rstrip("/"), providers.plaid_headers(*values))


def _work(replacement: _Replacement, deadline: float) -> HostAnswer:
    log = replacement.log
    items = _by_name(replacement.tokens)
    for name in sorted(set(log.items) - set(items)):
        if log.state(name) in ("in_flight", "received", "stored"):
            log.write(name, "gone")
    worked = False  # each call brings the work on, or the controller would make no other
    for step, done in ((replacement.replace, ("stored", "proven")), (replacement.prove, ("proven",))):
        for name, item in items.items():
            if log.state(name) in (*done, "relink_required"):
                continue
            if worked and time.monotonic() > deadline:
                return _result(log, len(items), ended=False)
            step(item)
            worked = True
        items = _by_name(replacement.tokens)
    answer = _result(log, len(items), ended=True)
    log.end(answer)
    return answer


def _result(log: TokenLog, total: int, ended: bool) -> HostAnswer:
    counts = {name: len(log.listed(name)) for name in ("stored", "proven")}
    return {
        "changed": True,
        "total": total,
        "done": counts["stored"] + counts["proven"],
        "proven": counts["proven"],
        "relink_required": log.listed("relink_required"),
        "gone": log.listed("gone"),
        "ended": ended,
    }


def _by_name(kept: Tokens) -> dict[str, Item]:
    """Return the rows that hold a token by the names that the log and the provider know them by; KeyturnError for one name of two."""
    found: dict[str, Item] = {}
    for item in kept.items():
        if item.name in found:
            raise KeyturnError(
                f"{kept.name}: two tokens of {item.column} are known as {item.name!r}, so the token of one could be "
                "taken for the other's: `key` of the migration must name a single row"
            )
        found[item.name] = item
    return found


class _Replacement(NamedTuple):
    """The three places that a token passes through: provider, log, database."""

    tokens: Tokens
    log: TokenLog
    client: _Client

    def replace(self, item: Item) -> None:
        """Bring one item to ``stored`` or ``relink_required``, from wherever it was left."""
        state = self.log.state(item.name)
        if state == "received":
            self._store(item)
            return
        if state == "in_flight" and not self._old_token_lives(item):
            return
        for _ in range(ATTEMPTS):
            self.log.write(item.name, "in_flight", old=fingerprint(item.token))
            answer = self.client.call("/item/access_token/invalidate", item.token)
            new = answer.document().get("new_access_token")
            if http.good(answer.status) and isinstance(new, str) and _like(new, item.token):
                # first of all: until this is durable, nothing but the answer holds the token
                sealed = self.tokens.seal(new)
                self.log.write(item.name, "received", old=fingerprint(item.token), new=fingerprint(new), sealed=sealed)
                self._store(item)
                return
            if answer.status == 429:
                time.sleep(_pause(answer))
            elif not self._old_token_lives(item):
                return
        raise KeyturnError(f"Plaid does not replace the token of {item.name!r} after {ATTEMPTS} calls: {AGAIN}")

    def _old_token_lives(self, item: Item) -> bool:
        """Ask what became of a call whose answer nobody has; a token that is dead by it is listed."""
        verdict, detail = self.client.verdict(item.name, item.token)
        if verdict == "unknown":
            raise KeyturnError(f"Plaid does not say what became of the token of {item.name!r} ({detail}): {AGAIN}")
        if verdict == "rejected":
            self.log.write(item.name, "relink_required", evidence=detail)
        return verdict == "accepted"

    def _store(self, item: Item) -> None:
        """Write the token that was received into its row, in the form that the row has."""
        step = self.log.items[item.name]
        new = self.tokens.unseal(step["sealed"])
        if new is None:
            raise KeyturnError(
                f"{self.log.path}: the new token of {item.name!r} does not open under the database key: restore the file"
            )
        # a third token is one that the application got meanwhile: it stays
        if fingerprint(item.token) == step["old"] and not self.tokens.put(item, new):
            raise KeyturnError(f"the row of {item.name!r} was written by the application meanwhile: {AGAIN}")
        self.log.write(item.name, "stored", new=step["new"])

    def prove(self, item: Item) -> None:
        """See that the token that the database holds now works."""
        verdict, detail = self.client.verdict(item.name, item.token)
        if verdict == "unknown":
            raise KeyturnError(f"Plaid does not say whether the new token of {item.name!r} works ({detail}): {AGAIN}")
        self.log.write(item.name, "proven" if verdict == "accepted" else "relink_required", evidence=detail)


def _like(new: str, old: str) -> bool:
    """Tell whether a new token has the beginning of the old one (``access-`` and the environment)."""
    return re.split("-", new)[:2] == re.split("-", old)[:2]


def _pause(answer: http.Answer) -> float:
    said = answer.headers.get("retry-after", "")
    return min(float(said) if said.isdigit() else 5.0, LONGEST_PAUSE)
