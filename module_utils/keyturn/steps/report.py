"""The action ``keyturn_report``."""

from __future__ import annotations

from pathlib import Path

from ..fleet import answers, attempts
from ..host.journal import utc_now
from ..inputs import catalogue
from ..inputs.validation import Answer, Parameters, validated
from ..records import audit, checklist, report_text, rotation_log
from ..records import report as reporting
from ..records.shapes import Report

SHAPE = {"plan": answers.PLAN, "hosts": {"*": answers.JOURNAL}, "checklist": answers.POINTS}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Write the log, then the report, which keeps the log's head. A report that tells an end stands, and is not logged again."""
    plan = parameters["plan"]
    folder = Path(parameters["folder"]) / plan["environment"]
    path = folder / f"{plan['rotation_id']}.json"
    before = reporting.read(path)
    # what opened the way to an earlier attempt stays written down
    plan["overrides"] = before.get("overrides", {}) | plan.get("overrides", {})
    document = reporting.build(
        plan, parameters["hosts"], parameters["failure"], parameters["ended"], parameters["excluded"], before
    )
    stands = reporting.final(path, document)
    if not stands and not check_mode:
        document |= _logged(folder, document, parameters)
        reporting.write(folder, document)
    document = stands or document
    ending = reporting.ending(document, parameters["wish"], parameters["failure"])
    return {
        "changed": not stands,
        "outcome": document["outcome"],
        "path": str(path),
        "failure": document["failure"] or "",
        "ended_at": document["finished"],
        "log_head": {} if stands else document.get("log_head", {}),
        "ending": ending,
        "text": _text(document, path, ending if stands else None, parameters["by_key"]) if parameters["ended"] else "",
        "stats": report_text.stats(document),
        # people are told once: not again of a report that stands
        "events": [] if stands else report_text.events(document, parameters["plan"]["sessions"]),
        "facts": report_text.facts(document, report_text.link(parameters["link"], path)),
    }


def _text(document: Report, path: Path, over: str | None, by_key: bool) -> str:
    """Return the summary, or of a report that stands only why this run fails (``over``)."""
    return report_text.text(document, path, by_key) if over is None else report_text.over(document, path, over)


def _logged(folder: Path, document: Report, parameters: Parameters) -> Report:
    """Log the begin or the end of this attempt, and return what the report tells of the log."""
    plan = parameters["plan"]
    if not parameters["ended"]:
        if not rotation_log.read(folder):
            rotation_log.append(folder, rotation_log.setup(document["environment"], utc_now()))
        return {"log_head": rotation_log.head([rotation_log.begin(folder, rotation_log.started(plan), attempts.alive)])}
    last = rotation_log.append(folder, rotation_log.record(document, plan["attempt"]))
    found: Report = {"log_head": rotation_log.head([last])}
    if document["outcome"] in rotation_log.COMMITTED:
        entry = validated(f"keyturn_secrets.{document['secret']}", catalogue.ENTRY, parameters["entry"])
        case = audit.case_of(folder, document, entry, rotation_log.read(folder))
        found["checklist"] = checklist.points(parameters["checklist"], case)
    return found
