"""The action ``keyturn_recover``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import recovery, report

ARGUMENTS: dict[str, Any] = {
    "wish": {"type": "str", "required": True, "choices": ["forward", "back"]},
    "hosts": {"type": "dict", "required": True},
    "secrets": {"type": "dict", "required": True},
    "reports": {"type": "path", "required": True},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Choose."""
    unreported = report.unreported(Path(given["reports"]))
    return {"changed": False} | recovery.choose(given["wish"], given["hosts"], given["secrets"], unreported)
