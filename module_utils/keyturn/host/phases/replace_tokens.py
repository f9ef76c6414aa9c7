"""Replace access tokens at the provider that gave them out, when the database and its key have both leaked.

The call gives a new token and ends the old one at once, and cannot be repeated: a kill between the provider's commit and
our fsync costs that one token. So each call stands in a log before it is made, and its answer, encrypted under the
database's key, before anything else happens. What is lost all the same is listed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.fernet import InvalidToken

from ... import providers
from ...base import http
from ...base.errors import KeyturnError
from ...base.fingerprint import fingerprint
from ...ground import consumers
from ...ground.rows import fernet_forms
from ..journal import REPLACEMENT
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from ..token_log import TokenLog

if TYPE_CHECKING:
    from ...ground.rows.fernet_sqlite import FernetSqlite
    from ...ground.rows.sqlite_file import Column, Row

ATTEMPTS = 5
LONGEST_PAUSE = 60
DEAD_TOKENS = ("INVALID_ACCESS_TOKEN", "ITEM_NOT_FOUND")
AGAIN = "run replace_plaid_tokens.yml again, it goes on where it stopped"


class Item(NamedTuple):
    """A row with a token: its name, its column, what stands there, and the token."""

    name: str
    column: Column
    row: Row
    form: str
    token: str


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


def run(rotation: Rotation, issuer: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Work for about ``seconds``; the result tells how far it is, and whether it has ``ended``.

    ``rotation`` names the secret that encrypts the tokens, ``issuer`` is the catalogue entry of who gave them out.
    """
    opened = rotation.application.open_journal()
    if opened is not None:
        raise KeyturnError(
            f"rotation {opened.folder.name} of {opened.record['secret']} is open on this host: end it with resume.yml or "
            "rollback.yml, then replace the tokens"
        )
    current = rotation.current_values()
    migration = rotation.migration(current, None)
    if migration is None:
        raise KeyturnError(f"{rotation.secret} encrypts no tokens: name the secret of the database")
    if not (rotation.application.folder / REPLACEMENT).exists():
        rotation.check_durable()
    if rotation.check_mode:
        items = _by_name(migration)
        return {"changed": True, "total": len(items), "done": 0, "relink_required": [], "gone": [], "ended": True}
    with rotation.application.lock("replace tokens", LOCK_WAIT_SECONDS):
        log = TokenLog(rotation.application.folder)
        client = _client(rotation, issuer, begin=not log.items)
        if log.items:
            _take_back_a_cut_off_write(migration)
        return _work(_Replacement(migration, log, client), time.monotonic() + seconds)


def _client(rotation: Rotation, issuer: Mapping[str, Any], begin: bool) -> _Client:
    names = issuer["variables"]
    held = consumers.read(rotation.consumers()[0], names)
    rotation.hide(held.values())
    values = [held[name] for name in names]
    if begin:
        reply = providers.ask(issuer["provider"], values)
        if reply.verdict != "accepted":
            raise KeyturnError(
                f"the credential in use is {reply.verdict} ({reply.detail}), nothing was changed: rotate it first"
            )
    return _Client(issuer["provider"]["url"].rstrip("/"), providers.plaid_headers(*values))


def _take_back_a_cut_off_write(migration: FernetSqlite) -> None:
    """Let SQLite end the transaction of a call that was killed: a connection that only reads cannot."""
    with migration.database.writing() as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _work(replacement: _Replacement, deadline: float) -> dict[str, Any]:
    log = replacement.log
    items = _by_name(replacement.migration)
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
        items = _by_name(replacement.migration)
    found = _result(log, len(items), ended=True)
    log.end(found)
    return found


def _result(log: TokenLog, total: int, ended: bool) -> dict[str, Any]:
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


def stored_items(migration: FernetSqlite) -> list[Item]:
    """Return the rows that hold a token; KeyturnError for one that does not open."""
    from ...ground.rows.fernet_json import JsonPages
    from ...ground.rows.sqlite_file import pages

    found = []
    with migration.database.reading() as connection:
        for column, values in zip(migration.columns(connection), migration.values, strict=True):
            if isinstance(values, JsonPages):
                raise KeyturnError(
                    f"{migration.database.path}: {column.name} is JSON, and a token in it cannot be replaced"
                )
            for page in pages(connection, column):
                for row, opened in zip(page, values.open([row.stored for row in page]), strict=True):
                    if isinstance(opened, fernet_forms.OtherShape) and migration.accepts(row):
                        continue  # no token of the provider
                    if isinstance(opened, fernet_forms.Unreadable):
                        raise KeyturnError(f"{migration.database.path}: {column.name} of {row.item!r} {opened}")
                    if opened.plaintext:
                        found.append(Item(str(row.item), column, row, opened.form, opened.plaintext.decode()))
    return found


def _by_name(migration: FernetSqlite) -> dict[str, Item]:
    """Return the rows that hold a token by the names that the log and the provider know them by; KeyturnError for one name of two."""
    found: dict[str, Item] = {}
    for item in stored_items(migration):
        if item.name in found:
            raise KeyturnError(
                f"{migration.database.path}: two tokens of {item.column.name} are known as {item.name!r}, so the token of one could be "
                "taken for the other's: `key` of the migration must name a single row"
            )
        found[item.name] = item
    return found


class _Replacement(NamedTuple):
    """The three places that a token passes through: provider, log, database."""

    migration: FernetSqlite
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
                sealed = self.migration.ciphers["old"].encrypt(new.encode()).decode()
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
        from ...ground.rows.sqlite_file import write

        step = self.log.items[item.name]
        try:
            new = self.migration.ciphers["old"].decrypt(step["sealed"].encode())
        except InvalidToken:
            raise KeyturnError(
                f"{self.log.path}: the new token of {item.name!r} does not open under the database key: restore the file"
            ) from None
        # a third token is one that the application got meanwhile: it stays
        if fingerprint(item.token) == step["old"]:
            goal = fernet_forms.seal(self.migration.ciphers["old"], item.form, new, isinstance(item.row.stored, str))
            database = self.migration.database
            with database.writing() as connection, database.transaction(connection):
                written = write(connection, item.column, [(item.row, goal)])
            if not written:
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
