"""The status as CSV: what needs somebody, the state of each secret and its life, a row each."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping

from ..base.shown import harmless
from . import lives
from .shapes import Event, Status, StatusLine

# what a spreadsheet takes for the beginning of a formula, in both widths, also behind what it may take for the end of a cell: which sign
# that is, its country says. A tab or a line's end is spelled out before
FORMULA = re.compile("(?:^|(?<=[;|]))(?=\\s*[=+@\uff1d\uff0b\uff0d\uff20-])")


def render(status: Status) -> str:
    """Return the status, with its ``attention`` and ``events``, as CSV (RFC 4180)."""
    written = io.StringIO()
    rows = csv.writer(written)
    rows.writerow(lives.COLUMNS)
    calls = [
        lives.event("attention", "", status["at"], one["state"], detail=one["text"]) for one in status["attention"]
    ]
    for one in [*calls, *_secrets(status), *status["events"]]:
        known: Mapping[str, object] = one
        rows.writerow(cell(known[name]) for name in lives.COLUMNS)
    return written.getvalue()


def _secrets(status: Status) -> list[Event]:
    return [
        lives.event("secret", name, line["last_rotated"], line["state"], detail=age(line))
        for name, line in status["secrets"].items()
    ]


def age(line: StatusLine) -> str:
    """Return the age of a secret against its limit, in words."""
    if line["unused"]:
        return "not used here"
    known = "never rotated" if line["age_days"] is None else f"{line['age_days']} days"
    limit = line["max_age_days"]
    return f"{known}, limit {limit} days" if limit else f"{known}, rotated on events only"


def cell(value: object) -> str:
    """Return a value as one cell, which no spreadsheet takes for a formula: text is of hosts and people."""
    text = "" if value is None else harmless(str(value))
    return FORMULA.sub("'", text)
