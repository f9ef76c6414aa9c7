"""Secrets that are one login: whoever turns one of them leaves the others with a dead value."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterable, Mapping

from ..base.errors import KeyturnError
from .catalogue import ENTRY, Entry
from .validation import validated

# where an address names none
PORTS = {"postgresql": 5432, "smtp": 587, "smtps": 465}


def same(secret: str, secrets: Mapping[str, Entry]) -> list[str]:
    """Return the other entries of a catalogue that are the same login as one."""
    told = {name: entry for name, given in secrets.items() if (entry := _sound(name, given))}
    mine = set(_logins(told.get(secret, {})))
    return [name for name, entry in told.items() if name != secret and mine & set(_logins(entry))]


def words(secret: str, others: Iterable[str]) -> str:
    """Return the refusal of a rotation that would turn one of them alone."""
    named = " and ".join(others)
    return (
        f"{secret} is one login with {named}, which would be left with a dead value. Make them one entry, which is turned as a whole: with "
        "the files of all (consumers, their names by keys), second names in one file (aliases), and the services of all"
    )


def _sound(name: str, given: object) -> Entry | None:
    """Return an entry with its defaults, None for one that its spec refuses: nobody turns that."""
    try:
        return validated(name, ENTRY, given)
    except KeyturnError:
        return None


def _logins(entry: Entry) -> Iterable[str]:
    """Yield what an entry logs in as: the users at a server, or how an issuer that knows no users is told.

    Where old and new live side by side, a login may have several values, and each entry its own. Of two users one is at rest.
    """
    provider, issuer = entry.get("provider") or {}, entry.get("issuer") or {}
    if entry.get("overlap") == "both" and issuer.get("strategy") != "alternating":
        return
    named = provider.get("user")
    users = issuer.get("users") or ([named] if named else [])
    yield from (f"{_server(str(provider.get('url')))} {user}" for user in users)
    told = issuer.get("set") or (issuer.get("requests") or {}).get("set")
    if told:
        yield json.dumps(told, sort_keys=True)


def _server(url: str) -> str:
    """Return a server as all addresses of it have it: users are its own, and not those of one of its databases."""
    try:
        parts = urllib.parse.urlsplit(url)
        return f"{parts.scheme} {parts.hostname} {parts.port or PORTS.get(parts.scheme, '')}"
    except ValueError:  # which is told of its own entry
        return url
