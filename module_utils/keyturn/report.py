"""The report of one rotation: a JSON document (docs/report.schema.json) and the same as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import attention, checklist, durable
from .journal import PHASES, utc_now

SCHEMA = 1
FORMS = ("two_layer", "one_layer", "plaintext", "empty")
STEPS = ("stage", "prepare", "switch", "prove", "decide", "finish")
ENDED = ("committed", "committed_with_exclusions", "committed_in_part", "rolled_back")
HOST_FIELDS = (
    "phase",
    "decision",
    "outcome",
    "old",
    "new",
    "rows",
    "times",
    "downtime_seconds",
    "backup",
    "proofs",
    "findings",
    "failure",
    "old_credential",
    "retire",
    "evidence",
)


def build(
    header: Mapping[str, Any],
    hosts: Mapping[str, Mapping[str, Any]],
    failure: str,
    ended: bool,
    excluded: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the report.

    ``hosts`` maps each host of the inventory to its journal's record (empty: it said nothing), ``excluded`` those that
    a person has left out to the reason.
    """
    taking_part = {name: record for name, record in hosts.items() if name not in excluded}
    failure = "; ".join(part for part in (failure, attention.sentence(taking_part)) if part)
    if ended and not failure:
        failure = "; ".join(_lost(taking_part))
    return {
        "schema": SCHEMA,
        **{name: header[name] for name in ("rotation_id", "secret", "title", "variables", "environment")},
        **{name: header[name] for name in ("reason", "operator", "downtime_budget_seconds")},
        **({"revision": header["revision"]} if "revision" in header else {}),
        "started": min([header["started"], *(record["started"] for record in hosts.values() if record)]),
        "finished": utc_now() if ended else None,
        "outcome": outcome(taking_part, failure, bool(excluded)) if ended else "interrupted",
        "failure": failure or None,
        **({"overrides": header["overrides"]} if header.get("overrides") else {}),
        "hosts": {
            name: {field: record[field] for field in HOST_FIELDS if record.get(field) is not None}
            | ({"excluded": excluded[name]} if name in excluded else {})
            for name, record in sorted(hosts.items())
        },
    }


def _lost(hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return why hosts have not ended where no call of ours has failed: they were lost in a hook of the inventory's own."""
    return [
        f"{name}: nothing more was heard after the phase {record['phase']}; it, or a machine that a hook asks, gave no answer"
        for name, record in sorted(hosts.items())
        if record and record["phase"] != "closed"
    ]


def over_budget(report: Mapping[str, Any]) -> list[str]:
    """Return the hosts whose downtime is over the catalogue's budget."""
    budget = report["downtime_budget_seconds"]
    return [name for name, host in report["hosts"].items() if host.get("downtime_seconds", 0) > budget]


def outcome(hosts: Mapping[str, Mapping[str, Any]], failure: str, exclusions: bool = False) -> str:
    """Return how the rotation ended.

    ``committed`` (``_with_exclusions``) or ``rolled_back`` when every host that takes part is, ``committed_in_part`` when each
    is one of the two: a batch failed after another had committed. ``refused`` when ``failure`` let no host come further
    than staging. ``interrupted`` when a host has not ended or said nothing: resume.yml or rollback.yml ends the rotation.
    """
    ends = {record.get("outcome") for record in hosts.values()}
    if ends == {"committed"}:
        return "committed_with_exclusions" if exclusions else "committed"
    if not _all_closed(hosts):
        return "needs_attention" if attention.needed(hosts) else "interrupted"
    if failure and not any(_touched(record) for record in hosts.values()):
        return "refused"
    if ends == {"committed", "rolled_back"}:
        return "committed_in_part"
    return "rolled_back" if ends == {"rolled_back"} else "interrupted"


def _all_closed(hosts: Mapping[str, Mapping[str, Any]]) -> bool:
    return all(record.get("phase") == "closed" for record in hosts.values() if record)


def _touched(record: Mapping[str, Any]) -> bool:
    begun = {step["phase"] for step in record.get("history", [])}
    return bool(begun & set(PHASES[PHASES.index("preparing") : PHASES.index("closed")]))


def final(path: Path, document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the report in ``path`` if its rotation has ended for good: repeating the rotation does not rewrite it.

    Unless ``document`` tells that a host which was left out has come back and ended as well.
    """
    report = durable.read_json(path)
    if not report or report.get("outcome") not in ENDED:
        return None
    returned = (report["outcome"], document["outcome"]) == ("committed_with_exclusions", "committed")
    return None if returned else report


def unreported(folder: Path) -> list[str]:
    """Return the rotations of which ``folder`` tells the begin but no end: the run was killed before it could."""
    return [str(one["rotation_id"]) for one in documents(folder) if one.get("outcome") == "interrupted"]


def documents(folder: Path) -> list[dict[str, Any]]:
    """Return all reports of an environment, the oldest first: their ids sort by time."""
    found = [durable.read_json(path) or {} for path in sorted(folder.glob("*.json"))]
    return [document for document in found if "rotation_id" in document]


def heads(reports: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what each report says was the head of the log, by the report's name."""
    return {f"{report['rotation_id']}.json": report["log_head"] for report in reports if report.get("log_head")}


def write(folder: Path, report: Mapping[str, Any]) -> Path:
    """Write the report durably into ``folder`` and return its path."""
    durable.make_reports_folder(folder)
    path = folder / f"{report['rotation_id']}.json"
    durable.write_json(path, report)
    return path


def events(report: Mapping[str, Any], sessions: str) -> list[str]:
    """Return what people are told of the end of a rotation. ``sessions`` is the catalogue's word."""
    if report["outcome"] not in ("committed", "committed_with_exclusions"):
        return ["rotation_failed"]
    return ["rotation_done", *(["sessions_invalidated"] if sessions == "invalidated" else [])]


def link(published: str, path: Path) -> str:
    """Return where a file of the environment's folder can be read: below ``published``, or its path where nothing is."""
    return f"{published.rstrip('/')}/{path.parent.name}/{path.name}" if published else str(path)


def facts(report: Mapping[str, Any], link: str) -> dict[str, Any]:
    """Return what the messages about the rotation say; ``link`` is where the report can be read."""
    names = ("title", "rotation_id", "reason", "operator", "outcome")
    changes = [
        f"{variable} on {name} {old} -> {host['new'][variable]}"
        for name, host in report["hosts"].items()
        for variable, old in host.get("old", {}).items()
        if variable in host.get("new", {})
    ]
    more = {
        "failure": report["failure"] or "see the report",
        "fingerprints": changes or ["see the report"],
        "link": link,
    }
    return {**{name: report[name] for name in names}, **more}


def text(report: Mapping[str, Any], path: Path) -> str:
    """Return the report for a person."""
    lines = [
        f"{report['outcome'].upper()}: {report['title']} ({report['secret']}) in {report['environment']}",
        f"rotation   {report['rotation_id']}, {report['reason']}, by {report['operator']}",
        f"time       {report['started']} to {report['finished']}",
    ]
    if report["failure"]:
        lines.append(f"cause      {report['failure']}")
    for name, host in report["hosts"].items():
        lines += ["", f"{name}: {_state(host)}"]
        lines += [f"  {line}" for line in _host(host, report["downtime_budget_seconds"])]
    if report.get("checklist"):
        lines += ["", *checklist.text(report["checklist"])]
    lines += ["", f"report     {path}"]
    if report.get("log_head"):
        lines.append(f"log head   record {report['log_head']['number']}, {report['log_head']['hash']}")
    return "\n".join(lines)


def _state(host: Mapping[str, Any]) -> str:
    if "excluded" in host:
        return f"left out ({host['excluded']})"
    return str(host.get("outcome") or host.get("phase") or "said nothing")


def _change(host: Mapping[str, Any], new: str | None) -> str:
    """Tell what became of a value; between the switch and the end the host may hold either."""
    if not new or host.get("outcome") == "rolled_back" or host.get("phase") in PHASES[: PHASES.index("switching")]:
        return "(kept)"
    return f"-> {new}" if host.get("outcome") == "committed" else f"-> {new}, not ended: either may be in use"


def _host(host: Mapping[str, Any], budget: int) -> Sequence[str]:
    lines = []
    for variable, old in host.get("old", {}).items():
        new = host.get("new", {}).get(variable)
        lines.append(f"{variable}: {old} {_change(host, new)}")
    if host.get("rows"):
        lines.append("rows       " + ", ".join(f"{host['rows'][form]} {form}" for form in FORMS))
    if host.get("times"):
        times = [f"{step} {host['times'][step]:.1f} s" for step in STEPS if step in host["times"]]
        lines.append("times      " + ", ".join(times))
    if "downtime_seconds" in host:
        seconds = host["downtime_seconds"]
        verdict = "within" if seconds <= budget else "OVER"
        lines.append(f"downtime   {seconds:.1f} s ({verdict} the budget of {budget} s)")
    if "backup" in host:
        backup = host["backup"]
        keys = ", ".join(backup["opens_with"].values())
        lines.append(
            f"backup     {backup['path']} (opens with {keys}, until {backup.get('expires', 'the rotation ends')})"
        )
    lines += [
        f"proof      {line['proof']} of {line['subject']}: {line['verdict']} ({line['detail']})"
        for line in host.get("proofs", [])
    ]
    lines += [f"finding    {line}" for line in host.get("findings", [])]
    return lines
