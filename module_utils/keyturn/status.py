"""What an environment's secrets need: their ages, rotations that are open, old credentials that are not proved dead."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

STATES = ("ok", "due", "overdue", "broken")
DUE_BEFORE_DAYS = 14
REVOCATION_DAYS = 7

Hosts = Mapping[str, Mapping[str, Any] | None]


def status(secrets: Mapping[str, Mapping[str, Any]], hosts: Hosts, now: datetime) -> dict[str, Any]:
    """Return the state of each secret and of all. ``hosts`` has what ``keyturn_state`` said, None for no answer."""
    found = {name: _secret(name, entry, hosts, now) for name, entry in secrets.items()}
    silent = sorted(name for name, said in hosts.items() if said is None)
    worst = _worst([*(line["state"] for line in found.values()), *(["broken"] if silent else [])])
    return {"schema": 1, "state": worst, "at": _text(now), "unreachable": silent, "secrets": found}


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
    if entry["value"] == "shared" and len(_held(past)) > 1:
        states.append("broken")
    return {
        "title": entry["title"],
        "state": _worst(states),
        "last_rotated": last or None,
        "age_days": age,
        "max_age_days": entry.get("max_age_days"),
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


def _held(past: Mapping[str, list[Mapping[str, Any]]]) -> set[str]:
    """What each host got last, by fingerprints: of a shared value all must have the same."""
    return {str(sorted(max(journals, key=_age)["new"].items())) for journals in past.values() if journals}


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
    return (now - datetime.strptime(since, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)).days


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def table(found: Mapping[str, Any]) -> str:
    """Return the status for a person."""
    lines = [f"{'secret':<12}{'state':<10}{'age':<12}{'last rotated':<22}open"]
    for name, line in found["secrets"].items():
        age = "-" if line["age_days"] is None else f"{line['age_days']} d"
        limit = f" / {line['max_age_days']} d" if line["max_age_days"] else ""
        notes = [f"rotation on {', '.join(line['open_on'])}"] if line["open_on"] else []
        notes += [f"revocation since {one['since'][:10]}" for one in line["open_revocations"].values()]
        lines.append(
            f"{name:<12}{line['state']:<10}{age + limit:<12}{line['last_rotated'] or 'never':<22}{'; '.join(notes) or '-'}"
        )
        lines += [f"{'':<12}- {step}" for step in line["revoke"]]
    if found["unreachable"]:
        lines.append(f"no answer from {', '.join(found['unreachable'])}")
    return "\n".join([f"{found['state'].upper()} at {found['at']}", "", *lines])
