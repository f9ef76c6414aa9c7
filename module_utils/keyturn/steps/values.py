"""The action ``keyturn_values``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.generate import GENERATORS
from ..fleet import answers
from ..fleet.recovery import needs_value

SHAPE = {"hosts": {"*": answers.LOOKED}}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the values."""
    if not needs_value(given["rotation_id"], given["hosts"]):
        return {"changed": False, "needed": False}
    kind = given["generator"]
    if kind is None or check_mode:
        return {"changed": kind is not None, "needed": True}
    generator = GENERATORS[kind]
    return {"changed": True, "needed": True, "new_values": {name: generator() for name in given["variables"]}}
