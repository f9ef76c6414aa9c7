"""How the value of a variable becomes the Fernet key of the rows: as it stands, or by a named rule of the application's."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from functools import cache
from typing import TypedDict

from ...base.errors import KeyturnError


class Rule(TypedDict, total=False):
    """The catalogue's ``key`` of a migration; ``salt`` and ``iterations`` are what pbkdf2_sha256 takes."""

    rule: str
    salt: str
    iterations: int


_HEX = re.compile(r"[0-9a-fA-F]{64}")


def fernet_key(rule: Rule | None, variable: str, value: str) -> str:
    """Return the key as 44 characters; KeyturnError names the variable whose value is none. Without a rule the value is the key."""
    return value if rule is None else RULES[rule["rule"]](rule, variable, value)


def fernet_keys(rule: Rule | None, variable: str, value: str, separator: str | None) -> list[str]:
    """Return the keys of a value, of which the first one encrypts: several only where the application reads a list (``separator``)."""
    parts = [value] if separator is None else [part.strip() for part in value.split(separator)]
    return [fernet_key(rule, variable, part) for part in parts]


def _hex(rule: Rule, variable: str, value: str) -> str:
    if not _HEX.fullmatch(value):
        raise KeyturnError(
            f"{variable} is no key: the catalogue wants 64 hexadecimal digits, it has {len(value)} characters"
        )
    return _written(bytes.fromhex(value))


def _sha256(rule: Rule, variable: str, value: str) -> str:
    return _written(hashlib.sha256(value.encode()).digest())


def _pbkdf2(rule: Rule, variable: str, value: str) -> str:
    return _stretched(value, str(rule["salt"]), int(rule["iterations"]))


@cache
def _stretched(value: str, salt: str, iterations: int) -> str:
    # it is slow on purpose, and asked for each database that is opened
    return _written(hashlib.pbkdf2_hmac("sha256", value.encode(), salt.encode(), iterations))


def _written(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode()


RULES: dict[str, Callable[[Rule, str, str], str]] = {
    "hex": _hex,
    "pbkdf2_sha256": _pbkdf2,
    "sha256": _sha256,
}
