"""The action ``keyturn_report``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import attempts, audit, catalogue, checklist, rotation_log
from .. import report as reporting
from ..ansible_module import validated

ARGUMENTS: dict[str, Any] = {
    "folder": {"type": "path", "required": True},
    "plan": {"type": "dict", "required": True},
    "hosts": {"type": "dict", "required": True},
    "excluded": {"type": "dict", "default": {}},
    "failure": {"type": "str", "default": ""},
    "ended": {"type": "bool", "required": True},
    "entry": {"type": "dict", "required": True},
    "checklist": {"type": "list", "elements": "dict", "required": True},
    "link": {"type": "str", "default": ""},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Write the log, then the report, which keeps the log's head. A report that tells an end stands, and is not logged again."""
    document = reporting.build(given["plan"], given["hosts"], given["failure"], given["ended"], given["excluded"])
    folder = Path(given["folder"]) / document["environment"]
    path = folder / f"{document['rotation_id']}.json"
    stands = reporting.final(path, document)
    if not stands and not check_mode:
        document |= _logged(folder, document, given)
        reporting.write(folder, document)
    document = stands or document
    return {
        "changed": not stands,
        "outcome": document["outcome"],
        "path": str(path),
        "failure": document["failure"] or "",
        "finished": document["finished"],
        "over_budget": reporting.over_budget(document),
        "text": reporting.text(document, path) if given["ended"] else "",
        # people are told once: not again of a report that stands
        "events": [] if stands else reporting.events(document, given["plan"]["sessions"]),
        "facts": reporting.facts(document, reporting.link(given["link"], path)),
    }


def _logged(folder: Path, document: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Log the begin or the end of this attempt, and return what the report tells of the log."""
    plan = given["plan"]
    if not given["ended"]:
        return {"log_head": rotation_log.head([rotation_log.begin(folder, rotation_log.started(plan), attempts.alive)])}
    last = rotation_log.append(folder, rotation_log.record(document, plan["attempt"]))
    found: dict[str, Any] = {"log_head": rotation_log.head([last])}
    if document["outcome"] in rotation_log.COMMITTED:
        entry = validated(f"keyturn_secrets.{document['secret']}", catalogue.ENTRY, given["entry"])
        case = audit.case_of(folder, document, entry, rotation_log.read(folder))
        found["checklist"] = checklist.points(given["checklist"], case)
    return found
