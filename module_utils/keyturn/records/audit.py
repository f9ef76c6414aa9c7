"""What the controller's own records say of an environment: its reports, its log, and what follows from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from ..base import durable, timestamps
from ..base.errors import KeyturnError
from ..host.journal import Head
from ..host.phases.answers import HostAnswer
from ..inputs.catalogue import Entry
from ..notices import outbox
from . import checklist, lives, report, rotation_log, signatures
from .checklist import Case
from .rotation_log import Record
from .shapes import Audit, Chain, Past, Point, Policy, Report, Unreported, Unsigned

TIMELINE = 50
# within which a committed rotation is to be signed and its checklist closed
SIGNED_WITHIN_DAYS = 7
# a moment as the id of a rotation begins with it
COMPACT = str.maketrans("", "", "-:")
# what keyturn_rotation_info said, None for no answer
Hosts = Mapping[str, HostAnswer | None]
Secrets = Mapping[str, Entry]


def look(folder: Path, secrets: Secrets, policy: Policy, now: datetime, hosts: Hosts, allowed: str = "") -> Audit:
    """Return ``log``, ``unfinished``, ``unreported``, ``unsigned``, ``timeline``, ``events``, ``review``, ``environments``.

    The timeline has the newest first, the events are in no order (``lives.in_order``). ``hosts`` has what ``keyturn_rotation_info`` said,
    None for no answer, ``allowed`` is the file of allowed signers, if there is one.
    """
    records, reports = rotation_log.read(folder), report.documents(folder)
    open_ones = set(checklist.unsigned(records))
    timeline = [_past(folder, one, secrets, policy, records) for one in reports]
    return {
        "log": chain(folder, reports, hosts, allowed),
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
        "unreported": unreported(reports, hosts, records),
        "unsigned": [_unsigned(one, now, bool(allowed)) for one in timeline if one["rotation_id"] in open_ones],
        "timeline": timeline[: -TIMELINE - 1 : -1],
        "events": lives.of_reports(reports, records),
        "review": {**policy["review"], "late": timestamps.text(now)[:10] > policy["review"]["next"]},
        "environments": _others(folder),
    }


def _unsigned(one: Past, now: datetime, by_key: bool) -> Unsigned:
    until = timestamps.parse(str(one["finished"])) + timedelta(days=SIGNED_WITHIN_DAYS)
    return {
        "rotation_id": one["rotation_id"],
        "secret": one["secret"],
        "open": [point["id"] for point in checklist.still_open(one["checklist"])],
        "points": checklist.seen(one["checklist"]),
        "signer": one["signer"],
        "until": timestamps.text(until),
        "late": now > until,
        "by_key": by_key,
    }


def unreported(
    reports: Sequence[Report],
    hosts: Hosts,
    records: Sequence[Record],
) -> dict[str, Unreported]:
    """The rotations that hosts have committed and that no report tells the end of.

    Of those that the log has taken over from the hosts there is no report any more.
    """
    told = {str(one["rotation_id"]): one["outcome"] for one in [*filter(rotation_log.is_taken_over, records), *reports]}
    known = {*told, *(str(one["rotation_id"]) for one in records if "rotation_id" in one)}
    opened = {(said["rotation"] or {}).get("rotation_id") for said in hosts.values() if said}
    found: dict[str, Unreported] = {}
    for host, said in hosts.items():
        for rotation_id, past in (said or {"closed": {}})["closed"].items():
            ended = told.get(rotation_id, "interrupted") != "interrupted" or rotation_id in opened
            if past["outcome"] == "committed" and not ended:
                line: Unreported = {
                    "secret": past["secret"],
                    "hosts": [],
                    "begun": rotation_id in told,
                    "known": rotation_id in known,
                }
                found.setdefault(rotation_id, line)["hosts"].append(host)
    return found


def chain(folder: Path, reports: Sequence[Report], hosts: Hosts, allowed: str = "") -> Chain:
    """Return what ``rotation_log.verify`` says, what the keys say, and as ``problem`` the first that does not hold, None where all does.

    A chain that is whole may bear a signature that is none.
    """
    records = rotation_log.read(folder)
    found: Chain = {
        "records": len(records),
        "sealed": 0,
        "head": {},
        "signatures": "not looked at",
        "problem": None,
    }
    try:
        found |= rotation_log.verify(folder, heads(folder, reports) | anchors(hosts, records))
        found["signatures"] = signatures.told(folder / rotation_log.LINES, records, allowed)
    except KeyturnError as error:
        found["problem"] = str(error)
    return found


def heads(folder: Path, reports: Sequence[Report]) -> dict[str, Head]:
    """Return what was the head of the log once, by who has kept it: each report, and the last status."""
    form = {"log?": {"head?": {"number?": int, "hash?": str}}}
    kept = (durable.read_json(folder / "status.json", form) or {}).get("log", {}).get("head", {})
    return report.heads(reports) | ({"status.json": kept} if "hash" in kept else {})


def anchors(hosts: Hosts, records: Sequence[Record]) -> dict[str, Head]:
    """Return what was the head of the log when a rotation was begun that stands in it, by the journal of each host.

    Who writes the log and the reports anew does not reach the hosts. Nothing can be said of a rotation that only another log knows,
    nor of one from before this log was begun anew, as its first record then says.
    """
    begun = records[0]["at"].translate(COMPACT) if records and "taken_over" in records[0] else ""
    known = {
        one["rotation_id"]
        for one in records
        if one.get("event") in (None, "started", "ended")
        or (rotation_log.is_taken_over(one) and one["rotation_id"] >= begun)
    }
    found = {}
    for host, said in hosts.items():
        for past in [*said["closed"].values(), said["rotation"] or {}] if said else []:
            head = past.get("log_head")
            if past.get("rotation_id") in known and head:
                found[f"{host}, in the journal of {past['rotation_id']}"] = head
    return found


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


def case_of(folder: Path, document: Report, entry: Entry, records: checklist.Records) -> Case:
    """Return the rotation of a report, with the ``entry`` of its secret, for the checklist."""
    told = outbox.sent(folder, f"sessions_invalidated-{document['rotation_id']}*", "users")
    return Case(document, entry, records, told)


def _past(
    folder: Path,
    document: Report,
    secrets: Secrets,
    policy: Policy,
    records: checklist.Records,
) -> Past:
    """One rotation of the past; of one that has not committed there is no checklist."""
    committed = document["outcome"] in rotation_log.COMMITTED and document["secret"] in secrets
    points: list[Point] = []
    if committed:
        points = checklist.points(policy["checklist"], case_of(folder, document, secrets[document["secret"]], records))
    return {
        "rotation_id": document["rotation_id"],
        "secret": document["secret"],
        "title": document["title"],
        "outcome": document["outcome"],
        "started": document["started"],
        "finished": document["finished"],
        "reason": document["reason"],
        "operator": document["operator"],
        "downtime_seconds": lives.longest(document),
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
