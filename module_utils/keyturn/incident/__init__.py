"""The document of an incident: what was decided, what was done, and the policy's checklists with their deadlines.

It is the journal as well: a second run with the same id goes on from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

from ..base import durable, timestamps
from ..base.errors import KeyturnError
from ..base.timestamps import ROTATION_ID
from ..inputs import persons
from . import markdown
from .shapes import Document, Header, Planned, Point, Step

FOLDER, JSON, MARKDOWN, EVIDENCE = "incidents", "incident.json", "incident.md", "evidence"
NEAR = timedelta(hours=1)
DONE = ("done", "skipped")
KINDS = ("resume", "revoke", "rotate", "tokens")
STEP = re.compile(r"[^/\0]{1,200}")
# who it was by the kernel and the environment, beside the name that was typed (``persons.login``)
LOGIN = {"login?": {"*": str}}
POINT = {"id": str, "task": str, "done": (None, dict.fromkeys(("at", "by", "evidence"), str) | LOGIN)}
MEMBER = {"name": str, "bytes": int, "sha256": str}
SAID = {"host": str, "members": [MEMBER], "missing": {"*": str}}
# the archive of a host, or that it gave none
NOTE = ({**SAID, "file": str, "sha256": str, "at": str}, {**SAID, "file?": None})
# what every reader of a document may rest on
SHAPE = {
    **dict.fromkeys(("id", "leaked", "title", "environment", "since", "operator"), str),
    **{key: [str] for key in ("by_hand", "affected")},
    "opened": timestamps.SHAPE,
    **LOGIN,
    "drill": bool,
    "without_evidence": str,
    "steps": [
        dict.fromkeys(("tier", "secret", "condition", "state", "evidence", "at"), str)
        # the names of a log and of reports
        | {"name": STEP, "kind": KINDS, "attempts": [ROTATION_ID]}
    ],
    "evidence": [NOTE],
    "dead": (None, {"at": timestamps.SHAPE, "seconds": int}),
    "material?": {"*": [str]},
    "checklists": [{"name": str, "title": str, "due": timestamps.SHAPE, "points": [POINT]}],
}


class Open(NamedTuple):
    """A point of a checklist that nobody has ticked: where it stands, and when it is due."""

    incident: str
    point: str
    task: str
    due: datetime


class Summary(TypedDict):
    """What a status shows of an incident that has open points."""

    id: str
    due: str
    open: int
    late: int


def folder_of(reports: Path, identity: str) -> Path:
    """Return the folder of an incident below the environment's folder of reports."""
    return reports / FOLDER / identity


def begin(header: Header, steps: Sequence[Step], checklists: Mapping[str, Planned], now: datetime) -> Document:
    """Return a new document. ``checklists`` are the policy's, with ``within_hours`` and ``actions``."""
    return {
        "schema": 1,
        **header,
        "opened": timestamps.text(now),
        "steps": [step.copy() for step in steps],
        "evidence": [],
        "dead": None,
        "checklists": [
            {
                "name": name,
                "title": one["title"],
                "due": timestamps.text(now + timedelta(hours=one["within_hours"])),
                "points": [{"id": act["id"], "task": act["text"], "done": None} for act in one["actions"]],
            }
            for name, one in checklists.items()
        ],
    }


def read(folder: Path) -> Document:
    """Return the document in ``folder``; KeyturnError where there is none."""
    document: Document | None = durable.read_json(folder / JSON, SHAPE)
    if document is None:
        known = sorted(path.parent.name for path in folder.parent.glob(f"*/{JSON}"))
        raise KeyturnError(
            f"there is no incident {folder.name} in {folder.parent} (it has: {', '.join(known) or 'none'}): "
            "open it with respond_to_incident.yml"
        )
    return document


def read_all(reports: Path) -> list[Document]:
    """Return every incident of an environment, by id."""
    return [read(path.parent) for path in sorted((reports / FOLDER).glob(f"*/{JSON}"))]


def make_folder(folder: Path) -> None:
    """Make the folder of an incident (0700) in the environment's folder of reports."""
    durable.make_reports_folder(folder.parents[1])
    durable.make_private_folder(folder)


def write(folder: Path, document: Document) -> None:
    """Write the document durably, and its form for people."""
    make_folder(folder)
    durable.write_json(folder / JSON, document)
    durable.write_file(folder / MARKDOWN, markdown.render(document).encode())


def check_same(document: Document, header: Header) -> None:
    """Refuse to go on with an incident of which something else was said before."""
    names: tuple[Literal["leaked", "drill", "environment"], ...] = ("leaked", "drill", "environment")
    for name in names:
        if document[name] != header[name]:
            raise KeyturnError(
                f"incident {document['id']} was opened with {name} {document[name]}, not {header[name]}: go on with the same, "
                "or open another incident"
            )


def widen(document: Document, steps: Sequence[Step]) -> None:
    """Take up the steps that a later run adds, as when more secrets turn out to be affected; what was begun stays.

    A secret that was rotated as a precaution and turns out to be affected keeps its step, which becomes an affected one.
    """
    known = {step["name"]: step for step in document["steps"]}
    planned = {step["name"] for step in steps}
    again = [step for step in document["steps"] if step["name"] not in planned]
    for step in steps:
        held = known.get(step["name"])
        if held and held["tier"] == "precaution":
            held["tier"] = step["tier"]
        if held and held["kind"] == "resume":
            held["state"] = "todo"
        again.append(held or step.copy())
    document["steps"] = again


def step_of(document: Document, name: str) -> Step:
    """Return a step by its name."""
    found = next((step for step in document["steps"] if step["name"] == name), None)
    if found is None:
        known = ", ".join(step["name"] for step in document["steps"])
        raise KeyturnError(f"incident {document['id']} has no step {name!r} (it has: {known})")
    return found


def all_done(document: Document, tier: str) -> bool:
    """Tell whether every step of a tier is done."""
    return all(step["state"] in DONE for step in document["steps"] if step["tier"] == tier)


def mark_dead(document: Document) -> None:
    """Note when the last affected secret died, and how long that took since the incident was opened."""
    if document["dead"] or not all_done(document, "affected"):
        return
    at = max((step["at"] for step in document["steps"] if step["tier"] == "affected"), default=document["opened"])
    seconds = (timestamps.parse(at) - timestamps.parse(document["opened"])).total_seconds()
    document["dead"] = {"at": at, "seconds": int(seconds)}


def tick_by_evidence(document: Document, ticks: Mapping[str, str], notified: str, now: datetime) -> None:
    """Tick the points for which a machine has evidence. ``ticks`` maps a point to the kind of its evidence.

    ``notified`` tells which channel for the security team took the message of the incident, empty where none has.
    """
    later = [step for step in document["steps"] if step["tier"] == "precaution"]
    evidence = {
        "affected_dead": document["dead"]
        and f"all affected secrets dead {document['dead']['seconds']} s after the opening",
        "precaution_done": all_done(document, "precaution")
        and ("; ".join(f"{step['name']}: {step['evidence']}" for step in later) or "every key was affected itself"),
        "notified": notified,
    }
    for point in points(document):
        said = evidence[ticks[point["id"]]] if point["id"] in ticks else ""
        if said and not point["done"]:
            point["done"] = {"at": timestamps.text(now), "by": "keyturn", "evidence": said}


def tick(document: Document, point: str, by: str, login: persons.Login, evidence: str, now: datetime) -> None:
    """Tick a point for a person, who is typed as ``by`` and has this ``login``; KeyturnError names the points that there are."""
    found = next((one for one in points(document) if one["id"] == point), None)
    if found is None:
        known = ", ".join(one["id"] for one in points(document) if not one["done"])
        raise KeyturnError(f"incident {document['id']} has no point {point}; open are: {known or 'none'}")
    if evidence.strip() in ("", "NOTE"):  # as the status prints it
        raise KeyturnError(
            f"keyturn_incident_note is {evidence.strip() or 'empty'}: say what was found, and where that can be read"
        )
    if not found["done"]:
        found["done"] = {
            "at": timestamps.text(now),
            "by": by,
            "login": dict(login),
            "evidence": " ".join(evidence.split()),
        }


def points(document: Document) -> Iterator[Point]:
    """Return all points of the checklists."""
    for checklist in document["checklists"]:
        yield from checklist["points"]


def open_points(document: Document) -> list[Open]:
    """Return the points that nobody has ticked, the next due first."""
    return [
        Open(document["id"], point["id"], point["task"], timestamps.parse(checklist["due"]))
        for checklist in document["checklists"]
        for point in checklist["points"]
        if not point["done"]
    ]


def late(documents: Sequence[Document], now: datetime) -> list[Open]:
    """Return the points that should have been ticked before ``now``."""
    return [one for document in documents for one in open_points(document) if one.due < now]


def summaries(reports: Path, now: datetime) -> list[Summary]:
    """Return id, open and late points and the next deadline of each incident that has open points: what a status shows."""
    found: list[Summary] = []
    for document in read_all(reports):
        waiting = open_points(document)
        if waiting:
            found.append(
                {
                    "id": document["id"],
                    "due": timestamps.text(waiting[0].due),
                    "open": len(waiting),
                    "late": len(late([document], now)),
                }
            )
    return found


def near(documents: Sequence[Document], now: datetime, within: timedelta = NEAR) -> list[Open]:
    """Return the points that are due within a time, or are late."""
    return [one for document in documents for one in open_points(document) if one.due - within <= now]


def table(documents: Sequence[Document], now: datetime) -> str:
    """Return what is open in every incident, for a person."""
    lines = []
    for document in documents:
        waiting = open_points(document)
        dead = document["dead"]
        state = f"affected secrets dead after {dead['seconds']} s" if dead else "AFFECTED SECRETS STILL LIVE"
        lines.append(f"{document['id']}{' (drill)' if document['drill'] else ''}  {document['leaked']}, {state}")
        lines += [
            f"  {step['state']:<8}{step['name']}: {step['evidence'] or 'not begun'}"
            for step in document["steps"]
            if step["state"] not in DONE
        ]
        lines += [
            f"  {'LATE' if one.due < now else 'open':<6}{timestamps.text(one.due)}  {one.point}: {one.task}"
            for one in waiting
        ]
    return "\n".join(lines) or "no incident"
