"""The action ``keyturn_incident``: the document is the one thing that all that concerns an incident works on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from .. import incident
from ..base import durable, moments, seal
from ..base.errors import KeyturnError
from ..incident import plan, runs
from ..inputs import persons, request
from ..inputs.validation import Answer, Parameters, validated
from ..notices import outbox

Result = Answer
LOOK_BACK = timedelta(days=7)
KINDS = {"migration": {"kind": str}, "retire": {"kind": str}}
SHAPE = {
    "held": {"*": (None, {"*": {"used": bool}})},
    "order": {"*": str},
    "ticks": {"*": str},
    "secrets": {"*": KINDS},
}


def run(given: Parameters, check_mode: bool) -> Result:
    """Do what ``action`` says."""
    return ACTIONS[given["action"]](given, datetime.now(UTC), check_mode)


def _open(given: Parameters, now: datetime, dry: bool) -> Result:
    header, steps = _decided(given, now)
    missing = "; ".join(_missing(given))
    if missing and not dry:
        raise KeyturnError(missing)
    folder = incident.folder_of(Path(given["folder"]), header["id"])
    if not dry:
        incident.make_folder(folder)
    with contextlib.nullcontext() if dry else runs.alone(folder):
        document = _document(folder, header, steps, given["checklists"], now)
        if not dry:
            incident.write(folder, document)
    text = plan.text(document, given["order"], document["steps"])
    return {
        "changed": True,
        "text": text,
        "missing": missing,
        "incident": document,
        "steps": [] if dry else [step["name"] for step in document["steps"]],
    }


def _missing(given: Parameters) -> Iterator[str]:
    """Say what keeps a run from beginning, and not a person from seeing the plan."""
    checks: list[Callable[[], object]] = [lambda: plan.check_id(given["id"])]
    checks.append(lambda: runs.check_asks_nobody(given["options"]))
    checks += [] if given["without_evidence"] else [lambda: seal.check(given["recipient"])]
    for check in checks:
        try:
            check()
        except KeyturnError as error:
            yield str(error)


def _document(
    folder: Path, header: dict[str, Any], steps: list[dict[str, Any]], checklists: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    if not (folder / incident.JSON).exists():
        return incident.begin(header, steps, checklists, now)
    document = incident.read(folder)
    incident.check_same(document, header)
    incident.widen(document, steps)
    document["affected"] += [name for name in header["affected"] if name not in document["affected"]]
    return document


def _decided(given: Parameters, now: datetime) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if not given["table"]:
        raise KeyturnError("incident.yml: no table: say what is done when something has leaked; nothing was changed")
    # what a check shows of an incident that has no id yet
    identity = given["id"] if request.INCIDENT_ID.fullmatch(given["id"]) else "without an id"
    table = {name: validated(f"keyturn_incident_table.{name}", plan.ROW, row) for name, row in given["table"].items()}
    plan.check_table(table, given["order"], given["secrets"])
    if given["leaked"] not in table:
        raise KeyturnError(
            f"keyturn_incident_leaked must say what has leaked, one of {', '.join(table)}; nothing was changed"
        )
    if given["drill"] and given["environment"] == "production":
        raise KeyturnError("a drill rotates for real, and not in production: run it in staging; nothing was changed")
    row = table[given["leaked"]]
    since = moments.text(moments.parse(given["since"]) if given["since"] else now - LOOK_BACK)
    names = ("leaked", "drill", "environment", "without_evidence", "material")
    header = {name: given[name] for name in names} | {
        "id": identity,
        "title": row["title"],
        "by_hand": row["by_hand"],
        "since": since,
        "operator": given["operator"] or request.operator(os.environ),
        "login": persons.login(os.environ),
        "affected": plan.affected(row, given["affected"], given["order"], given["secrets"]),
    }
    used = {name for told in given["held"].values() for name, said in told.items() if said["used"]}
    # a host that gave no answer may hold all of them
    unused = set(given["secrets"]) - used if given["held"] and all(given["held"].values()) else set()
    return header, plan.steps(row, given["affected"], given["order"], given["secrets"], given["rotation_open"], unused)


def _report(given: Parameters, now: datetime, dry: bool) -> Result:
    reports = Path(given["folder"])
    folder = incident.folder_of(reports, given["id"])
    with runs.alone(folder):
        document = incident.read(folder)
        document["evidence"] = _evidence(folder, document, given["hosts"])
        incident.mark_dead(document)
        told = outbox.sent(reports, f"incident_opened-{given['id']}", "security")
        incident.tick_by_evidence(document, given["ticks"], "; ".join(told), now)
        incident.write(folder, document)
    steps = [
        f"{step['name']}: {step['evidence']}"
        for step in document["steps"]
        if step["state"] not in incident.DONE and (step["tier"] == "affected" or step["state"] != "waiting")
    ]
    text = f"{incident.table([document], now)}\ndocument    {folder / incident.MARKDOWN}"
    return {"changed": True, "text": text, "open_steps": steps, "incident": document}


def _evidence(folder: Path, document: Mapping[str, Any], hosts: list[str]) -> list[dict[str, Any]]:
    if document["without_evidence"]:
        return []
    notes = [
        durable.read_json(path, incident.NOTE) or {} for path in sorted((folder / incident.EVIDENCE).glob("*.json"))
    ]
    later = {(note["host"], member["name"].split("/")[0]) for note in notes for member in note["members"]}
    for note in notes:
        note["missing"] = {
            source: why for source, why in note["missing"].items() if (note["host"], source) not in later
        }
    silent = sorted(set(hosts) - {note["host"] for note in notes})
    return notes + [
        {"host": host, "members": [], "missing": {"everything": "the host gave no answer"}} for host in silent
    ]


def _tick(given: Parameters, now: datetime, dry: bool) -> Result:
    folder = incident.folder_of(Path(given["folder"]), plan.check_id(given["id"]))
    incident.read(folder)
    with contextlib.nullcontext() if dry else runs.alone(folder):
        document = incident.read(folder)
        by = given["operator"] or request.operator(os.environ)
        incident.tick(document, given["point"], by, persons.login(os.environ), given["note"], now)
        if not dry:
            incident.write(folder, document)
    return {"changed": True, "text": incident.table([document], now)}


def _status(given: Parameters, now: datetime, dry: bool) -> Result:
    reports = Path(given["folder"])
    documents = [incident.read(incident.folder_of(reports, given["id"]))] if given["id"] else incident.read_all(reports)
    late = [f"{one.incident}: {one.point} was due {moments.text(one.due)}" for one in incident.late(documents, now)]
    return {"changed": False, "text": incident.table(documents, now), "late": late}


ACTIONS: dict[str, Callable[[Mapping[str, Any], datetime, bool], Result]] = {
    "open": _open,
    "report": _report,
    "status": _status,
    "tick": _tick,
}
