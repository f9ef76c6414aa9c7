"""What a person must look at.

In a rotation: one that cannot go back, since the old value is dead, or files that hold a value of nobody's. In an environment: all that
its status has found, the worst first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product

from ..base import timestamps
from ..host.journal import PHASES, JournalRecord, Verdict
from . import checklist, status
from .shapes import Event, Status, Unsigned

Hosts = Mapping[str, JournalRecord]
FORWARD, BACK = "resume.yml ends it on the new value", "rollback.yml ends it on the old one"
Told = Iterator[tuple[str, str]]


def needed(hosts: Hosts) -> bool:
    """Tell whether a rotation is open on a host whose old value is not accepted, or has ended where another value was found."""
    return _cannot_go_back(hosts) or any(record.get("attention") for record in hosts.values())


def _cannot_go_back(hosts: Hosts) -> bool:
    return any(_dead(record) and record.get("phase") != "closed" for record in hosts.values())


def sentence(hosts: Hosts) -> str:
    """Return what a person has to know, empty where nothing needs attention."""
    found = [f"{name}: {record['attention']}" for name, record in sorted(hosts.items()) if record.get("attention")]
    return "; ".join([*found, *([_who_is_on_what(hosts)] if _cannot_go_back(hosts) else [])])


def _who_is_on_what(hosts: Hosts) -> str:
    verdicts = sorted({str(_said(record).get("verdict")) for record in hosts.values() if _dead(record)})
    on_new = sorted(name for name, record in hosts.items() if _switched(record))
    others = sorted(set(hosts) - set(on_new))
    return (
        f"the old value is {' and '.join(verdicts)} at its provider, so nothing goes back; on the new value: "
        f"{', '.join(on_new) or 'none'}; not on it: {', '.join(others) or 'none'}; mend the cause, then run resume.yml"
    )


def down(hosts: Hosts) -> str:
    """Return which services rotations have stopped that have not come up again, and since when; empty where none."""
    return ", ".join(
        f"{name} of {host} since {at}"
        for host, record in sorted(hosts.items())
        for name, at in record.get("down", {}).items()
    )


def _said(record: JournalRecord) -> Verdict:
    return record.get("old_credential") or {}


def _dead(record: JournalRecord) -> bool:
    return bool(_said(record).get("verdict", "accepted") != "accepted")


def _switched(record: JournalRecord) -> bool:
    phase = record.get("phase")
    return phase in PHASES and PHASES.index(str(phase)) >= PHASES.index("switched")


def now(found: Status, hosts: status.Hosts, brought: Collection[str] = ()) -> list[dict[str, str]]:
    """Return what needs somebody, by ``state`` and ``text``, the worst first; ``hosts`` has what ``keyturn_rotation_info`` said.

    ``brought`` are the secrets whose new value a person has to bring.
    """
    told = [*_broken(found, hosts), *_of_secrets(found), *_of_dates(found, brought), *_of_records(found)]
    return [
        {"state": state, "text": text} for state, text in sorted(told, key=lambda one: -status.STATES.index(one[0]))
    ]


def _broken(found: Status, hosts: status.Hosts) -> Told:
    opened = {name: said["rotation"] for name, said in hosts.items() if said and said["rotation"]}
    if stuck := sentence(opened):
        yield "broken", stuck
    for name, line in found["secrets"].items():
        if line["open_on"]:
            yield "broken", _open(name, {host: opened[host] for host in line["open_on"]}, found["events"])
    for host in found["unreachable"]:
        yield "broken", f"no answer from {host}: see that it runs and that SSH reaches it, then run status.yml again"
    if found["log"]["problem"]:
        yield "broken", f"{found['log']['problem']}; verify_log.yml says more"
    yield from (("broken", line) for line in status.unreported_lines(found["unreported"]))


def _open(secret: str, opened: Hosts, events: Sequence[Event]) -> str:
    """Say of an open rotation what is down by it, which ways out there are, and what has stopped it."""
    decided = {record.get("decision") for record in opened.values()}
    ways = [FORWARD] if decided == {"commit"} else [BACK] if "rollback" in decided else [FORWARD, BACK]
    stopped = f"down: {down(opened)}; " if down(opened) else ""
    ids = {record["rotation_id"] for record in opened.values()}
    causes = [one["detail"] for one in events if one["kind"] == "failure" and one["id"] in ids and one["detail"]]
    because = f" (it stopped at: {'; '.join(causes)})" if causes else ""
    return f"{stopped}a rotation of {secret} is open on {', '.join(opened)}: {', '.join(ways)}{because}"


def _of_secrets(found: Status) -> Told:
    at = timestamps.parse(found["at"])
    for name, line in found["secrets"].items():
        for host, problem in line["problems"].items():
            yield "broken", f"{name} on {host}: {problem}"
        if line["differ"]:
            held = "; ".join(f"{host} holds {what}" for host, what in line["differ"].items())
            yield (
                "broken",
                f"hosts disagree on {name}: {held}; run rotate.yml -e keyturn_secret={name} -e keyturn_adopt=HOST, the one that is right",
            )
        for one in line["open_revocations"].values():
            late = (at - timestamps.parse(one["since"])).days >= status.REVOCATION_DAYS
            steps = "; ".join([*line["revoke"], f"then run {checklist.confirming(name)}"])
            yield "overdue" if late else "due", f"the old {name} is not proved dead since {one['since'][:10]}: {steps}"


def _of_records(found: Status) -> Told:
    for one in found["incidents"]:
        tick = f"tick_incident.yml -e keyturn_incident_id={one['id']} -e keyturn_incident_point=POINT -e 'keyturn_incident_note=\"NOTE\"'"
        text = f"incident {status.incident_line(one)}: {tick} ticks one"
        yield "overdue" if one["late"] else "due", text
    for line in status.expired_lines(found):
        yield "overdue", line
    for late, signed in product((True, False), repeat=2):
        waiting = [one for one in found["unsigned"] if (one["late"], bool(one["signer"])) == (late, signed)]
        yield from (("overdue" if late else "due", text) for text in _unsigned(waiting))
    for one in found["unfinished"]:
        begun = f"the attempt of {one['by']} on {one['controller']} to rotate {one['secret']} since {one['since']} has no end"
        yield "due", f"{begun}: wait for it, or run resume.yml"
    for line in found["unsent"]:
        yield "due", f"not delivered: {line}; notify.yml sends it again"


def _unsigned(rotations: Sequence[Unsigned]) -> Iterator[str]:
    """Say of rotations that wait for the same, and are late or are not, in one sentence what they wait for."""
    named = ", ".join(f"{one['rotation_id']} of {one['secret']}" for one in rotations)
    if len(rotations) == 1:
        yield f"the rotation {named} {status.signing(rotations[0])}"
    elif rotations:
        first = min(one["until"] for one in rotations)[:10]
        which = f"since {first}" if rotations[0]["late"] else f"the first by {first}"
        sign = checklist.signing("ID", [], rotations[0]["by_key"])
        what = "are signed and to be closed" if rotations[0]["signer"] else f"are to be signed ({sign}) and closed"
        yield f"{len(rotations)} rotations {what} ({checklist.closing('ID')}), {which}: {named}"


def _of_dates(found: Status, brought: Collection[str]) -> Told:
    for one in found["calendar"]:
        due = one["due"]
        if one["turn"] and due:
            late = due < found["at"]
            line = found["secrets"].get(one["secret"])
            known = line and line["last_rotated"]
            when = f"is due {'since' if late else 'on'} {due[:10]}" if known else "was never rotated by Keyturn"
            mine = f"bring its new value and run rotate.yml -e keyturn_secret={one['secret']}"
            remedy = mine if one["secret"] in brought else "run rotate_due.yml"
            yield "overdue" if late else "due", f"{one['secret']} {when}: {remedy}"
    if found["review"]["late"]:
        yield (
            "overdue",
            f"the policy's review was due on {found['review']['next']}: review it, then set its next date in policy.yml",
        )
