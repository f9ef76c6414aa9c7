"""The action ``keyturn_revoked``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import rotation_log
from ..journal import utc_now

ARGUMENTS: dict[str, Any] = {
    "secrets": {"type": "dict", "required": True},
    "environment": {"type": "str", "required": True},
    "hosts": {"type": "dict", "required": True},
    "excluded": {"type": "dict", "default": {}},
    "folder": {"type": "path", "required": True},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Append a record for each revocation."""
    found: dict[str, tuple[Mapping[str, Any], list[str]]] = {}
    for host, lines in given["hosts"].items():
        for line in lines:
            if line["state"] == "revoked":
                found.setdefault(line["rotation_id"], (line, []))[1].append(host)
    for _, (line, hosts) in sorted(found.items()):
        entry = {
            "event": "revoked",
            "at": utc_now(),
            **{name: line[name] for name in ("rotation_id", "secret", "reason")},
            "variables": given["secrets"][line["secret"]]["variables"],
            "environment": given["environment"],
            "outcome": "revoked",
            "failure": None,
            "started": line["since"],
            "finished": line["since"],
            "rotated_by": line["operator"],
            "verified_by": f"its provider: {line['evidence']}",
            "hosts": sorted(hosts),
            "excluded": dict(given["excluded"]),
        }
        if not check_mode:
            rotation_log.append(Path(given["folder"]), entry)
    return {"changed": False, "revoked": sorted(found)}
