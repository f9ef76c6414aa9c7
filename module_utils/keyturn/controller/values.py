"""The action ``keyturn_values``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..generate import GENERATORS
from ..recovery import needs_value

ARGUMENTS: dict[str, Any] = {
    "variables": {"type": "list", "elements": "str", "required": True},
    "generator": {"type": "str", "choices": sorted(GENERATORS)},
    "rotation_id": {"type": "str", "required": True},
    "hosts": {"type": "dict", "required": True},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the values."""
    if not needs_value(given["rotation_id"], given["hosts"]):
        return {"changed": False, "needed": False}
    kind = given["generator"]
    if kind is None or check_mode:
        return {"changed": kind is not None, "needed": True}
    generator = GENERATORS[kind]
    return {"changed": True, "needed": True, "new_values": {name: generator() for name in given["variables"]}}
