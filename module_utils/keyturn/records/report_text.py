"""What is told of a report: to a person as text, to people in messages, to the workflow that has started the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..ground import rows
from ..host import journal
from ..host.journal import PHASES
from . import attention, checklist, lives
from .report import OPEN
from .rotation_log import COMMITTED
from .shapes import HostReport, Report

STEPS = (
    "stage",
    "prepare",
    "issue",
    "back_up",
    "accept",
    "lead",
    "reencrypt",
    "switch",
    "drop",
    "prove",
    "decide",
    "finish",
)


def events(report: Report, sessions: str) -> list[str]:
    """Return what people are told of the end of a rotation. ``sessions`` is the catalogue's word."""
    if report["outcome"] not in COMMITTED:
        return ["rotation_failed"]
    return ["rotation_done", *(["sessions_invalidated"] if sessions == "invalidated" else [])]


def link(published: str, path: Path) -> str:
    """Return where a file of the environment's folder can be read: below ``published``, or its path where nothing is."""
    return f"{published.rstrip('/')}/{path.parent.name}/{path.name}" if published else str(path)


def facts(report: Report, link: str) -> dict[str, object]:
    """Return what the messages about the rotation say; ``link`` is where the report can be read."""
    named = {"title": report["title"], "rotation_id": report["rotation_id"], "reason": report["reason"]}
    named |= {"operator": report["operator"], "outcome": report["outcome"]}
    changes = [
        f"{variable} on {name} {old} -> {host['new'][variable]}"
        for name, host in report["hosts"].items()
        for variable, old in host.get("old", {}).items()
        if variable in host.get("new", {})
    ]
    more = {
        "failure": lives.why(report) or "see the report",
        "fingerprints": changes or ["see the report"],
        "link": link,
    }
    return {**named, **more}


def stats(report: Report) -> dict[str, str]:
    """Return what a workflow branches on: the outcome, and as ``next`` the playbook that follows, empty where a cause is mended first."""
    follows = ""
    decided = {host.get("decision") for host in report["hosts"].values() if host.get("phase") != "closed"}
    if report["outcome"] in COMMITTED:
        follows = f"sign_off.yml -e keyturn_rotation_id={report['rotation_id']} -e keyturn_signer=NAME"
    elif report["outcome"] in OPEN:
        follows = "rollback.yml" if "rollback" in decided else "resume.yml"
    told = {name: report[name] for name in ("outcome", "rotation_id", "secret", "environment")}
    return {**told, "next": follows}


def text(report: Report, path: Path, by_key: bool = False) -> str:
    """Return the report for a person; ``by_key`` tells whether people sign with keys."""
    refused = report["outcome"] == "refused"
    unchanged = ": nothing was changed" if refused else ""
    lines = [
        f"{report['outcome'].upper()}: {report['title']} ({report['secret']}) in {report['environment']}{unchanged}"
    ]
    lines += [f"down       {down}"] if (down := attention.down(report["hosts"])) else []
    earlier = [one for one in report.get("causes", []) if one["cause"] != report["failure"]]
    causes = [f"before     {one['at']}: {one['cause']}" for one in earlier]
    causes += [f"cause      {report['failure']}"] if report["failure"] else []
    causes += [f"cause      {known}"] if not causes and (known := lives.why(report)) else []
    # a host may have written it, and no line of it is one of the report's
    lines += [cause.replace("\n", "\n" + " " * 11) for cause in causes]
    open_yet = report["outcome"] not in COMMITTED
    lines += [f"next       {stats(report)['next']}"] if open_yet and stats(report)["next"] else []
    lines += [f"rotation   {report['rotation_id']}, {report['reason']}, by {report['operator']}"]
    lines += [f"time       {report['started']} to {report['finished']}"]
    for name, host in () if refused else report["hosts"].items():
        lines += ["", f"{name}: {_state(host)}"]
        lines += [f"  {line}" for line in _host(host, report["downtime_budget_seconds"])]
    if report.get("checklist"):
        lines += ["", *checklist.text(report["checklist"])]
    lines += ["", f"report     {path}"]
    if report.get("log_head"):
        lines.append(f"log head   record {report['log_head']['number']}, {report['log_head']['hash']}")
    lines += [] if open_yet else _then(report, by_key)
    return "\n".join(lines)


def _then(report: Report, by_key: bool) -> list[str]:
    """Say what is left to do after a commit, in its order."""
    revokes = any("since" in (host.get("retire") or {}) for host in report["hosts"].values())
    sign = checklist.signing(report["rotation_id"], checklist.seen(report.get("checklist", [])), by_key)
    commands = [
        *(
            [f"{checklist.confirming(report['secret'])}  # once the old one is deleted at its provider"]
            if revokes
            else []
        ),
        f"{sign}  # by a second person, from a login of their own",
        checklist.closing(report["rotation_id"]),
    ]
    return [f"{'then' if number else 'next':<11}{command}" for number, command in enumerate(commands)]


def over(report: Report, path: Path, ending: str) -> str:
    """Say of a rotation that had ended before this run that it has: its report stands. ``ending`` is why the run fails, if it does."""
    head = f"OVER: {report['title']} ({report['secret']}) in {report['environment']}"
    lines = [
        f"{head} is {report['outcome']} since {report['finished']}; a new rotation is one without keyturn_rotation_id"
    ]
    lines += [f"cause      {ending}"] if ending else []
    return "\n".join([*lines, f"rotation   {report['rotation_id']}", f"report     {path}, as it was"])


def _state(host: HostReport) -> str:
    if "excluded" in host:
        return f"left out ({host['excluded']})"
    return str(host.get("outcome") or host.get("phase") or "said nothing")


def _change(host: HostReport, variable: str, new: str | None) -> str:
    """Tell what became of a value; between the switch and the end the host may hold either."""
    if "held" in host:
        held = host["held"].get(variable, "not known")
        return "(kept)" if held == host["old"][variable] else f"before; now {held}"
    if not new or host.get("outcome") == "rolled_back":
        return "(kept)"
    if host.get("phase") in PHASES[: PHASES.index(journal.LISTS[0])]:
        return "(not switched)"
    return f"-> {new}" if host.get("outcome") == "committed" else f"-> {new}, not ended: either may be in use"


def _forms() -> list[str]:
    return list(dict.fromkeys(form for kind in rows.KINDS.values() for form in kind.forms))


def _host(host: HostReport, budget: float) -> Sequence[str]:
    lines = []
    for variable, old in host.get("old", {}).items():
        new = host.get("new", {}).get(variable)
        lines.append(f"{variable}: {old} {_change(host, variable, new)}")
    if host.get("rows"):
        lines.append(
            "rows       " + ", ".join(f"{host['rows'][form]} {form}" for form in _forms() if form in host["rows"])
        )
    if host.get("speaker"):
        lines.append(f"rows of    all hosts, turned by {host['speaker']}")
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
    lines += [f"lost       what was written {host['lost_writes']}"] if "lost_writes" in host else []
    lines += [f"late       {host['late']}"] if "late" in host else []
    return lines
