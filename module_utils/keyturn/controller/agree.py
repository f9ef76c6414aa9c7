"""The action ``keyturn_agree``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import agreement, isolation

ARGUMENTS: dict[str, Any] = {
    "value": {"type": "str", "required": True, "choices": ["per_host", "shared"]},
    "hosts": {"type": "dict", "required": True},
    "adopted": {"type": "str", "default": ""},
    "environment": {"type": "str", "required": True},
    "reports": {"type": "path", "required": True},
    "may_stay": {"type": "list", "elements": "str", "default": []},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Compare the hosts."""
    hosts = {
        name: {"place": said["place"], "clock_offset": float(said["clock_offset"])}
        | {side: said["rotation"].get(side) for side in ("old", "new")}
        for name, said in given["hosts"].items()
    }
    agreement.check(given["value"], hosts, given["adopted"])
    isolation.check(isolation.held_elsewhere(Path(given["reports"]), given["environment"]), hosts, given["may_stay"])
    return {"changed": False, "hosts": sorted(hosts)}
