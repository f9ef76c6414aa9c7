"""The policy's verification checklist of a rotation: each point has a machine's evidence or a person's, or it is open.

A point is ``proved`` (by the machine), ``signed`` (by a person), ``not applicable``, or ``open`` with what there is to do.
The report and the log say everything, so a point is never stored: it is seen anew whenever somebody asks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..base.errors import KeyturnError
from ..host.probes import holds
from ..inputs import persons
from ..inputs.catalogue import Entry
from . import rotation_log
from .rotation_log import Record
from .shapes import HostReport, Point, Report, Wanted

DOWNTIME: Wanted = {"id": "downtime", "text": "Downtime within budget"}
# what stands in a printed command for what a person says
SIGNER, SEEN = "NAME", "WHAT WAS SEEN"
WORKING = ("http", "token", "provider", "account", "log line", "command")
OLD_IS_DEAD = ("rows", "token of the other secret")
Records = Sequence[Record]


class Case(NamedTuple):
    """What is looked at: a rotation's report, its entry of the catalogue, the records of the log, and who has told the users."""

    report: Report
    entry: Entry
    records: Records
    told: Sequence[str]

    def hosts(self) -> dict[str, HostReport]:
        """The hosts that no person has left out."""
        return {name: host for name, host in self.report["hosts"].items() if "excluded" not in host}

    def proofs(self, kinds: Sequence[str]) -> list[tuple[str, Mapping[str, str]]]:
        """The lines of evidence of some kinds that were really asked, with the host."""
        return [
            (name, line)
            for name, host in self.hosts().items()
            for line in host.get("proofs", [])
            if line["proof"] in kinds and line["verdict"] != "not configured"
        ]


def points(wanted: Sequence[Wanted], case: Case) -> list[Point]:
    """Return the points of the policy (``wanted``: id and text) and the downtime, with state and evidence."""
    said = _by_persons(case)
    found: list[Point] = []
    for point in [*wanted, DOWNTIME]:
        state, detail = EVIDENCE[point["id"]](case) if point["id"] in EVIDENCE else ("open", "look, then sign it")
        if state == "open" and point["id"] in said:
            state, detail = "signed", said[point["id"]]
        found.append({"id": point["id"], "text": point["text"], "state": state, "detail": detail})
    return found


def still_open(all_points: Sequence[Point]) -> list[Point]:
    """Return the points that nobody has evidence for."""
    return [point for point in all_points if point["state"] == "open"]


def seen(all_points: Sequence[Point]) -> list[str]:
    """Return the points that only a person can see; of the others that are open the detail names the playbook that shows it."""
    return [point["id"] for point in still_open(all_points) if ".yml" not in point["detail"]]


def signing(rotation_id: str, seen: Sequence[str], by_key: bool) -> str:
    """Return what a second person runs, from a login of their own or with a key; ``seen`` are the points that only a person can see."""
    key = " -e keyturn_signing_key=KEY" if by_key else ""
    points = f" -e '{json.dumps({'keyturn_points': dict.fromkeys(seen, SEEN)})}'" if seen else ""
    return f"sign_off.yml -e keyturn_rotation_id={rotation_id} -e keyturn_signer={SIGNER}{key}{points}"


def confirming(secret: str) -> str:
    """Return what asks the provider whether the old credential is dead."""
    return f"confirm_revoked.yml -e keyturn_secret={secret}"


def closing(rotation_id: str) -> str:
    """Return what closes a checklist that is signed."""
    return f"close_rotation.yml -e keyturn_rotation_id={rotation_id}"


def signer(records: Records, rotation_id: str) -> str:
    """Return who signed a rotation last, empty if nobody has."""
    return next((str(entry["signer"]) for entry in reversed(records) if _is(entry, "signed", rotation_id)), "")


def closed(records: Records, rotation_id: str) -> bool:
    """Tell whether a rotation's checklist was closed."""
    return any(_is(entry, "closed", rotation_id) for entry in records)


def unsigned(records: Records) -> list[str]:
    """Return the committed rotations whose checklist nobody has closed; those of before the chain are left alone."""
    done = [
        str(entry["rotation_id"])
        for entry in records
        if entry.get("event") == "ended" and entry["outcome"] in rotation_log.COMMITTED
    ]
    return [rotation_id for rotation_id in dict.fromkeys(done) if not closed(records, rotation_id)]


def sign(case: Case, name: str, notes: Mapping[str, str], wanted: Sequence[Wanted], login: persons.Login) -> Record:
    """Return the record of a signature; KeyturnError when it may not be given.

    ``notes`` are what the person has seen, by the point; ``login`` is whose login it is that signs, empty where a key will say who.
    """
    _check_committed(case)
    if not persons.normal(name) or name.strip() == SIGNER:
        said = SIGNER if name.strip() == SIGNER else "empty"
        raise KeyturnError(f"keyturn_signer is {said}: name the person who has verified the rotation")
    rotation_id = case.report["rotation_id"]
    rotated = {persons.normal(who): who for who in (case.report["operator"], *rotators(case.records, rotation_id))}
    if persons.normal(name) in rotated:
        raise KeyturnError(
            f"{name} has rotated, so somebody else must verify: name that person by keyturn_signer; nothing was signed"
        )
    if same := [who for who in persons.said(login) if persons.normal(who) in rotated]:
        raise KeyturnError(
            f"{name} would be signed from the login that has rotated ({', '.join(same)}), so somebody else must verify, from a login of "
            "their own or with a key (keyturn_allowed_signers); nothing was signed"
        )
    known = {point["id"]: point for point in points(wanted, case)}
    unknown = sorted(set(notes) - set(known))
    if unknown:
        raise KeyturnError(f"keyturn_points names {', '.join(unknown)}; the points are {', '.join(known)}")
    empty = sorted(point for point, note in notes.items() if str(note).strip() in ("", SEEN))
    if empty:
        raise KeyturnError(f"keyturn_points says nothing of {', '.join(empty)}: say what was seen")
    return {
        "event": "signed",
        **_of(case),
        "signer": " ".join(name.split()),
        "points": {point: " ".join(str(note).split()) for point, note in notes.items()},
    }


def rotators(records: Records, rotation_id: str) -> list[str]:
    """Return every name of who has rotated, in any attempt: those that were typed, and what their logins say."""
    begun = [entry for entry in records if _is(entry, "started", rotation_id)]
    ended = [entry for entry in records if _is(entry, "ended", rotation_id)]
    typed = [str(entry["by"]) for entry in begun] + [str(entry["rotated_by"]) for entry in ended]
    # not the login of an end: of an attempt that was killed it is that of who has found it
    logins = [who for entry in begun for who in persons.said(entry.get("login", {}))]
    return [*dict.fromkeys([*typed, *logins])]


def close(case: Case, wanted: Sequence[Wanted], by_key: bool = False) -> Record:
    """Return the record that closes the checklist; KeyturnError names the points that are open.

    ``by_key`` tells whether a person signs with a key.
    """
    _check_committed(case)
    found = points(wanted, case)
    left = still_open(found)
    lines = [f"{point['id']} ({point['text']}): {point['detail']}" for point in left]
    if not signer(case.records, case.report["rotation_id"]):
        lines.append(f"nobody has signed: run {signing(case.report['rotation_id'], seen(found), by_key)}")
    if lines:
        raise KeyturnError(f"rotation {case.report['rotation_id']} stays unsigned: {'; '.join(lines)}")
    return {"event": "closed", **_of(case)}


def _check_committed(case: Case) -> None:
    if case.report["outcome"] not in rotation_log.COMMITTED:
        raise KeyturnError(
            f"rotation {case.report['rotation_id']} is {case.report['outcome']}: only a committed one has a checklist"
        )


def _of(case: Case) -> Record:
    return rotation_log.named(case.report)


def _is(entry: Record, event: str, rotation_id: str) -> bool:
    return (entry.get("event"), entry.get("rotation_id")) == (event, rotation_id)


def _by_persons(case: Case) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in case.records:
        if _is(entry, "signed", case.report["rotation_id"]):
            found |= {point: f"{entry['signer']}: {note}" for point, note in entry["points"].items()}
    return found


# -- the evidence of each point ----------------------------------------------------------------------------------------

Said = tuple[str, str]


def _works_everywhere(case: Case) -> Said:
    away = [name for name, host in case.report["hosts"].items() if "excluded" in host]
    if away:
        return "open", f"{', '.join(away)} was left out: bring it on the new value, or say why it never comes back"
    bad = [f"{name}: {line['proof']}" for name, line in case.proofs(_all_kinds(case)) if not holds(line)]
    bad += [
        f"{name} (nothing could show it: {host['unproved']})"
        for name, host in case.hosts().items()
        if "unproved" in host
    ]
    behind = [name for name, host in case.hosts().items() if host.get("outcome") != "committed"]
    if bad or behind or not case.hosts():
        return "open", f"not proved: {', '.join([*bad, *behind]) or 'no host took part'}"
    count = len(case.proofs(_all_kinds(case)))
    return "proved", f"{len(case.hosts())} of {len(case.hosts())} hosts, {count} proofs"


def _all_kinds(case: Case) -> tuple[str, ...]:
    return tuple({line["proof"] for host in case.hosts().values() for line in host.get("proofs", [])})


def _old_deactivated(case: Case) -> Said:
    kept = [
        f"{name}: {line}"
        for name, host in case.hosts().items()
        for line in (host.get("evidence") or {}).get("readers", [])
    ]
    if kept:
        return "open", f"{'; '.join(kept)}: restart what keeps the old value, then sign it"
    if case.entry["retire"]["kind"] == "revoke":
        for entry in case.records:
            if (entry.get("rotation_id"), entry.get("outcome")) == (case.report["rotation_id"], "revoked"):
                return "proved", str(entry["verified_by"])
        return "open", f"{'; '.join(case.entry['retire']['steps'])}; then run {confirming(case.report['secret'])}"
    lines = case.proofs(OLD_IS_DEAD)
    if {name for name, _ in lines} == set(case.hosts()) and all(holds(line) for _, line in lines):
        return "proved", f"{lines[0][1]['detail']} ({lines[0][0]})" if len(case.hosts()) == 1 else _on_all(lines)
    return "open", "no proof asked for the old value: see that it is refused, then sign it"


def _on_all(lines: Sequence[tuple[str, Mapping[str, str]]]) -> str:
    kinds = sorted({line["proof"] for _, line in lines})
    return f"{' and '.join(kinds)}, on {len({name for name, _ in lines})} hosts"


def _logs_clean(case: Case) -> Said:
    logs = {name: (host.get("evidence") or {}).get("logs") for name, host in case.hosts().items()}
    missing = [name for name, services in logs.items() if not services or any(one is None for one in services.values())]
    if missing:
        return "open", f"no log of {', '.join(missing)} can be read by keyturn: read it, then sign it"
    found = [
        f"{count} x {kind} ({service} on {name})"
        for name, services in logs.items()
        for service, kinds in (services or {}).items()
        for kind, count in (kinds or {}).items()
    ]
    if found:
        return "open", f"{', '.join(found)}: see whether they come from the rotation, then sign it"
    return "proved", f"none of the known error lines since the start, on {len(logs)} hosts"


def _integrations(case: Case) -> Said:
    lines = case.proofs(WORKING)
    if {name for name, _ in lines} == set(case.hosts()) and all(holds(line) for _, line in lines):
        return "proved", "; ".join(dict.fromkeys(line["detail"] for _, line in lines))
    return (
        "open",
        "no proof asked the application's API on every host (proof_path, keyturn_checks): try it, then sign it",
    )


def _users_notified(case: Case) -> Said:
    if case.entry["sessions"] == "kept":
        return "not applicable", "sessions are kept"
    if case.told:
        return "proved", "; ".join(case.told)
    return (
        "open",
        "every session has ended, and no channel for users took the message: tell them to sign in again, then sign it",
    )


def _logged(case: Case) -> Said:
    for entry in case.records:
        same = _is(entry, "ended", case.report["rotation_id"]) and entry["outcome"] in rotation_log.COMMITTED
        if same:
            return "proved", f"record {entry['number']}, {entry['hash'][:12]}"
    return "open", "the log has no record of its end: run resume.yml"


def _backup(case: Case) -> Said:
    if case.entry["migration"]["kind"] == "none":
        return "not applicable", "no data depends on the value"
    drills = {name: (host.get("evidence") or {}).get("backup") for name, host in case.hosts().items()}
    bad = [
        f"{name}: {(drill or {}).get('failure', 'not tried')}"
        for name, drill in drills.items()
        if not (drill or {}).get("ok")
    ]
    if bad:
        return (
            "open",
            f"restore drill: {'; '.join(bad)}: open the backup by hand, in another place: the database has newer rows; then sign it",
        )
    rows = sum(drill["rows"] for drill in drills.values() if drill)
    return (
        "proved",
        f"restore drill: all {rows} rows in the backups of {len(drills)} hosts open under the previous value",
    )


def _downtime(case: Case) -> Said:
    budget = case.report["downtime_budget_seconds"]
    over = [name for name, host in case.hosts().items() if host.get("downtime_seconds", 0) > budget]
    if over:
        return "open", f"{', '.join(over)} was down for longer than {budget} s: find out why, then sign it"
    longest = max((host.get("downtime_seconds", 0.0) for host in case.hosts().values()), default=0.0)
    return "proved", f"{longest:.1f} s at most, of {budget} s"


EVIDENCE: dict[str, Callable[[Case], Said]] = {
    "works_everywhere": _works_everywhere,
    "old_deactivated": _old_deactivated,
    "logs_clean": _logs_clean,
    "integrations": _integrations,
    "users_notified": _users_notified,
    "logged": _logged,
    "backup": _backup,
    "downtime": _downtime,
}

MARKS = {"proved": "[x]", "signed": "[x]", "not applicable": "[-]", "open": "[ ]"}


def text(all_points: Sequence[Point]) -> list[str]:
    """Return the checklist for a person, a line for each point."""
    return [f"{MARKS[point['state']]} {point['text']}: {point['detail']}" for point in all_points]
