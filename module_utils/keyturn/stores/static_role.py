"""A role of a database whose password OpenBao or Vault changes by itself, at a call or after a time: its secrets engine ``database``.

The password is there once the old one is dead.
"""

from __future__ import annotations

from ..base.errors import KeyturnError
from .openbao import OpenBao


def turned(store: OpenBao, role: str) -> tuple[str, str]:
    """Have the engine change the password of a role (``MOUNT/NAME``), and return its user and the new one.

    It is changed in each call, also where the engine may have done so since: what the hosts hold is their word, and a password that
    somebody knows would stay by it.
    """
    mount, name = role.rsplit("/", 1)
    place = f"{mount}/static-creds/{name}"
    before = _login(store, place)
    store.tell(f"{mount}/rotate-role/{name}")
    found = _login(store, place)
    if found == before:
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
