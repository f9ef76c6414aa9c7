"""The action ``keyturn_checklist``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import audit, checklist, rotation_log
from ..journal import utc_now
from .status import entries

ARGUMENTS: dict[str, Any] = {
    "folder": {"type": "path", "required": True},
    "secrets": {"type": "dict", "required": True},
    "checklist": {"type": "list", "elements": "dict", "required": True},
    "rotation_id": {"type": "str", "required": True},
    "step": {"type": "str", "required": True, "choices": ["close", "sign"]},
    "signer": {"type": "str", "default": ""},
    "points": {"type": "dict", "default": {}},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Sign a rotation's checklist, or close it, with a record in the log."""
    folder, wanted = Path(given["folder"]), given["checklist"]
    case = audit.case(folder, given["rotation_id"], entries(given["secrets"]))
    done = given["step"] == "close" and checklist.closed(case.records, given["rotation_id"])
    if not done:
        entry = STEPS[given["step"]](case, given)
        done = any(entry.items() <= old.items() for old in case.records)
    if not done:
        if not check_mode:
            rotation_log.append(folder, entry | {"at": utc_now()})
        case = case._replace(records=[*case.records, entry])
    lines = checklist.text(checklist.points(wanted, case))
    signer = checklist.signer(case.records, given["rotation_id"])
    state = "closed" if checklist.closed(case.records, given["rotation_id"]) else "unsigned"
    head = f"{case.report['title']} ({given['rotation_id']}): {state}, signed by {signer or 'nobody'}"
    last = rotation_log.head(rotation_log.read(folder))
    return {
        "changed": not done,
        "text": "\n".join([head, *lines, f"log head   record {last['number']}, {last['hash']}"]),
    }


STEPS = {
    "close": lambda case, given: checklist.close(case, given["checklist"]),
    "sign": lambda case, given: checklist.sign(case, given["signer"], given["points"], given["checklist"]),
}
