"""SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL has it: what a server keeps of a password, and the client's side of a login.

The password itself is never sent, and who does not know what belongs to it cannot pretend to be the server.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import NamedTuple

ITERATIONS = 4096
SALT_BYTES = 16
# what a server may ask of this client, which cannot know whether it is the right one: fewer (RFC 7677) would make the proof easy to guess
LEAST_ITERATIONS = 4096
MOST_ITERATIONS = 1_000_000
NO_CHANNEL_BINDING = "n,,"


class Unfit(Exception):
    """What the server has said is no part of the exchange, or not of a server that knows the password."""


class Keys(NamedTuple):
    """What is computed of a password and a salt: the key of the client, and that of the server."""

    client: bytes
    server: bytes

    @property
    def stored(self) -> bytes:
        """What a server compares with."""
        return hashlib.sha256(self.client).digest()


def plain(password: str) -> bool:
    """Tell whether a password is what SASLprep (RFC 4013) leaves as it is, whatever implements it: printable ASCII."""
    return bool(password) and password.isascii() and password.isprintable()


def keys(password: str, salt: bytes, iterations: int) -> Keys:
    """Return the keys of a password."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    return Keys(_sign(salted, b"Client Key"), _sign(salted, b"Server Key"))


def verifier(password: str) -> str:
    """Return what PostgreSQL keeps in ``pg_authid`` of a password; given in its place, no server sees the password."""
    salt = secrets.token_bytes(SALT_BYTES)
    made = keys(password, salt, ITERATIONS)
    return f"SCRAM-SHA-256${ITERATIONS}:{_text(salt)}${_text(made.stored)}:{_text(made.server)}"


class Exchange:
    """A login by a password: three messages of ours, two of the server's."""

    def __init__(self, password: str) -> None:
        self._password = password
        self._nonce = secrets.token_urlsafe(18)
        # PostgreSQL knows the user by the message before
        self._bare = f"n=,r={self._nonce}"
        self._server_signature = b""

    def first(self) -> bytes:
        """Return the first message."""
        return (NO_CHANNEL_BINDING + self._bare).encode()

    def final(self, challenge: bytes) -> bytes:
        """Return the answer to the server's first message."""
        said = _fields(challenge)
        try:
            nonce, salt, iterations = said["r"], base64.b64decode(said["s"], validate=True), int(said["i"])
        except (KeyError, ValueError, binascii.Error):
            raise Unfit from None
        fits = LEAST_ITERATIONS <= iterations <= MOST_ITERATIONS
        if not fits or not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise Unfit
        without_proof = f"c={_text(NO_CHANNEL_BINDING.encode())},r={nonce}"
        signed = b",".join((self._bare.encode(), challenge, without_proof.encode()))
        made = keys(self._password, salt, iterations)
        signature = _sign(made.stored, signed)
        self._server_signature = _sign(made.server, signed)
        proof = bytes(one ^ other for one, other in zip(made.client, signature, strict=True))
        return f"{without_proof},p={_text(proof)}".encode()

    def check(self, outcome: bytes) -> None:
        """See that the server knows what belongs to the password."""
        if not hmac.compare_digest(_fields(outcome).get("v", "").encode(), _text(self._server_signature).encode()):
            raise Unfit


def _fields(message: bytes) -> dict[str, str]:
    try:
        parts = [part.partition("=") for part in message.decode("ascii").split(",")]
    except UnicodeDecodeError:
        raise Unfit from None
    return {name: value for name, _, value in parts}


def _sign(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
