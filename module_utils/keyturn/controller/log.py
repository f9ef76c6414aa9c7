"""The action ``keyturn_log``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import audit, report, rotation_log

ARGUMENTS: dict[str, Any] = {
    "folder": {"type": "path", "required": True},
    "head": {"type": "str", "default": ""},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Follow the chain, and ask for each head that a report, or a person, has kept."""
    folder = Path(given["folder"])
    heads = audit.heads(folder, report.documents(folder))
    if given["head"]:
        heads["keyturn_log_head"] = {"hash": given["head"]}
    found = rotation_log.verify(folder, heads)
    last = f"record {found['head']['number']}, {found['head']['hash']}" if found["head"] else "none"
    lines = [
        f"log        {folder / rotation_log.LINES}",
        f"chain      whole: {found['records']} records, {found['sealed']} lines of before the chain",
        f"heads      {len(heads)} are where they were",
        f"log head   {last}",
    ]
    return {"changed": False, "log": found, "text": "\n".join(lines)}
