"""The action ``keyturn_supply``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import catalogue
from .. import supply as supplying
from ..ansible_module import validated

ARGUMENTS: dict[str, Any] = {
    "entry": {"type": "dict", "required": True},
    "overrides": {"type": "dict", "default": {}},
    # not no_log here, which would mask the result: the task's no_log hides both
    "brought": {"type": "dict", "required": True},
    "stored": {"type": "dict", "default": {}},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Check the value."""
    brought = given["brought"]
    if not any(brought.values()):
        brought = brought | {"values": given["stored"]}
    if check_mode and not any(brought.values()):
        return {"changed": True}
    entry = validated("the catalogue entry", catalogue.ENTRY, given["entry"])
    values = supplying.check(entry["variables"], entry["source"], brought)
    reply = supplying.ask(entry, given["overrides"], values)
    return {"changed": True, "new_values": values, "provider": reply._asdict()}
