"""The action ``keyturn_fleet``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import staging_gate
from ..taking_part import who_goes_on

# what the action reads of each host
READS = ("rotation_looked",)
ARGUMENTS: dict[str, Any] = {
    "plan": {"type": "dict", "required": True},
    "hosts": {"type": "dict", "default": {}},
    "excluded": {"type": "dict", "default": {}},
    "staging": {"type": "str", "default": ""},
    "max_age_days": {"type": "int", "default": 7},
    "folder": {"type": "path", "required": True},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the hosts that take part, and the rotation on staging that lets this one pass where there has to be one."""
    plan, staging = given["plan"], given["staging"]
    looked = {name: said.get("rotation_looked", {}) for name, said in given["hosts"].items()}
    lost = [name for name, said in looked.items() if said.get("unreachable")]
    hosts = who_goes_on(plan["value"], list(looked), given["excluded"], lost)
    passed = ""
    begun = any(said.get("rotation") for said in looked.values())  # one that has begun goes on
    if staging and not begun and "staging" not in plan["overrides"]:
        reports = staging_gate.read_reports(Path(given["folder"]) / staging)
        passed = staging_gate.check(reports, staging, plan, given["max_age_days"])
    return {"changed": False, "hosts": hosts, "passed": passed}
