"""Who runs this: what the kernel and the surroundings say, beside the name that a person types."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import pwd
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from ..base import files
from ..base.errors import KeyturnError
from .request import PIPELINE_ACTORS

Login = Mapping[str, str]
SESSION = Path("/proc/self/loginuid")
# the loginuid of a process that no login has led to
NO_SESSION = 2**32 - 1
# letters, marks and digits make a name; dots, spaces and what nobody sees do not
OF_A_NAME = "LMN"
KEYS_BYTES = 1 << 16
LONGEST = 120


def login(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what is known of the login of this process; what is not known is left out.

    ``user``, whom it runs as, and ``session``, who has logged in, which no sudo changes, come from the kernel. ``sudo``, ``actor`` (of
    a pipeline) and ``key`` (the fingerprint of that by which ssh let one in) come from the environment, which anybody can set: they
    speak against a person, never for one.
    """
    actor = next((environment[name] for name in PIPELINE_ACTORS if environment.get(name)), "")
    known = {
        "user": _name_of(os.getuid()),
        "session": _session(),
        "sudo": environment.get("SUDO_USER", ""),
        "actor": actor,
        "key": _key(environment.get("SSH_USER_AUTH", "")),
    }
    return {kind: shown for kind, text in known.items() if (shown := _shown(text))}


def real(login: Login) -> str:
    """Return who it is by the kernel: who has logged in, or where no login is known the user; empty where neither is."""
    return login.get("session") or login.get("user", "")


def said(login: Login) -> list[str]:
    """Return all that a login says of a person."""
    return [who for who in (real(login), *(login.get(kind, "") for kind in ("sudo", "actor", "key"))) if who]


def with_login(name: str, login: Login) -> str:
    """Return the name that was typed, and who it is by the kernel where that is another name."""
    who = real(login)
    return name if normal(who) in ("", normal(name)) else f"{name} (login {who})"


def normal(name: str) -> str:
    """Return a name so that two spellings of one person's are the same: without case, spaces, dots and what is not to be seen."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    # what is left out may have kept two marks from their order
    return unicodedata.normalize("NFKD", "".join(one for one in folded if unicodedata.category(one)[0] in OF_A_NAME))


def _shown(text: str) -> str:
    """What the environment says may be anything: of that a record holds what can be printed, and not too much."""
    return "".join(filter(str.isprintable, text.encode(errors="replace").decode()))[:LONGEST]


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _session() -> str:
    try:
        uid = int(SESSION.read_text())
    except (OSError, ValueError):
        return ""
    return "" if uid == NO_SESSION else _name_of(uid)


def _key(path: str) -> str:
    """Return the fingerprint of the key or certificate in the file that sshd names where ``ExposeAuthInfo`` is on."""
    try:
        lines = files.read(Path(path), KEYS_BYTES).splitlines()
        words = next((line.split() for line in lines if line.startswith(b"publickey ")), [])
        digest = hashlib.sha256(base64.b64decode(words[2], validate=True)).digest()
    except (KeyturnError, OSError, IndexError, binascii.Error):
        return ""
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
