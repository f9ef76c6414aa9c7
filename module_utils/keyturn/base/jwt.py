"""Short-lived JSON Web Tokens (RFC 7519) signed with HS256 (RFC 7515), made on a host that has no JWT library."""

from __future__ import annotations

import base64
import hmac
import json
import time

LIFE_SECONDS = 60
SUBJECT = "keyturn-probe"


def mint(secret: str) -> str:
    """Return a token for a probe: valid from now for a minute."""
    now = int(time.time())
    header = {"alg": "HS256", "typ": "JWT"}
    claims = {"sub": SUBJECT, "user_id": SUBJECT, "iat": now, "exp": now + LIFE_SECONDS}
    signed = b".".join(_encode(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    return b".".join([signed, _encode(hmac.digest(secret.encode(), signed, "sha256"))]).decode()


def _encode(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def signed_with(token: str, secret: str) -> bool:
    """Tell whether ``token`` carries an HS256 signature of ``secret``."""
    signed, _, signature = token.encode().rpartition(b".")
    return hmac.compare_digest(_encode(hmac.digest(secret.encode(), signed, "sha256")), signature)
