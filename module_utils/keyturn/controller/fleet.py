"""The action ``keyturn_fleet``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..taking_part import who_goes_on

# what the action reads of each host
READS = ("rotation_looked",)
ARGUMENTS: dict[str, Any] = {
    "value": {"type": "str", "required": True, "choices": ["per_host", "shared"]},
    "hosts": {"type": "dict", "required": True},
    "excluded": {"type": "dict", "default": {}},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the hosts that take part."""
    hosts = given["hosts"]
    lost = [name for name, said in hosts.items() if said.get("rotation_looked", {}).get("unreachable")]
    return {"changed": False, "hosts": who_goes_on(given["value"], list(hosts), given["excluded"], lost)}
