"""The document of an incident for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def render(document: Mapping[str, Any]) -> str:
    """Return Markdown."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"# Incident {document['id']}{' (drill)' if document['drill'] else ''}"
    yield ""
    yield f"- Environment: {document['environment']}"
    yield f"- Leaked: {document['leaked']}: {document['title']}"
    yield f"- Opened: {document['opened']} by {document['operator']}"
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
        yield f"| {step['name']} | {step['tier']} | {step['state']} | {_cell(step['evidence'])} |"
    yield from _by_hand(document)
    yield from _evidence(document)
    for checklist in document["checklists"]:
        yield ""
        yield f"## {checklist['title']} (until {checklist['due']})"
        yield ""
        for point in checklist["points"]:
            yield from _point(document, point)


def _by_hand(document: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield "## By hand"
    yield ""
    for line in document["by_hand"]:
        yield f"- {line}"


def _evidence(document: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield "## Evidence"
    yield ""
    if document.get("without_evidence"):
        yield f"None was collected: {document['without_evidence']}"
    for held in document["evidence"]:
        if held.get("file"):
            yield f"- `{held['file']}` of {held['host']}, collected {held['at']}, SHA-256 `{held['sha256']}`"
            for member in held["members"]:
                yield f"  - `{member['name']}`, {member['bytes']} bytes, SHA-256 `{member['sha256']}`"
        for source, why in held["missing"].items():
            yield f"- **Missing**: {source} of {held['host']}: {_cell(why)}"


def _point(document: Mapping[str, Any], point: Mapping[str, Any]) -> Iterator[str]:
    done, material = point["done"], document.get("material", {}).get(point["id"])
    yield f"- [{'x' if done else ' '}] {point['task']} (`{point['id']}`)"
    if done:
        yield f"  - {done['at']}, {_cell(done['by'])}: {_cell(done['evidence'])}"
    elif material:
        yield f"  - to be found in: {material}"


def _cell(text: str) -> str:
    """Return text that stays where it is put: names and notes come from outside."""
    line = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return line.replace("<", "&lt;").replace("[", "\\[").replace("`", "\\`")
