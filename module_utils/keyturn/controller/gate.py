"""The action ``keyturn_gate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import staging_gate

ARGUMENTS: dict[str, Any] = {
    "plan": {"type": "dict", "required": True},
    "staging": {"type": "str", "required": True},
    "max_age_days": {"type": "int", "default": 7},
    "folder": {"type": "path", "required": True},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Let the rotation pass, or refuse it."""
    reports = staging_gate.read_reports(Path(given["folder"]) / given["staging"])
    passed = staging_gate.check(reports, given["staging"], given["plan"], given["max_age_days"])
    return {"changed": False, "rotation_id": passed}
