"""What stage has to know of a credential that a provider gave out: does it still work, and whose is it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from ... import providers
from ...base import durable
from ...base.errors import KeyturnError
from ...providers import Reply, guards
from ..rotation import Rotation

ACCOUNTS = "accounts.json"


class Brought(TypedDict):
    """The provider's word on the new credential, as the controller has heard it."""

    identity: str
    findings: list[str]


def examine(rotation: Rotation, old: Mapping[str, str]) -> Reply | None:
    """Ask about the current credential, None for a secret without a provider. One that is dead does not stop a rotation.

    An answer that says nothing does: then the proof, which asks from this host as well, could not succeed.
    """
    if not rotation.entry["provider"]:
        return None
    title = providers.PROVIDERS[rotation.entry["provider"]["kind"]].title
    kind = rotation.entry["guard"]["kind"]
    reply = rotation.ask_provider(old)
    if reply.verdict == "unknown":
        raise KeyturnError(
            f"{title} does not say to this host whether the current credential works ({reply.detail}), nothing was changed: "
            "the proof asks from here as well, so let this host reach the provider, or try again when it answers"
        )
    findings = list(reply.findings)
    if reply.verdict == "rejected":
        findings.append(f"the current credential is dead already: {reply.detail}")
    else:
        guards.check(kind, rotation.entry["provider"], rotation.overrides, [old[name] for name in rotation.variables])
    return reply._replace(identity=reply.identity or known_account(rotation), findings=tuple(findings))


def check_account(current: Reply | None, brought: Brought | None) -> tuple[str, list[str]]:
    """Return the account of the new credential and findings; refuse one that is of another account.

    ``current`` is the provider's word on the credential in use (``examine``).
    """
    if current is None or not brought or not (current.identity or brought["identity"]):
        return "", []  # not every provider says whose a credential is
    if not current.identity:
        return brought["identity"], [
            f"the new credential is of account {brought['identity']}; whose the current one was cannot be asked any more"
        ]
    if brought["identity"] != current.identity:
        raise KeyturnError(
            f"the new credential is of account {brought['identity']} and the current one of {current.identity}, nothing was "
            "changed: bring one of the same account"
        )
    return current.identity, list(brought["findings"])


def known_account(rotation: Rotation) -> str:
    """Return the account that was seen last, empty if none was."""
    known = durable.read_json(rotation.application.folder / ACCOUNTS, {"*": str}) or {}
    return str(known.get(rotation.secret, ""))


def remember_account(rotation: Rotation, account: str) -> None:
    """Keep whose the credential is, for the time when it is dead and cannot be asked. The caller holds the lock."""
    path = rotation.application.folder / ACCOUNTS
    known = durable.read_json(path, {"*": str}) or {}
    if account and known.get(rotation.secret) != account:
        durable.write_json(path, known | {rotation.secret: account})


def check_is_new(may_stay: Sequence[str], old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Refuse a new value that is in use already."""
    same = [name for name in new if new[name] == old.get(name) and name not in may_stay]
    if same:
        raise KeyturnError(f"the new value of {', '.join(same)} is the one that is in use: bring the new one")
