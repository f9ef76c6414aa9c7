"""A role of a database whose password OpenBao or Vault changes by itself, at a call or after a time: its secrets engine ``database``.

The password is there once the old one is dead. A call whose answer was lost is seen by what the engine has afterwards.
"""

from __future__ import annotations

from collections.abc import Collection

from ..base.errors import KeyturnError
from ..base.fingerprint import fingerprint
from .openbao import OpenBao


def turned(store: OpenBao, role: str, held: Collection[str]) -> tuple[str, str]:
    """Return the user and a password that the hosts do not have yet; ``held`` are the fingerprints of what they have.

    ``role`` is MOUNT/NAME. The engine is told to change the password only where the hosts have the one of now: where it has done so
    since, by itself or by a call that was cut off, that one is taken.
    """
    if len(held) != 1:
        raise KeyturnError(
            f"the hosts do not hold one value ({', '.join(sorted(held)) or 'none of them says'}), and the role {role} was not turned: name "
            "the host whose value is right by keyturn_adopt"
        )
    mount, name = role.rsplit("/", 1)
    found = _login(store, f"{mount}/static-creds/{name}")
    if fingerprint(found[1]) in held:
        store.tell(f"{mount}/rotate-role/{name}")
        found = _login(store, f"{mount}/static-creds/{name}")
    if fingerprint(found[1]) in held:
        raise KeyturnError(f"{store.where} has turned the role {role}, and gives the password of before: see its log")
    return found


def _login(store: OpenBao, path: str) -> tuple[str, str]:
    said = store.ask(path)
    user, password = said.get("username"), said.get("password")
    if not (isinstance(user, str) and isinstance(password, str) and password):
        raise KeyturnError(
            f"{store.where} has no user and password at {path}: make the static role, or correct the entry"
        )
    return user, password
