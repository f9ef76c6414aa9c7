"""Times as reports write them: ISO 8601 in UTC, to the second."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from .errors import KeyturnError

FORM = "%Y-%m-%dT%H:%M:%SZ"
# days that there are, of years with which one can reckon
_LEAP = r"(?:[12]\d(?:0[48]|[2468][048]|[13579][26])|(?:1[26]|2[048])00)"
_DAY = (
    r"(?:[12]\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
    rf"|{_LEAP}-02-29)"
)
SHAPE = re.compile(rf"{_DAY}T(?:[01]\d|2[0-3])(?::[0-5]\d){{2}}Z", re.ASCII)
# what a rotation is known by, everywhere: its moment, which sorts, then what makes it one of its own; it becomes a folder's name
ROTATION_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[A-Za-z0-9-]{15,47}")


def text(moment: datetime) -> str:
    """Return the moment as text."""
    return moment.astimezone(UTC).strftime(FORM)


def of_id(rotation_id: str) -> str:
    """Return the moment with which the id of a rotation begins."""
    parts = (rotation_id[begin:end] for begin, end in ((0, 4), (4, 6), (6, 11), (11, 13), (13, 16)))
    return "{}-{}-{}:{}:{}".format(*parts)


def parse(said: str) -> datetime:
    """Return the moment that ``text`` has written; KeyturnError for anything else."""
    try:
        return datetime.strptime(said, FORM).replace(tzinfo=UTC)
    except ValueError:
        raise KeyturnError(f"a moment looks like 2026-01-31T23:59:59Z, and {said!r} does not") from None
