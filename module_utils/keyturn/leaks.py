"""Values in texts where they do not belong."""

from __future__ import annotations

import base64
import urllib.parse
from collections.abc import Mapping

SMALLEST_VALUE = 8  # a shorter one stands in any text


def names_in(text: str, held: Mapping[str, str]) -> list[str]:
    """Return the names of the values ``held`` that stand in ``text``, also in base64 or quoted for an address."""
    return [
        name
        for name, value in held.items()
        if len(value) >= SMALLEST_VALUE and any(one in text for one in _spellings(value))
    ]


def _spellings(value: str) -> set[str]:
    """The value as it is, in base64 and quoted for an address."""
    return {value, base64.b64encode(value.encode()).decode().rstrip("="), urllib.parse.quote(value, safe="")}
