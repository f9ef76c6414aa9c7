"""New values, by kind of generator. All come from the operating system's random source."""

from __future__ import annotations

import secrets
from collections.abc import Callable


def token_urlsafe() -> str:
    """Return 32 random bytes as 43 characters of URL-safe text."""
    return secrets.token_urlsafe(32)


def fernet() -> str:
    """Return a Fernet key: 32 random bytes as 44 characters of URL-safe base64 (the Fernet specification)."""
    from cryptography.fernet import Fernet  # costs 0.1 s, and the other kinds do not need it

    return Fernet.generate_key().decode()


def password() -> str:
    """Return 48 random bytes as 64 characters of URL-safe text (the policy's general password)."""
    return secrets.token_urlsafe(48)


def hexadecimal() -> str:
    """Return 32 random bytes as 64 hexadecimal digits, as ``openssl rand -hex 32`` does."""
    return secrets.token_hex(32)


GENERATORS: dict[str, Callable[[], str]] = {
    "fernet": fernet,
    "hex": hexadecimal,
    "password": password,
    "token_urlsafe": token_urlsafe,
}
