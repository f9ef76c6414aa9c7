"""What an environment's secrets need: their ages, rotations that are open, old credentials that are not proved dead."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from . import moments

STATES = ("ok", "due", "overdue", "broken")
DUE_BEFORE_DAYS = 14
REVOCATION_DAYS = 7

Hosts = Mapping[str, Mapping[str, Any] | None]


def status(
    secrets: Mapping[str, Mapping[str, Any]],
    hosts: Hosts,
    now: datetime,
    audit: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the state of each secret and of all. ``hosts`` has what ``keyturn_state`` said, None for no answer.

    ``audit`` is what the controller's own records say (``audit.look``): a log whose chain is broken is broken. Rotations that
    nobody has signed, and a review of the policy that is late, are told, and make no state worse.
    """
    found = {name: _secret(name, entry, hosts, now) for name, entry in secrets.items()}
    silent = sorted(name for name, said in hosts.items() if said is None)
    problem = (audit.get("log") or {}).get("problem")
    worst = _worst(
        [*(line["state"] for line in found.values()), *("broken" for _ in [*silent, *filter(None, [problem])])]
    )
    return {"schema": 2, "state": worst, "at": moments.text(now), "unreachable": silent, "secrets": found, **audit}


def _secret(name: str, entry: Mapping[str, Any], hosts: Hosts, now: datetime) -> dict[str, Any]:
    answered = {host: said for host, said in hosts.items() if said is not None}
    past = {host: _ended(said, name) for host, said in answered.items()}
    # the host that waits longest counts
    ends = [max((str(journal["finished"]) for journal in journals), default="") for journals in past.values()]
    last = min(ends, default="")
    age = _days(last, now) if last else None
    opened = sorted(host for host, said in answered.items() if (said["rotation"] or {}).get("secret") == name)
    revocations = _revocations(past)
    states = [_by_age(entry.get("max_age_days"), age), *("broken" for _ in opened)]
    states += ["overdue" if _days(line["since"], now) >= REVOCATION_DAYS else "due" for line in revocations.values()]
    held = _held(past)
    differ = held if entry["value"] == "shared" and len(set(held.values())) > 1 else {}
    if differ:
        states.append("broken")
    return {
        "title": entry["title"],
        "state": _worst(states),
        "last_rotated": last or None,
        "age_days": age,
        "max_age_days": entry.get("max_age_days"),
        "switch": entry["switch"],
        "differ": differ,
        "open_on": opened,
        "open_revocations": revocations,
        "revoke": list(entry["retire"].get("steps") or []) if revocations else [],
    }


def _ended(said: Mapping[str, Any], secret: str) -> list[Mapping[str, Any]]:
    return [past for past in said["closed"].values() if (past["secret"], past["outcome"]) == (secret, "committed")]


def _revocations(past: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for host, journals in past.items():
        for journal in journals:
            if (journal.get("retire") or {}).get("state") == "open":
                line = found.setdefault(journal["rotation_id"], {"since": journal["retire"]["since"], "hosts": []})
                line["hosts"].append(host)
    return found


def _held(past: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, str]:
    """What each host got last, by fingerprints: of a shared value all must have the same."""
    last = {host: max(journals, key=_age)["new"] for host, journals in past.items() if journals}
    return {host: ", ".join(f"{name} {value}" for name, value in sorted(new.items())) for host, new in last.items()}


def _age(journal: Mapping[str, Any]) -> str:
    return str(journal["finished"])


def _by_age(limit: int | None, age: int | None) -> str:
    if limit is None:
        return "ok"
    if age is None:
        return "due"
    return "overdue" if age > limit else "due" if age > limit - DUE_BEFORE_DAYS else "ok"


def _worst(states: list[str]) -> str:
    return max(states, key=STATES.index, default="ok")


def _days(since: str, now: datetime) -> int:
    return (now - moments.parse(since)).days


def table(found: Mapping[str, Any]) -> str:
    """Return the status for a person."""
    lines = [f"{'secret':<12}{'state':<10}{'age':<12}{'last rotated':<22}{'due':<12}open"]
    coming = {line["secret"]: line for line in found.get("calendar", [])}
    for name, line in found["secrets"].items():
        age = "-" if line["age_days"] is None else f"{line['age_days']} d"
        limit = f" / {line['max_age_days']} d" if line["max_age_days"] else ""
        due = (coming.get(name, {}).get("due") or "-")[:10]
        lines.append(
            f"{name:<12}{line['state']:<10}{age + limit:<12}{line['last_rotated'] or 'never':<22}{due:<12}"
            f"{'; '.join(_notes(line)) or '-'}"
        )
        lines += [f"{'':<12}- {step}" for step in line["revoke"]]
    if found["unreachable"]:
        lines.append(f"no answer from {', '.join(found['unreachable'])}")
    return "\n".join([f"{found['state'].upper()} at {found['at']}", "", *lines, *_audit(found)])


def _notes(line: Mapping[str, Any]) -> list[str]:
    notes = [f"rotation on {', '.join(line['open_on'])}"] if line["open_on"] else []
    notes += [f"revocation since {one['since'][:10]}" for one in line["open_revocations"].values()]
    if line["differ"]:
        notes.append("hosts disagree: " + "; ".join(f"{host} holds {what}" for host, what in line["differ"].items()))
    return notes


def _audit(found: Mapping[str, Any]) -> list[str]:
    if "log" not in found:
        return []
    log, review = found["log"], found["review"]
    head = f"{log['records']} records, head {log['head'].get('hash', 'none')[:12]}"
    lines = ["", f"log         {log['problem'] or f'the chain is whole: {head}'}"]
    lines += [
        f"unfinished  {one['rotation_id']} of {one['secret']}, by {one['by']} on {one['controller']} since {one['since']}"
        for one in found["unfinished"]
    ]
    lines += [
        f"unsigned    {one['rotation_id']} of {one['secret']}: {', '.join(one['open']) or 'every point has evidence'}"
        for one in found["unsigned"]
    ]
    lines += [f"incident    {incident_line(one)}" for one in found.get("incidents", [])]
    lines += [f"unsent      {line}" for line in found.get("unsent", [])]
    return [*lines, f"review      the policy's next review is {review['next']}{' and late' if review['late'] else ''}"]


def incident_line(summary: Mapping[str, Any]) -> str:
    """Return what a status says of an incident with open points (``incident.summaries``)."""
    return f"{summary['id']}: {summary['late']} of {summary['open']} open points are late, next due {summary['due']}"
