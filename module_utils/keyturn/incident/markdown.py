"""The document of an incident for people."""

from __future__ import annotations

from collections.abc import Iterator

from ..base.shown import cell
from ..inputs import persons
from .shapes import Document, Header, Point, Ticked


def render(document: Document) -> str:
    """Return Markdown."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Document) -> Iterator[str]:
    yield f"# Incident {document['id']}{' (drill)' if document['drill'] else ''}"
    yield ""
    yield f"- Environment: {document['environment']}"
    yield f"- Leaked: {document['leaked']}: {document['title']}"
    yield f"- Opened: {document['opened']} by {_who(document['operator'], document)}"
    dead = document["dead"]
    yield (
        f"- All affected secrets dead: {dead['at']}, after {dead['seconds']} s"
        if dead
        else "- **Affected secrets still live**"
    )
    yield ""
    yield "## What was done"
    yield ""
    yield "| Step | Why | State | Evidence |"
    yield "|------|-----|-------|----------|"
    for step in document["steps"]:
        yield f"| {step['name']} | {step['tier']} | {step['state']} | {cell(step['evidence'])} |"
    yield from _by_hand(document)
    yield from _evidence(document)
    for checklist in document["checklists"]:
        yield ""
        yield f"## {checklist['title']} (until {checklist['due']})"
        yield ""
        for point in checklist["points"]:
            yield from _point(document, point)


def _who(name: str, record: Header | Ticked) -> str:
    return cell(persons.with_login(name, record.get("login", {})))


def _by_hand(document: Document) -> Iterator[str]:
    yield ""
    yield "## By hand"
    yield ""
    for line in document["by_hand"]:
        yield f"- {line}"


def _evidence(document: Document) -> Iterator[str]:
    yield ""
    yield "## Evidence"
    yield ""
    if document.get("without_evidence"):
        yield f"None was collected: {cell(document['without_evidence'])}"
    for held in document["evidence"]:
        if held.get("file"):
            yield f"- `{held['file']}` of {held['host']}, collected {held['at']}, SHA-256 `{held['sha256']}`"
            for member in held["members"]:
                yield f"  - {cell(member['name'])}, {member['bytes']} bytes, SHA-256 `{member['sha256']}`"
        for source, why in held["missing"].items():
            yield f"- **Missing**: {cell(source)} of {held['host']}: {cell(why)}"


def _point(document: Document, point: Point) -> Iterator[str]:
    done, wanted = point["done"], document.get("material", {}).get(point["id"])
    yield f"- [{'x' if done else ' '}] {point['task']} (`{point['id']}`)"
    if done:
        yield f"  - {done['at']}, {_who(done['by'], done)}: {cell(done['evidence'])}"
    elif wanted:
        found = [
            f"{source} of {held['host']} in `{held['file']}`"
            for held in document["evidence"]
            for source in sorted(
                {member["name"].split("/")[0].split(".")[0] for member in held["members"]} & set(wanted)
            )
        ]
        yield f"  - to be found in: {', '.join(found) or 'no sealed evidence holds it'}"
