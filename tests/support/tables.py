"""Tables of the documentation that tests walk."""

from __future__ import annotations

import re
from typing import NamedTuple

from support.lab import ROOT


class Setting(NamedTuple):
    """A line of docs/settings.md: names of settings, the verdict, its reason, and what was tried as variables of the environment."""

    names: list[str]
    verdict: str
    why: str
    tried: dict[str, str]


def settings_table() -> list[Setting]:
    """Return the lines of docs/settings.md."""
    rows = [
        line.strip("| \n").split(" | ")
        for line in (ROOT / "docs/settings.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    return [
        Setting(
            row[0].split(", "),
            row[1],
            row[2].removesuffix(" |"),
            dict(re.findall(r"`(\w+)=([^`]+)`", row[3] if len(row) > 3 else "")),
        )
        for row in rows[1:]
    ]
