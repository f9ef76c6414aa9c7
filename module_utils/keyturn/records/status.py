"""What an environment needs: the ages of its secrets, what their files hold, what is open, unproved, unsigned or expired."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import cast

from ..base import timestamps
from ..base.shown import IN_OTHER_HANDS
from ..host.journal import JournalRecord
from ..host.phases.answers import HostAnswer
from ..inputs.catalogue import Entry
from . import ages, checklist
from .rotation_log import Record
from .shapes import Audit, Revocation, Status, StatusLine, Unreported, Unsigned

STATES = ("ok", "due", "overdue", "broken")
DUE_BEFORE_DAYS = 14
REVOCATION_DAYS = 7

Hosts = Mapping[str, HostAnswer | None]


NOTHING: Audit = {}


def status(
    secrets: Mapping[str, Entry],
    hosts: Hosts,
    now: datetime,
    audit: Audit = NOTHING,
    records: Sequence[Record] = (),
) -> Status:
    """Return the state of each secret and of all. ``hosts`` has what ``keyturn_rotation_info`` said, None for no answer.

    ``records`` are those of the log, by which a secret's age is reckoned (``ages``). ``audit`` is what the controller's own records say
    (``audit.look``): a log whose chain is broken is broken, and so is one that lacks a rotation which hosts have committed. A checklist
    that nobody has signed is overdue when its time is over, a review of the policy when its day is past, an old value when it has expired
    and is still there.
    """
    found = {name: _secret(name, entry, hosts, now, records) for name, entry in secrets.items()}
    silent = sorted(name for name, said in hosts.items() if said is None)
    expired = {name: said["expired"] for name, said in hosts.items() if said and said["expired"]}
    chain, review = audit.get("log"), audit.get("review")
    broken = [*silent, *filter(None, [chain and chain.get("problem")]), *audit.get("unreported", {})]
    late = [one for one in audit.get("unsigned", []) if one["late"]]
    overdue = [*late, *expired, *filter(None, [review and review.get("late")])]
    worst = _worst(
        [*(line["state"] for line in found.values()), *("broken" for _ in broken), *("overdue" for _ in overdue)]
    )
    reckoned: Status = {
        "schema": 4,
        "state": worst,
        "at": timestamps.text(now),
        "unreachable": silent,
        "expired": expired,
        "secrets": found,
    }
    return cast(Status, {**reckoned, **audit})


def _secret(name: str, entry: Entry, hosts: Hosts, now: datetime, records: Sequence[Record]) -> StatusLine:
    told = {host: said for host, said in hosts.items() if said is not None}
    answered = {host: said for host, said in told.items() if said["held"][name]["used"]}
    unused = bool(told) and not answered
    limit = None if unused else entry.get("max_age_days")
    past = {host: _ended(said, name) for host, said in answered.items()}
    last, doubts = ages.of(name, entry["value"] == "shared", answered, records)
    age = _days(last, now) if last else None
    opened = sorted(host for host, said in answered.items() if (said["rotation"] or {}).get("secret") == name)
    revocations = _revocations(past)
    differ = _differ(name, answered) if entry["value"] == "shared" else {}
    problems = doubts | _problems(name, answered, opened)
    states = [_by_age(limit, age), *("broken" for _ in [*opened, *differ, *problems])]
    states += ["overdue" if _days(line["since"], now) >= REVOCATION_DAYS else "due" for line in revocations.values()]
    return {
        "title": entry["title"],
        "state": _worst(states),
        "unused": unused,
        "last_rotated": last or None,
        "age_days": age,
        "max_age_days": limit,
        "switch": entry["switch"],
        "differ": differ,
        "problems": problems,
        "open_on": opened,
        "open_revocations": revocations,
        "revoke": list(entry["retire"].get("steps") or []) if revocations else [],
    }


def _differ(name: str, answered: Mapping[str, HostAnswer]) -> dict[str, str]:
    """Return what each host holds of a value that all should share, nothing where they do."""
    held = {host: _text(mine) for host, said in answered.items() if (mine := said["held"][name]["values"])}
    return held if len(set(held.values())) > 1 else {}


def _problems(name: str, answered: Mapping[str, HostAnswer], opened: Collection[str]) -> dict[str, str]:
    """Return by host what is wrong with the value that it holds."""
    problems = {host: said["held"][name]["problem"] for host, said in answered.items() if said["held"][name]["problem"]}
    for host, said in answered.items():
        values, left = said["held"][name]["values"], _left(said, name)
        if values and host not in opened and left and left != values:
            problems[host] = (
                f"its files hold {_text(values)}, and its last rotation left {_text(left)}: somebody else has changed them; "
                f"run rotate.yml -e keyturn_secret={name}"
            )
    return problems


def _ended(said: HostAnswer, secret: str) -> list[JournalRecord]:
    return [past for past in said["closed"].values() if (past["secret"], past["outcome"]) == (secret, "committed")]


def _revocations(past: Mapping[str, list[JournalRecord]]) -> dict[str, Revocation]:
    found: dict[str, Revocation] = {}
    for host, journals in past.items():
        for journal in journals:
            if (journal.get("retire") or {}).get("state") == "open":
                line = found.setdefault(journal["rotation_id"], {"since": journal["retire"]["since"], "hosts": []})
                line["hosts"].append(host)
    return found


def _left(said: HostAnswer, secret: str) -> dict[str, str]:
    """Return the fingerprints that the last rotation of a secret has left on a host; nothing where none has ended."""
    past = [journal for journal in said["closed"].values() if journal["secret"] == secret]
    last: JournalRecord = max(past, key=lambda journal: str(journal["finished"])) if past else {}
    return (last.get("new") if last.get("outcome") == "committed" else last.get("old")) or {}


def _text(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {mark}" for name, mark in sorted(values.items()))


def _by_age(limit: int | None, age: int | None) -> str:
    if limit is None:
        return "ok"
    if age is None:
        return "due"
    return "overdue" if age > limit else "due" if age > limit - DUE_BEFORE_DAYS else "ok"


def _worst(states: list[str]) -> str:
    return max(states, key=STATES.index, default="ok")


def _days(since: str, now: datetime) -> int:
    return (now - timestamps.parse(since)).days


def table(found: Status) -> str:
    """Return the status for a person."""
    wide = max([11, *map(len, found["secrets"])]) + 1
    lines = [f"{'secret':<{wide}}{'state':<10}{'age':<12}{'last rotated':<22}{'due':<12}open"]
    coming = {line["secret"]: line["due"] for line in found.get("calendar", [])}
    for name, line in found["secrets"].items():
        age = "-" if line["age_days"] is None else f"{line['age_days']} d"
        limit = f" / {line['max_age_days']} d" if line["max_age_days"] else ""
        due = (coming.get(name) or "-")[:10]
        lines.append(
            f"{name:<{wide}}{line['state']:<10}{age + limit:<12}{line['last_rotated'] or 'never':<22}{due:<12}"
            f"{'; '.join(_notes(line)) or '-'}"
        )
        lines += [f"{'':<{wide}}- {step}" for step in line["revoke"]]
    if found["unreachable"]:
        lines.append(f"no answer from {', '.join(found['unreachable'])}")
    lines += expired_lines(found)
    first = "" if found["state"] == "ok" else "".join(f": {one['text']}" for one in found.get("attention", [])[:1])
    return "\n".join([f"{found['state'].upper()} at {found['at']}{first}", "", *lines, *_audit(found)])


def expired_lines(found: Status) -> list[str]:
    """Return what a status says of old values that have expired."""
    return [
        f"the old value of {', '.join(names)} has expired and is still on {host}: run prune.yml"
        for host, names in found["expired"].items()
    ]


def _notes(line: StatusLine) -> list[str]:
    notes = ["not used here"] if line["unused"] else []
    notes += [f"{host}: {problem}" for host, problem in line["problems"].items()]
    notes += [f"rotation on {', '.join(line['open_on'])}"] if line["open_on"] else []
    notes += [f"revocation since {one['since'][:10]}" for one in line["open_revocations"].values()]
    if line["differ"]:
        notes.append("hosts disagree: " + "; ".join(f"{host} holds {what}" for host, what in line["differ"].items()))
    return notes


def _audit(found: Status) -> list[str]:
    if "log" not in found:
        return []
    log, review = found["log"], found["review"]
    head = f"{log['records']} records, head {log['head'].get('hash', 'none')[:12]}; signatures {log['signatures']}"
    lines = ["", f"log         {log['problem'] or f'the chain is whole: {head}'}"]
    lines += [
        f"unfinished  {one['rotation_id']} of {one['secret']}, by {one['by']} on {one['controller']} since {one['since']}"
        for one in found["unfinished"]
    ]
    lines += [f"unreported  {line}" for line in unreported_lines(found["unreported"])]
    lines += [
        f"{'signed' if one['signer'] else 'unsigned':<12}{one['rotation_id']} of {one['secret']}: "
        f"{', '.join(one['open']) or 'every point has evidence'}; {signing(one)}"
        for one in found["unsigned"]
    ]
    lines += [f"incident    {incident_line(one)}" for one in found.get("incidents", [])]
    lines += [f"unsent      {line}" for line in found.get("unsent", [])]
    return [*lines, f"review      the policy's next review is {review['next']}{' and late' if review['late'] else ''}"]


def signing(one: Unsigned) -> str:
    """Return by when a checklist is to be signed and closed, or only closed."""
    signed = one["signer"]
    closed = f"closed ({checklist.closing(one['rotation_id'])})"
    what = (
        closed
        if signed
        else f"signed ({checklist.signing(one['rotation_id'], one['points'], one['by_key'])}) and {closed}"
    )
    when = f"{'was' if one['late'] else 'is'} to be {what} by {one['until'][:10]}"
    return f"is signed by {signed}, and {when}" if signed else when


def unreported_lines(found: Mapping[str, Unreported]) -> Iterator[str]:
    """Yield what a status says of rotations that hosts have committed and of which there is no report.

    Those that only hosts know may be made up, and as many as one likes: they have one line, and no command that would begin them.
    """
    told: dict[tuple[str, ...], list[str]] = {}
    for name, one in found.items():
        if one["known"]:
            yield _unreported(name, one)
        else:
            told.setdefault(tuple(one["hosts"]), []).append(f"{name} of {one['secret']}")
    for hosts, names in told.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield (
            f"{', '.join(hosts)}: a rotation that neither log nor reports know is committed there, as only that says ({names[0]}{more}): "
            "bring the reports of the controller that has made it; if log and reports are lost, see verify_log.yml -e "
            f"keyturn_log_from_hosts=REASON. If nobody has made it, {IN_OTHER_HANDS}"
        )


def _unreported(rotation_id: str, one: Unreported) -> str:
    again = f"rotate.yml -e keyturn_secret={one['secret']} -e keyturn_rotation_id={rotation_id}"
    remedy = (
        "run resume.yml"
        if one["begun"]
        else f"bring its report from the controller that ran it, or run {again}, "
        "which changes no value and writes one; if log and reports are lost, see verify_log.yml -e keyturn_log_from_hosts=REASON"
    )
    return f"{rotation_id} of {one['secret']} is committed on {', '.join(one['hosts'])} and has no report of its end: {remedy}"


def incident_line(summary: Mapping[str, object]) -> str:
    """Return what a status says of an incident with open points (``incident.summaries``)."""
    return f"{summary['id']}: {summary['late']} of {summary['open']} open points are late, next due {summary['due']}"
