"""How the application keeps a bank's access token on disk: Fernet, then base64 once more."""

from __future__ import annotations

import base64
import binascii
import logging
import os

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

logger = logging.getLogger("src.security.token_encryption")


class TokenEncryption:
    """Writes the two-layer form and reads it, with the application's forgiving fallbacks.

    ``key`` None means DATABASE_ENCRYPTION_KEY of the process environment, read at each construction.
    """

    def __init__(self, key: str | None = None) -> None:
        key = key or os.environ.get("DATABASE_ENCRYPTION_KEY")
        if not key:
            raise RuntimeError("Token encryption is REQUIRED. Set DATABASE_ENCRYPTION_KEY.")
        # Today's application reads one key. TRADER_AI_KEY_SEPARATOR makes it one that reads a list, as Airflow and JupyterHub do.
        separator = os.environ.get("TRADER_AI_KEY_SEPARATOR")
        self._fernet = MultiFernet([Fernet(one.encode()) for one in (key.split(separator) if separator else [key])])

    def encrypt(self, token: str) -> str:
        """Return the two-layer form of a token, padding kept."""
        return base64.urlsafe_b64encode(self._fernet.encrypt(token.encode())).decode()

    def decrypt(self, stored: str) -> str:
        """Return the token of a stored value; what cannot be read comes back as it is, without an error."""
        if not stored:
            return stored
        if stored.startswith("access-"):
            logger.warning("Token appears to be plaintext, returning as-is")
            return stored
        try:
            return self._open(stored)
        except InvalidToken as error:
            logger.error("Invalid token or wrong decryption key: %s", error)
            # The real application's trap, kept on purpose: a wrong key raises nothing.
            logger.warning("Returning encrypted token (decryption failed)")
            return stored

    def _open(self, stored: str) -> str:
        # A Fernet token starts with "gAAAAA". Today's application cannot read this one layer; older
        # databases hold such rows, and a demo that could not use them would be failing before any
        # rotation. TRADER_AI_ONE_LAYER=refuse gives today's behaviour.
        if stored.startswith("gAAAAA") and os.environ.get("TRADER_AI_ONE_LAYER") != "refuse":
            return self._fernet.decrypt(stored.encode()).decode()
        try:
            inner = base64.urlsafe_b64decode(stored.encode())
        except (binascii.Error, ValueError):
            raise InvalidToken from None
        return self._fernet.decrypt(inner).decode()
