"""The action ``keyturn_incident``: the document is the one thing that all that concerns an incident works on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from .. import incident
from ..base import durable, seal, timestamps
from ..base.errors import KeyturnError
from ..incident import plan, runs
from ..incident.shapes import Document, Header, Note, Planned, Row, Step
from ..inputs import persons, request
from ..inputs.validation import Answer, Parameters, validated
from ..notices import outbox
from ..records import rotation_log

Result = Answer
LOOK_BACK = timedelta(days=7)
KINDS = {"migration": {"kind": str}, "retire": {"kind": str}}
SHAPE = {
    "held": {"*": (None, {"*": {"used": bool}})},
    "order": {"*": str},
    "ticks": {"*": str},
    "secrets": {"*": KINDS},
}


def run(parameters: Parameters, check_mode: bool) -> Result:
    """Do what ``action`` says."""
    return ACTIONS[parameters["action"]](parameters, datetime.now(UTC), check_mode)


def _open(parameters: Parameters, now: datetime, dry: bool) -> Result:
    header, steps = _decided(parameters, now)
    missing = "; ".join(_missing(parameters))
    if missing and not dry:
        raise KeyturnError(missing)
    folder = incident.folder_of(Path(parameters["folder"]), header["id"])
    if not dry:
        incident.make_folder(folder)
    with contextlib.nullcontext() if dry else runs.alone(folder):
        document = _document(folder, header, steps, parameters["checklists"], now)
        if not dry:
            incident.write(folder, document)
    text = plan.text(document, parameters["order"], document["steps"])
    text += "\n(check mode: nothing changes)" if dry else ""
    return {
        "changed": True,
        "text": text,
        "missing": missing,
        "incident": document,
        "steps": [] if dry else [step["name"] for step in document["steps"]],
    }


def _missing(parameters: Parameters) -> Iterator[str]:
    """Say what keeps a run from beginning, and not a person from seeing the plan."""
    checks: list[Callable[[], object]] = [lambda: plan.check_id(parameters["id"])]
    checks.append(lambda: runs.check_asks_nobody(parameters["options"]))
    checks += [] if parameters["without_evidence"] else [lambda: seal.check(parameters["recipient"])]
    for check in checks:
        try:
            check()
        except KeyturnError as error:
            yield str(error)


def _document(
    folder: Path, header: Header, steps: list[Step], checklists: Mapping[str, Planned], now: datetime
) -> Document:
    if not (folder / incident.JSON).exists():
        return incident.begin(header, steps, checklists, now)
    document = incident.read(folder)
    incident.check_same(document, header)
    incident.widen(document, steps)
    document["affected"] += [name for name in header["affected"] if name not in document["affected"]]
    return document


def _decided(parameters: Parameters, now: datetime) -> tuple[Header, list[Step]]:
    if not parameters["table"]:
        raise KeyturnError("incident.yml: no table: say what is done when something has leaked; nothing was changed")
    # what a check shows of an incident that has no id yet
    identity = parameters["id"] if request.INCIDENT_ID.fullmatch(parameters["id"]) else "without an id"
    table = {
        name: cast("Row", validated(f"keyturn_incident_table.{name}", plan.ROW, row))
        for name, row in parameters["table"].items()
    }
    plan.check_table(table, parameters["order"], parameters["secrets"])
    if parameters["leaked"] not in table:
        raise KeyturnError(
            f"keyturn_incident_leaked must say what has leaked, one of {', '.join(table)}; nothing was changed"
        )
    if parameters["drill"] and parameters["environment"] == "production":
        raise KeyturnError("a drill rotates for real, and not in production: run it in staging; nothing was changed")
    row = table[parameters["leaked"]]
    since = timestamps.text(timestamps.parse(parameters["since"]) if parameters["since"] else now - LOOK_BACK)
    header: Header = {
        "id": identity,
        "leaked": parameters["leaked"],
        "drill": parameters["drill"],
        "environment": parameters["environment"],
        "without_evidence": parameters["without_evidence"],
        "material": parameters["material"],
        "title": row["title"],
        "by_hand": row["by_hand"],
        "since": since,
        "operator": parameters["operator"] or request.operator(os.environ),
        "login": persons.login(os.environ),
        "affected": plan.affected(row, parameters["affected"], parameters["order"], parameters["secrets"]),
    }
    used = {name for told in parameters["held"].values() for name, said in told.items() if said["used"]}
    # a host that gave no answer may hold all of them
    unused = set(parameters["secrets"]) - used if parameters["held"] and all(parameters["held"].values()) else set()
    # nor does the incident leave out what was turned here, since it may be about the very host that says so
    unused -= {
        one["secret"]
        for one in rotation_log.read(Path(parameters["folder"]))
        if one.get("outcome") in rotation_log.COMMITTED
    }
    return header, plan.steps(
        row, parameters["affected"], parameters["order"], parameters["secrets"], parameters["rotation_open"], unused
    )


def _report(parameters: Parameters, now: datetime, dry: bool) -> Result:
    reports = Path(parameters["folder"])
    folder = incident.folder_of(reports, parameters["id"])
    with runs.alone(folder):
        document = incident.read(folder)
        document["evidence"] = _evidence(folder, document, parameters["hosts"])
        incident.mark_dead(document)
        told = outbox.sent(reports, f"incident_opened-{parameters['id']}", "security")
        incident.tick_by_evidence(document, parameters["ticks"], "; ".join(told), now)
        incident.write(folder, document)
    steps = [
        f"{step['name']}: {step['evidence']}"
        for step in document["steps"]
        if step["state"] not in incident.DONE and (step["tier"] == "affected" or step["state"] != "waiting")
    ]
    text = f"{incident.table([document], now)}\ndocument    {folder / incident.MARKDOWN}"
    return {"changed": True, "text": text, "open_steps": steps, "incident": document}


def _evidence(folder: Path, document: Document, hosts: list[str]) -> list[Note]:
    if document["without_evidence"]:
        return []
    notes: list[Note] = [
        durable.read_json(path, incident.NOTE) for path in sorted((folder / incident.EVIDENCE).glob("*.json"))
    ]
    later = {(note["host"], member["name"].split("/")[0]) for note in notes for member in note["members"]}
    for note in notes:
        note["missing"] = {
            source: why for source, why in note["missing"].items() if (note["host"], source) not in later
        }
    silent = sorted(set(hosts) - {note["host"] for note in notes})
    notes += [{"host": host, "members": [], "missing": {"everything": "the host gave no answer"}} for host in silent]
    return notes


def _tick(parameters: Parameters, now: datetime, dry: bool) -> Result:
    folder = incident.folder_of(Path(parameters["folder"]), plan.check_id(parameters["id"]))
    incident.read(folder)
    with contextlib.nullcontext() if dry else runs.alone(folder):
        document = incident.read(folder)
        by = parameters["operator"] or request.operator(os.environ)
        incident.tick(document, parameters["point"], by, persons.login(os.environ), parameters["note"], now)
        if not dry:
            incident.write(folder, document)
    return {"changed": True, "text": incident.table([document], now)}


def _status(parameters: Parameters, now: datetime, dry: bool) -> Result:
    reports = Path(parameters["folder"])
    documents = (
        [incident.read(incident.folder_of(reports, parameters["id"]))]
        if parameters["id"]
        else incident.read_all(reports)
    )
    late = [f"{one.incident}: {one.point} was due {timestamps.text(one.due)}" for one in incident.late(documents, now)]
    return {"changed": False, "text": incident.table(documents, now), "late": late}


ACTIONS: dict[str, Callable[[Parameters, datetime, bool], Result]] = {
    "open": _open,
    "report": _report,
    "status": _status,
    "tick": _tick,
}
