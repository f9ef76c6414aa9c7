"""The report of one rotation: a JSON document (docs/report.schema.json) and the same as text."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import cast

from ..base import durable, timestamps
from ..host import journal
from ..host.journal import PHASES, JournalRecord, utc_now
from ..inputs.request import Plan
from . import attention, checklist, rotation_log
from .rotation_log import COMMITTED
from .shapes import Cause, HostReport, Report

SCHEMA = 1
ENDED = (*COMMITTED, "committed_in_part", "rolled_back")
OPEN = ("interrupted", "needs_attention")
# The outcomes that each wish promises: rotate_* and resume.yml the new value, rollback.yml the old one. Any other is a failure of the run.
WANTED = {"forward": COMMITTED, "back": ("rolled_back",)}
# Why what sent a host back was not seen while its service ran, by the phase that the host had come to.
LATE = {
    "switching": "what the application leaves behind, and who else holds it, shows only when it has stopped",
    "switched": "whether it works on the new value shows only when it runs on it",
    "proved": "the host itself was proved, and another one of its batch was not, or did not decide",
}
HOST_FIELDS = (
    "phase",
    "decision",
    "outcome",
    "old",
    "new",
    "held",
    "down",
    "attention",
    "rows",
    "speaker",
    "times",
    "downtime_seconds",
    "backup",
    "proofs",
    "findings",
    "failure",
    "old_credential",
    "retire",
    "evidence",
    "unproved",
    "lost_writes",
    "late",
)


# what every reader of a report may rest on
SHAPE = {
    "rotation_id": timestamps.ROTATION_ID,
    **dict.fromkeys(("secret", "title", "environment", "reason", "operator", "outcome"), str),
    "variables": [str],
    "downtime_budget_seconds": float,
    "started": timestamps.SHAPE,
    "finished": (None, timestamps.SHAPE),
    "failure": (None, str),
    "causes?": [{"at": timestamps.SHAPE, "cause": str}],
    "revision?": str,
    "overrides?": {"*": str},
    "decided?": True,
    "log_head?": {"number?": int, "hash?": str},
    "checklist?": [{**dict.fromkeys(("id", "text", "detail"), str), "state": tuple(checklist.MARKS)}],
    "hosts": {
        "*": {**{f"{name.removesuffix('?')}?": inner for name, inner in journal.SHAPE.items()}, "excluded?": str}
    },
}


Hosts = Mapping[str, JournalRecord]
NOTHING: Report = {}


def build(
    plan: Plan,
    hosts: Hosts,
    failure: str,
    ended: bool,
    excluded: Mapping[str, str] = MappingProxyType({}),
    before: Report = NOTHING,
) -> Report:
    """Return the report.

    ``hosts`` maps each host of the inventory to its journal's record (empty: it said nothing), ``excluded`` those that
    a person has left out to the reason. ``before`` is the report of an earlier attempt: why the rotation was begun, what stopped
    it then, that all had decided, and what a host said last, which says nothing now, stay as they were told.
    """
    told = before.get("hosts", {})
    known: Hosts = {name: record or _of_journal(told.get(name, {})) for name, record in hosts.items()}
    taking_part = {name: record for name, record in known.items() if name not in excluded}
    failure = _failure(failure, ended, taking_part)
    report = _of_plan(plan, before)
    report["started"] = _started(plan, before, known)
    report["finished"] = utc_now() if ended else None
    report["outcome"] = outcome(taking_part, failure, bool(excluded)) if ended else "interrupted"
    report["failure"] = failure or None
    if causes := _causes(before, failure):
        report["causes"] = causes
    if overrides := plan.get("overrides"):
        report["overrides"] = overrides
    if before.get("decided") or (taking_part and all(one.get("decision") == "commit" for one in taking_part.values())):
        report["decided"] = True
    report["hosts"] = {name: _of_host(record, excluded.get(name)) for name, record in sorted(known.items())}
    return report


def _of_plan(plan: Plan, before: Report) -> Report:
    report: Report = {
        "schema": SCHEMA,
        "rotation_id": plan["rotation_id"],
        "secret": plan["secret"],
        "title": plan["title"],
        "variables": plan["variables"],
        "environment": plan["environment"],
        "reason": before.get("reason", plan["reason"]),
        "operator": plan["operator"],
        "downtime_budget_seconds": plan["downtime_budget_seconds"],
    }
    if "revision" in plan:
        report["revision"] = plan["revision"]
    return report


def _started(plan: Plan, before: Report, hosts: Hosts) -> str:
    """Return when the rotation began on the first host; not before its id says, whatever a host does."""
    known = [one["started"] for one in (plan, before) if "started" in one]
    told = [one["started"] for one in hosts.values() if "started" in one]
    return max(min([timestamps.of_id(plan["rotation_id"]), *known]), min([*known, *told]))


def _failure(failure: str, ended: bool, taking_part: Hosts) -> str:
    """Return what has stopped this attempt, also where no call of ours has failed."""
    failure = "; ".join(part for part in (failure, attention.sentence(taking_part)) if part)
    return failure or ("; ".join(_lost(taking_part)) if ended else "")


def _of_host(record: JournalRecord, left_out: str | None) -> HostReport:
    found = cast(HostReport, {**_of_journal(record), **_late(record)})
    if left_out is not None:
        found["excluded"] = left_out
    return found


def _of_journal(record: JournalRecord) -> JournalRecord:
    held = dict(record)
    return cast(JournalRecord, {field: held[field] for field in HOST_FIELDS if held.get(field) is not None})


def _late(record: JournalRecord) -> dict[str, str]:
    """Say of a host that was stopped for nothing how long it was down, and why what sent it back was not seen before."""
    last = next((step["phase"] for step in reversed(record.get("history", [])) if step["phase"] != "closed"), "")
    if record.get("outcome") == "committed" or record.get("phase") != "closed" or last not in LATE:
        return {}
    return {"late": f"down for {record.get('downtime_seconds', 0.0):.1f} s, and back on the old value: {LATE[last]}"}


def _causes(before: Report, failure: str) -> list[Cause]:
    """Return what has stopped the attempts, the first one first; a report of before they were kept has the last alone."""
    last = before.get("failure")
    told: list[Cause] = [{"at": str(before["finished"]), "cause": last}] if last else []
    causes = list(before.get("causes", told))
    if failure and failure not in [one["cause"] for one in causes]:
        causes.append({"at": utc_now(), "cause": failure})
    return causes


def ending(report: Report, wish: str, failure: str) -> str:
    """Return why a run fails that was to end the rotation the way ``wish``, with its own ``failure``; empty where it has."""
    over = over_budget(report)
    if report["outcome"] in WANTED[wish] and not failure and not over:
        return ""
    why = report["failure"] or failure or (over and f"{', '.join(over)} was down for longer than the budget")
    earlier = [one["cause"] for one in report.get("causes", [])]
    if report["outcome"] in COMMITTED and wish == "back" and not why:
        why = "it was decided before this run, and to go back from there is a new rotation"
    told = [why or "; then ".join([*earlier, "the report says which host is on what"])]
    told += [f"{name} was {host['late']}" for name, host in report["hosts"].items() if "late" in host]
    return f"{report['outcome']}: {'; '.join(told)}"


def _lost(hosts: Hosts) -> list[str]:
    """Return why hosts have not ended where no call of ours has failed: they were lost in a hook of the inventory's own."""
    return [
        f"{name}: nothing more was heard after the phase {record['phase']}; it, or a machine that a hook asks, gave no answer"
        for name, record in sorted(hosts.items())
        if record and record["phase"] != "closed"
    ]


def over_budget(report: Report) -> list[str]:
    """Return the hosts whose downtime is over the catalogue's budget."""
    budget = report["downtime_budget_seconds"]
    return [name for name, host in report["hosts"].items() if host.get("downtime_seconds", 0) > budget]


def outcome(hosts: Hosts, failure: str, exclusions: bool = False) -> str:
    """Return how the rotation ended.

    ``committed`` (``_with_exclusions``, or ``_unproved`` where nothing could show it and a person has accepted that) or
    ``rolled_back`` when every host that takes part is, ``committed_in_part`` when each is one of the two: a batch failed after
    another had committed. ``refused`` when ``failure`` let no host come further than staging. ``needs_attention`` when a host
    has ended with other values than the rotation's, or cannot go back. ``interrupted`` when a host has not ended or said
    nothing: resume.yml or rollback.yml ends the rotation.
    """
    ends = {record.get("outcome") for record in hosts.values()}
    if ends == {"committed"}:
        unproved = any(record.get("unproved") for record in hosts.values())
        return "committed_with_exclusions" if exclusions else "committed_unproved" if unproved else "committed"
    if attention.needed(hosts):
        return "needs_attention"
    if any(record.get("phase") != "closed" for record in hosts.values() if record):
        return "interrupted"
    if failure and not any(_touched(record) for record in hosts.values()):
        return "refused"
    if ends == {"committed", "rolled_back"}:
        return "committed_in_part"
    return "rolled_back" if ends == {"rolled_back"} else "interrupted"


def _touched(record: JournalRecord) -> bool:
    begun = {step["phase"] for step in record.get("history", [])} | {record.get("phase")}
    return bool(begun & set(PHASES[PHASES.index("preparing") : PHASES.index("closed")]))


def final(path: Path, document: Report) -> Report | None:
    """Return the report in ``path`` if its rotation has ended for good: repeating the rotation does not rewrite it.

    Unless ``document`` tells that a host which was left out has come back and ended as well.
    """
    report = read(path)
    if report.get("outcome") not in ENDED:
        return None
    returned = report["outcome"] == "committed_with_exclusions" != document["outcome"] in COMMITTED
    return None if returned else report


def read(path: Path) -> Report:
    """Return the report in a file, an empty one where there is none."""
    return cast(Report, durable.read_json(path, SHAPE) or {})


def begun(folder: Path) -> dict[str, str]:
    """Return the secret of each rotation that log or reports know."""
    told = (*rotation_log.read(folder), *documents(folder))
    return {str(one["rotation_id"]): str(one["secret"]) for one in told if {"rotation_id", "secret"} <= one.keys()}


def decided(folder: Path) -> list[str]:
    """Return the rotations of which every host that took part had decided to commit when a run ended: no word of one takes that back."""
    return [one["rotation_id"] for one in documents(folder) if one.get("decided")]


def over(folder: Path) -> dict[str, str]:
    """Return the outcome of each rotation that has ended for good, or was refused; of one without a report the log tells it."""
    told = {one["rotation_id"]: one["outcome"] for one in documents(folder)}
    ends = rotation_log.outcomes(rotation_log.read(folder)) | told
    return {rotation_id: outcome for rotation_id, outcome in ends.items() if outcome in ("refused", *ENDED)}


def unreported(folder: Path) -> list[str]:
    """Return the rotations of which ``folder`` tells the begin but no end: the run was killed before it could."""
    return [str(one["rotation_id"]) for one in documents(folder) if one.get("outcome") == "interrupted"]


def documents(folder: Path) -> list[Report]:
    """Return all reports of an environment, the oldest first: their ids sort by time."""
    return list(filter(None, map(read, sorted(folder.glob("[0-9]*.json")))))


def heads(reports: Sequence[Report]) -> dict[str, journal.Head]:
    """Return what each report says was the head of the log, by the report's name."""
    kept = {f"{report['rotation_id']}.json": report.get("log_head") for report in reports}
    return {name: head for name, head in kept.items() if head and "hash" in head}


def write(folder: Path, report: Report) -> Path:
    """Write the report durably into ``folder`` and return its path."""
    durable.make_reports_folder(folder)
    path = folder / f"{report['rotation_id']}.json"
    durable.write_json(path, report)
    return path


def open_to_others(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield what another user may read or change, or has, and its mode: the folder and all that is in it."""
    for path in (folder, *sorted(folder.rglob("*"))):
        with contextlib.suppress(FileNotFoundError):  # another run works here
            status = path.lstat()
            foreign = status.st_uid not in (0, os.geteuid())
            if foreign or (status.st_mode & 0o077 and not stat.S_ISLNK(status.st_mode)):
                yield path, stat.S_IMODE(status.st_mode)
