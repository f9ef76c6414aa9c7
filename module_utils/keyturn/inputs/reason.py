"""The reason that a person gives for an exception. It stands in the log, and a host may see it."""

from __future__ import annotations

import re

from ..base.errors import KeyturnError

REASON = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:#/-]{0,119}")


def check_reason(reason: str, name: str = "keyturn_reason") -> str:
    """Return the reason; KeyturnError when it cannot stand in one cell of the log."""
    if not REASON.fullmatch(reason):
        raise KeyturnError(f"{name} must be 1 to 120 letters, digits, spaces or . _ : # / -")
    return reason
