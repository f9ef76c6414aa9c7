"""The action ``keyturn_report``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import report as reporting
from .. import rotation_log

ARGUMENTS: dict[str, Any] = {
    "folder": {"type": "path", "required": True},
    "plan": {"type": "dict", "required": True},
    "hosts": {"type": "dict", "required": True},
    "excluded": {"type": "dict", "default": {}},
    "failure": {"type": "str", "default": ""},
    "ended": {"type": "bool", "required": True},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Write the report; at the end also the log."""
    document = reporting.build(given["plan"], given["hosts"], given["failure"], given["ended"], given["excluded"])
    folder = Path(given["folder"]) / document["environment"]
    path = folder / f"{document['rotation_id']}.json"
    stands = reporting.final(path, document)
    document = stands or document
    if not check_mode:
        if not stands:
            reporting.write(folder, document)
        if document["outcome"] != "interrupted":
            rotation_log.append(folder, rotation_log.record(document))
    return {
        "changed": not stands,
        "outcome": document["outcome"],
        "path": str(path),
        "failure": document["failure"] or "",
        "finished": document["finished"],
        "over_budget": reporting.over_budget(document),
        "text": reporting.text(document, path),
    }
