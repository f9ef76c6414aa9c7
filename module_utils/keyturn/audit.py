"""What the controller's own records say of an environment: its reports, its log, and what follows from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from . import checklist, durable, moments, outbox, report, rotation_log
from .checklist import Case
from .errors import KeyturnError

TIMELINE = 50
Policy = Mapping[str, Any]
Secrets = Mapping[str, Mapping[str, Any]]


def look(folder: Path, secrets: Secrets, policy: Policy, now: datetime) -> dict[str, Any]:
    """Return ``log``, ``unfinished``, ``unsigned``, ``timeline`` (the newest first), ``review`` and ``environments``."""
    records, reports = rotation_log.read(folder), report.documents(folder)
    open_ones = set(checklist.unsigned(records))
    timeline = [_past(folder, one, secrets, policy, records) for one in reports]
    return {
        "log": chain(folder, reports),
        "unfinished": [
            {
                "rotation_id": one["rotation_id"],
                "secret": one["secret"],
                "by": one["by"],
                "controller": one["attempt"]["controller"],
                "since": one["at"],
            }
            for one in rotation_log.unended(records)
        ],
        "unsigned": [
            {
                "rotation_id": one["rotation_id"],
                "secret": one["secret"],
                "open": [point["id"] for point in checklist.still_open(one["checklist"])],
            }
            for one in timeline
            if one["rotation_id"] in open_ones
        ],
        "timeline": timeline[: -TIMELINE - 1 : -1],
        "review": policy["review"] | {"late": moments.text(now)[:10] > policy["review"]["next"]},
        "environments": _others(folder),
    }


def chain(folder: Path, reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what ``rotation_log.verify`` says, and as ``problem`` the first break of the chain, None where it is whole."""
    try:
        return rotation_log.verify(folder, heads(folder, reports)) | {"problem": None}
    except KeyturnError as error:
        return {"records": len(rotation_log.read(folder)), "sealed": 0, "head": {}, "problem": str(error)}


def heads(folder: Path, reports: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what was the head of the log once, by who has kept it: each report, and the last status."""
    kept = (durable.read_json(folder / "status.json") or {}).get("log", {}).get("head")
    return report.heads(reports) | ({"status.json": kept} if kept else {})


def case(folder: Path, rotation_id: str, secrets: Secrets) -> Case:
    """Return a rotation of the past with all that is known of it; KeyturnError where there is no report or the log is broken."""
    reports = report.documents(folder)
    rotation_log.verify(folder, heads(folder, reports))
    found = next((one for one in reports if one["rotation_id"] == rotation_id), None)
    if found is None:
        known = ", ".join(str(one["rotation_id"]) for one in reports[-3:]) or "none"
        raise KeyturnError(f"{folder} has no report of the rotation {rotation_id} (the last ones: {known})")
    if found["secret"] not in secrets:
        raise KeyturnError(
            f"keyturn_secrets has no entry {found['secret']} any more, which rotation {rotation_id} turned"
        )
    return case_of(folder, found, secrets[found["secret"]], rotation_log.read(folder))


def case_of(folder: Path, document: Mapping[str, Any], entry: Mapping[str, Any], records: checklist.Records) -> Case:
    """Return the rotation of a report, with the ``entry`` of its secret, for the checklist."""
    told = outbox.sent(folder, "sessions_invalidated", document["rotation_id"])
    return Case(document, entry, records, told)


def _past(
    folder: Path,
    document: Mapping[str, Any],
    secrets: Secrets,
    policy: Policy,
    records: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """One rotation of the past; of one that has not committed there is no checklist."""
    committed = document["outcome"] in rotation_log.COMMITTED and document["secret"] in secrets
    points: list[checklist.Point] = []
    if committed:
        points = checklist.points(policy["checklist"], case_of(folder, document, secrets[document["secret"]], records))
    return {
        **{
            name: document[name]
            for name in ("rotation_id", "secret", "title", "outcome", "started", "finished", "reason")
        },
        "operator": document["operator"],
        "downtime_seconds": max(
            (host.get("downtime_seconds", 0.0) for host in document["hosts"].values()), default=0.0
        ),
        "downtime_budget_seconds": document["downtime_budget_seconds"],
        "hosts": sorted(document["hosts"]),
        "checklist": points,
        "signer": checklist.signer(records, document["rotation_id"]),
        "closed": checklist.closed(records, document["rotation_id"]),
    }


def _others(folder: Path) -> dict[str, dict[str, str]]:
    """What was said last of the other environments whose reports lie beside."""
    found = {}
    for path in sorted(folder.parent.glob("*/status.json")):
        said = durable.read_json(path) or {}
        if path.parent != folder and {"state", "at"} <= said.keys():
            found[path.parent.name] = {"state": str(said["state"]), "at": str(said["at"])}
    return found
