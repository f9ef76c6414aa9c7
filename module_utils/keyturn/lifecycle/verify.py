"""Verify: what one host holds now, reading only. Also while a rotation is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import consumers, procfs
from ..consumers import Consumer
from ..errors import KeyturnError
from ..fingerprint import fingerprints
from ..procfs import Moment
from ..rotation import Rotation
from . import retention


def run(rotations: Sequence[Rotation]) -> dict[str, Any]:
    """Return what the host holds of each secret; ``problems`` is what makes its state wrong."""
    found = {rotation.secret: look_at(rotation) for rotation in rotations}
    problems = list(dict.fromkeys(problem for said in found.values() for problem in said["problems"]))
    return {"changed": False, "verified": found, "problems": problems, "text": _text(found)}


def look_at(rotation: Rotation) -> dict[str, Any]:
    """Return fingerprints, rows and services of one secret."""
    problems: list[str] = []
    findings: list[str] = []
    found: dict[str, Any] = {"values": {}, "rows": {}, "problems": problems, "findings": findings}
    opened = rotation.application.open_journal()
    if opened is not None:
        findings.append(f"rotation {opened.folder.name} of {opened.record['secret']} is open (phase {opened.phase})")
    findings += [
        f"the old value of rotation {journal.folder.name} and what it opens have expired ({min(retention.ends_of(journal))}): "
        "the next rotation of this host removes them"
        for journal in retention.expired(rotation.application)
    ]
    try:
        current = rotation.current_values()
        found["values"] = fingerprints(current)
        migration = rotation.migration(current, None)
        if migration is not None:
            census = migration.open_rows()
            found["rows"] = census["rows"]
            if census["refused"]:
                problems.append(f"{census['refused']} rows do not open under the current value: {census['refusals']}")
    except KeyturnError as error:
        problems.append(str(error))
    changed = _last_change(rotation)
    try:
        services = rotation.service_list()
    except KeyturnError as error:
        findings.append(str(error))
        services = []
    for service in services:
        pid = service.pid()
        if pid is None or not service.healthy():
            problems.append(f"service {service.name} is not healthy at {service.health}")
        elif changed and not procfs.started_after(pid, changed):
            findings.append(f"service {service.name} (process {pid}) started before its files changed: restart it")
    return found


def _text(verified: Mapping[str, Mapping[str, Any]]) -> str:
    lines: list[str] = []
    for said in verified.values():
        lines += [f"{name} is {held}" for name, held in sorted(said["values"].items())]
        rows = ", ".join(f"{count} {form}" for form, count in sorted(said["rows"].items()))
        lines += [f"  rows: {rows}"] if rows else []
    findings = dict.fromkeys(finding for said in verified.values() for finding in said["findings"])
    return "\n".join([*lines, *(f"finding: {finding}" for finding in findings)])


def _last_change(rotation: Rotation) -> Moment | None:
    """Return when a file last changed that may concern this secret, None when no change is known to.

    Secrets share a file. The last rotation of another secret has restarted the services that it concerns, and the others may
    run on; what was written after every rotation is somebody's edit, and concerns all.
    """
    edited = procfs.moment_of(max((_changed_at(consumer) for consumer in rotation.consumers()), default=0.0))
    changes = [
        (journal.record["secret"], Moment(*journal.record["changed"]))
        for journal in rotation.application.journals()
        if "changed" in journal.record
    ]
    if not any(change.boot_id == edited.boot_id and change.seconds >= edited.seconds for _, change in changes):
        return edited
    return next((change for secret, change in reversed(changes) if secret == rotation.secret), None)


def _changed_at(consumer: Consumer) -> float:
    """A file that cannot be read is a problem already."""
    try:
        return consumers.changed_at(consumer)
    except KeyturnError:
        return 0.0
