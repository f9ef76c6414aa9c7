"""The action ``keyturn_agree``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import agreement, isolation
from ..taking_part import who_goes_on

# what the action reads of each host
READS = ("rotation_staged", "rotation_examined")
ARGUMENTS: dict[str, Any] = {
    "value": {"type": "str", "required": True, "choices": ["per_host", "shared"]},
    "hosts": {"type": "dict", "default": {}},
    "excluded": {"type": "dict", "default": {}},
    "adopted": {"type": "str", "default": ""},
    "environment": {"type": "str", "required": True},
    "reports": {"type": "path", "required": True},
    "may_stay": {"type": "list", "elements": "str", "default": []},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Compare the hosts that have answered."""
    answers = {name: _answer(said) for name, said in given["hosts"].items()}
    lost = [name for name, said in answers.items() if said.get("unreachable")]
    going_on = who_goes_on(given["value"], list(answers), given["excluded"], lost)
    hosts = {
        name: {"place": answers[name]["place"], "clock_offset": float(answers[name]["clock_offset"])}
        | {side: answers[name]["rotation"].get(side) for side in ("old", "new")}
        for name in going_on
        if "rotation" in answers[name]
    }
    if hosts:
        agreement.check(given["value"], hosts, given["adopted"])
    isolation.check(isolation.held_elsewhere(Path(given["reports"]), given["environment"]), hosts, given["may_stay"])
    return {"changed": False, "hosts": going_on}


def _answer(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a host answered last: it is only examined where it stages nothing."""
    for name in READS:
        if said.get(name, {}).get("unreachable") or "rotation" in said.get(name, {}):
            return dict(said[name])
    return {}
