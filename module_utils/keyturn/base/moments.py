"""Moments as reports write them: ISO 8601 in UTC, to the second."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from .errors import KeyturnError

FORM = "%Y-%m-%dT%H:%M:%SZ"
SHAPE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3])(:[0-5]\d){2}Z", re.ASCII)


def text(moment: datetime) -> str:
    """Return the moment as text."""
    return moment.astimezone(UTC).strftime(FORM)


def parse(said: str) -> datetime:
    """Return the moment that ``text`` has written; KeyturnError for anything else."""
    try:
        return datetime.strptime(said, FORM).replace(tzinfo=UTC)
    except ValueError:
        raise KeyturnError(f"a moment looks like 2026-01-31T23:59:59Z, and {said!r} does not") from None
