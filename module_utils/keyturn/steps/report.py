"""The action ``keyturn_report``."""

from __future__ import annotations

from pathlib import Path

from ..fleet import answers, attempts
from ..host.journal import utc_now
from ..inputs import catalogue
from ..inputs.validation import Answer, Parameters, validated
from ..records import audit, checklist, rotation_log
from ..records import report as reporting
from ..records.report import Report

SHAPE = {"plan": answers.PLAN, "hosts": {"*": answers.JOURNAL}, "checklist": answers.POINTS}


def run(given: Parameters, check_mode: bool) -> Answer:
    """Write the log, then the report, which keeps the log's head. A report that tells an end stands, and is not logged again."""
    plan = given["plan"]
    folder = Path(given["folder"]) / plan["environment"]
    path = folder / f"{plan['rotation_id']}.json"
    before = reporting.read(path)
    # what opened the way to an earlier attempt stays written down
    plan["overrides"] = before.get("overrides", {}) | plan.get("overrides", {})
    document = reporting.build(plan, given["hosts"], given["failure"], given["ended"], given["excluded"], before)
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
        "ended_at": document["finished"],
        "log_head": {} if stands else document.get("log_head", {}),
        "ending": reporting.ending(document, given["wish"], given["failure"]),
        "text": reporting.text(document, path) if given["ended"] else "",
        "stats": reporting.stats(document),
        # people are told once: not again of a report that stands
        "events": [] if stands else reporting.events(document, given["plan"]["sessions"]),
        "facts": reporting.facts(document, reporting.link(given["link"], path)),
    }


def _logged(folder: Path, document: Report, given: Parameters) -> Report:
    """Log the begin or the end of this attempt, and return what the report tells of the log."""
    plan = given["plan"]
    if not given["ended"]:
        if not rotation_log.read(folder):
            rotation_log.append(folder, rotation_log.setup(document["environment"], utc_now()))
        return {"log_head": rotation_log.head([rotation_log.begin(folder, rotation_log.started(plan), attempts.alive)])}
    last = rotation_log.append(folder, rotation_log.record(document, plan["attempt"]))
    found: Report = {"log_head": rotation_log.head([last])}
    if document["outcome"] in rotation_log.COMMITTED:
        entry = validated(f"keyturn_secrets.{document['secret']}", catalogue.ENTRY, given["entry"])
        case = audit.case_of(folder, document, entry, rotation_log.read(folder))
        found["checklist"] = checklist.points(given["checklist"], case)
    return found
