"""The audit trail of an environment: a chain of JSON lines, and the policy's Markdown table made from it.

Every record bears its number, the hash of the record before it and its own. A record that was changed does not have its hash
any more, one that was taken out or moved breaks the chain at its place, and a tail that was cut off is missed by the reports,
which keep the hash that was the log's head. The first record seals what stands before it: nothing, or the lines of a log that
was written without a chain.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

from ..base import durable, files, shape, timestamps
from ..base.errors import KeyturnError
from ..base.shown import cell, clipped
from ..host.journal import Head, JournalRecord, Marks, utc_now
from ..host.probes import holds
from ..inputs import persons
from ..inputs.request import Plan
from .shapes import Chain, Report

SCHEMA = 2
TAKEN_OVER = "taken over from hosts"
LINES = "rotation-log.jsonl"
TABLE = "rotation-log.md"
HEAD = (
    "| Date | Key Type | Reason | Rotated By | Verified By |\n|------|----------|--------|------------|-------------|\n"
)
COMMITTED = ("committed", "committed_with_exclusions", "committed_unproved")
NAMED = {
    "rotation_id": timestamps.ROTATION_ID,
    **dict.fromkeys(("secret", "environment", "reason"), str),
    "variables": [str],
}
LOGIN = {"login?": {"*": str}}
ATTEMPT = {"id": str, "controller": str, "pid": int, "process?": object}
ENDED = {
    **dict.fromkeys(("outcome", "started", "rotated_by", "verified_by"), str),
    **NAMED,
    "finished?": (None, timestamps.SHAPE),
    **{key: {"*": str} for key in ("excluded?", "overrides?", "lost_writes?")},
    **LOGIN,
}
# what every reader of a record may rest on, by its event; a log without a chain has ends only
RECORD = (
    {"event": "started", "attempt": ATTEMPT, "at": timestamps.SHAPE, "by": str, **LOGIN, **NAMED},
    {"event": "ended", "attempt?": ATTEMPT, "number": int, "hash": str, **ENDED},
    {"event": ("revoked", "tokens_replaced", TAKEN_OVER), **ENDED},
    {
        "event": "signed",
        "rotation_id": timestamps.ROTATION_ID,
        "signer": str,
        "at": timestamps.SHAPE,
        "points": {"*": str},
        "signature?": str,
        **LOGIN,
    },
    {"event": re.compile("setup|closed|cut off"), "at": timestamps.SHAPE},
    {"event?": None, **ENDED},
)


class Attempt(TypedDict):
    """A run: a name for it, its controller, its process there and when that began (None where nobody knows)."""

    id: str
    controller: str
    pid: int
    process: list[str | float] | None


class Ended(TypedDict):
    """What the journal of a host says of the end of a rotation that was taken over from it."""

    outcome: str | None
    finished: str | None
    old: Marks | None
    new: Marks | None


class Record(TypedDict, total=False):
    """A record of the log. ``RECORD`` says which event has which of these; every other name stays in the chain as it is."""

    schema: int
    number: int
    previous: str
    hash: str
    login: Mapping[str, str]
    event: str | None
    at: str
    rotation_id: str
    secret: str
    variables: list[str]
    environment: str
    reason: str
    overrides: Mapping[str, str]
    attempt: Attempt
    by: str
    rotated_by: str
    verified_by: str
    started: str
    finished: str | None
    outcome: str
    failure: str | None
    hosts: list[str] | dict[str, Ended]
    excluded: Mapping[str, str]
    lost_writes: Mapping[str, str]
    signer: str
    points: Mapping[str, str]
    signature: str
    taken_over: str
    taken_over_by: str
    bytes: int
    sha256: str


Seal = Callable[[bytes], str]


def setup(environment: str, at: str) -> Record:
    """Return the first record of an environment, the policy's "Initial Setup"."""
    return {"event": "setup", "at": at, "environment": environment}


def started(plan: Plan) -> Record:
    """Return the record of an attempt that begins."""
    return {
        "event": "started",
        "attempt": plan["attempt"],
        "at": utc_now(),
        "by": plan["operator"],
        **_named(plan),
    }


def named(document: Plan | Report | Record) -> Record:
    """Return what each record of a rotation says: which it is."""
    return {
        "rotation_id": document["rotation_id"],
        "secret": document["secret"],
        "variables": document["variables"],
        "environment": document["environment"],
        "reason": document["reason"],
    }


def _named(document: Plan | Report | Record) -> Record:
    """What each record of an attempt says: which rotation it is, and what a person has overridden for it."""
    overrides = document.get("overrides")
    found = named(document)
    if overrides:
        found["overrides"] = overrides
    return found


def record(report: Report, attempt: Attempt) -> Record:
    """Return the record of an attempt that has ended, from its report."""
    lines = [line for host in report["hosts"].values() for line in host.get("proofs", [])]
    proofs = [line for line in lines if line["verdict"] != "not configured"]
    passed = sum(holds(line) for line in proofs)
    lost = {name: host["lost_writes"] for name, host in report["hosts"].items() if "lost_writes" in host}
    found: Record = {"lost_writes": lost} if lost else {}
    return {
        **found,
        "event": "ended",
        "attempt": attempt,
        "at": utc_now(),
        **_named(report),
        "outcome": report["outcome"],
        "failure": report["failure"],
        "started": report["started"],
        "finished": report["finished"],
        "rotated_by": report["operator"],
        "verified_by": f"keyturn, {passed} of {len(proofs)} proofs" if proofs else "nobody",
        "hosts": sorted(report["hosts"]),
        "excluded": {name: host["excluded"] for name, host in report["hosts"].items() if "excluded" in host},
    }


def killed(begun: Record, found_by: str) -> Record:
    """Return the record that ends an attempt whose run was killed: the run that found it writes it."""
    return {
        "event": "ended",
        "attempt": begun["attempt"],
        "at": utc_now(),
        **_named(begun),
        "outcome": "killed",
        "failure": f"the run ended without a word; found by {found_by}",
        "started": begun["at"],
        "finished": None,
        "rotated_by": begun["by"],
        "verified_by": "nobody",
        "hosts": [],
        "excluded": {},
    }


def taken_over(
    rotation_id: str, told: Mapping[str, JournalRecord], environment: str, reason: str, operator: str
) -> Record:
    """Return the record of a rotation of which only its hosts know: what the journal of each says of its end."""
    (first, *_) = told.values()
    outcomes = {str(past["outcome"]) for past in told.values()}
    return {
        "event": TAKEN_OVER,
        "at": utc_now(),
        "rotation_id": rotation_id,
        "secret": first["secret"],
        "variables": sorted(first["new"] or first["old"] or {}),
        "environment": environment,
        "reason": f"the log was begun anew from the hosts: {reason}",
        "outcome": outcomes.pop() if len(outcomes) == 1 else "not the same everywhere",
        "started": timestamps.of_id(rotation_id),
        "finished": max((past["finished"] for past in told.values() if past["finished"]), default=None),
        "rotated_by": "not known any more",
        "verified_by": f"the journals of {', '.join(told)}",
        "taken_over_by": operator,
        "hosts": {
            host: {
                "outcome": past["outcome"],
                "finished": past["finished"],
                "old": past["old"],
                "new": past["new"],
            }
            for host, past in told.items()
        },
    }


def is_taken_over(entry: Record) -> bool:
    """Tell whether a record was taken over from hosts."""
    return bool(entry.get("event") == TAKEN_OVER)


def begin_anew(folder: Path, entries: Sequence[Record]) -> None:
    """Append the first records of a log; KeyturnError where one is there."""
    with _locked(folder) as log:
        if log.before or log.torn:
            raise KeyturnError(f"{log.path} is a log already, and goes on: nothing was written")
        for entry in entries:
            log.append(entry)


def unended(records: Sequence[Record]) -> list[Record]:
    """Return the beginnings of attempts that have no end: at work, or killed."""
    ended = {entry["attempt"]["id"] for entry in records if entry.get("event") == "ended" and "attempt" in entry}
    return [entry for entry in records if entry.get("event") == "started" and entry["attempt"]["id"] not in ended]


def outcomes(records: Sequence[Record]) -> dict[str, str]:
    """Return by rotation the outcome that was written last, be it of an attempt or of what followed, such as a revocation."""
    return {one["rotation_id"]: str(one["outcome"]) for one in records if one.get("outcome")}


def has_begun(records: Sequence[Record], plan: Plan) -> bool:
    """Tell whether an earlier attempt of a plan's rotation has begun, and was not refused; what only hosts have told does not count."""
    mine, attempt = plan["rotation_id"], plan["attempt"]["id"]
    told = [one for one in records if one.get("rotation_id") == mine and not is_taken_over(one)]
    earlier = [one for one in told if one.get("attempt", {}).get("id") != attempt]
    return bool(earlier) and outcomes(earlier).get(mine) != "refused"


def begin(folder: Path, entry: Record, alive: Callable[[Attempt], bool]) -> Record:
    """Append the beginning of an attempt, after the ends of those that were killed, and return its record.

    ``alive`` tells whether an attempt's run is still at work, as far as that can be seen from this controller. One of another
    controller is taken for dead only when the same rotation is taken up again: its hosts let nobody else in.
    """
    with _locked(folder) as log:
        for old in unended(_known(log.records)):
            here = old["attempt"]["controller"] == entry["attempt"]["controller"]
            if not alive(old["attempt"]) if here else old["rotation_id"] == entry["rotation_id"]:
                log.append(killed(old, f"attempt {entry['attempt']['id']}"))
        return log.append(entry)


def end_killed(folder: Path, rotation_id: str, found_by: str) -> None:
    """Append the end of each attempt of a rotation that has none."""
    with _locked(folder) as log:
        for old in unended(log.records):
            if old["rotation_id"] == rotation_id:
                log.append(killed(old, found_by))


def append(folder: Path, entry: Record, seal: Seal | None = None) -> Record:
    """Append one record durably, render the table anew, and return the record as it stands.

    A repetition adds nothing, unless it is sealed: ``seal`` returns the signature of a record, which stands in it.
    """
    with _locked(folder) as log:
        # the log never gets shorter, and one that is too long is read no more: a host may have written what has stopped it
        plain = json.loads(json.dumps(entry))
        said = {name: clipped(one) if isinstance(one, str) else one for name, one in plain.items()}
        for old in log.records if seal is None else ():
            if all(old.get(name) == said[name] for name in said if name != "at"):
                return old
        return log.append(cast(Record, said), seal)


class _Log:
    """The log while its lock is held."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        content = _content(path)
        end = content.rfind(b"\n") + 1
        self.torn = content[end:]
        self.before = content[:end]
        self.records = _readable(self.before)

    def append(self, entry: Record, seal: Seal | None = None) -> Record:
        """Write one record behind the others; where that fails nothing is left of it."""
        if self.torn:
            # a kill has cut off a record that nobody had been told of; what was there is told
            torn, self.torn = self.torn, b""
            os.ftruncate(self.fd, len(self.before))
            digest = hashlib.sha256(torn).hexdigest()
            self.append({"event": "cut off", "at": utc_now(), "bytes": len(torn), "sha256": digest})
        last = self.records[-1] if self.records else {}
        chained: Record = {
            "schema": SCHEMA,
            "number": self.before.count(b"\n") + 1,
            "previous": last.get("hash") or hashlib.sha256(self.before).hexdigest(),
            "login": persons.login(os.environ),
            **entry,
        }
        if seal is not None:
            chained["signature"] = seal(signed_part(chained))
        line = {**chained, "hash": digest_of(chained)}
        data = json.dumps(line, sort_keys=True).encode() + b"\n"
        size = len(self.before)
        try:
            written = os.write(self.fd, data)
            if written != len(data):
                raise OSError(28, "the record was not written whole", str(self.path))
            os.fsync(self.fd)
        except OSError:
            os.ftruncate(self.fd, size)
            raise
        self.before += data
        self.records.append(json.loads(data))
        return self.records[-1]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[_Log]:
    """Hold the log: writers come one after another. The table is rendered at the end, also after a kill between the two."""
    durable.make_reports_folder(folder)
    path = folder / LINES
    new = not path.exists()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        durable.narrow(fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if new:
            durable.sync_folder(folder)
        log = _Log(path, fd)
        yield log
        _write_changed(folder / TABLE, table(_known(log.records)).encode())
    finally:
        os.close(fd)


def _write_changed(path: Path, content: bytes) -> None:
    if not path.exists() or files.read(path, durable.MOST_BYTES) != content:
        durable.write_file(path, content)


def digest_of(entry: Mapping[str, object]) -> str:
    """Return the hash of a record, over everything but the hash itself."""
    return hashlib.sha256(_without(entry, "hash")).hexdigest()


def signed_part(entry: Mapping[str, object]) -> bytes:
    """Return what a signature of a record is over: everything but itself and the hash."""
    return _without(entry, "hash", "signature")


def _without(entry: Mapping[str, object], *names: str) -> bytes:
    return json.dumps({key: value for key, value in entry.items() if key not in names}, sort_keys=True).encode()


def read(folder: Path) -> list[Record]:
    """Return all records that can be read, the oldest first; none where there is no log."""
    return _known(_readable(_content(folder / LINES)))


def _content(path: Path) -> bytes:
    """Return the log as it is, empty where there is none."""
    return files.read(path, durable.MOST_BYTES) if path.exists() else b""


def _known(records: Sequence[Record]) -> list[Record]:
    """Return the records that tell what their event tells; the others are no news of ours, and stay in the chain."""
    return [entry for entry in records if not any(shape.misfits("", RECORD, entry))]


def _readable(content: bytes) -> list[Record]:
    """A line that is no record must not keep later ones from being read; ``verify`` names it."""
    entries = map(shape.parse, content.splitlines())
    return [cast(Record, entry) for entry in entries if isinstance(entry, dict)]


def head(records: Sequence[Record]) -> Head:
    """Return number and hash of the last record, for a report or somebody outside; nothing where none is chained."""
    last = records[-1] if records else {}
    return {"number": last["number"], "hash": last["hash"]} if {"number", "hash"} <= last.keys() else {}


def verify(folder: Path, heads: Mapping[str, Head]) -> Chain:
    """Follow the chain. Returns ``records``, ``sealed`` (lines older than the chain), ``head``; KeyturnError names the first break.

    ``heads`` are what was the head once, by who says so (a report, a person): number, or none where that is not known, and hash.
    """
    path = folder / LINES
    content = _content(path)
    hashes: dict[int, str] = {}
    sealed = 0
    before = b""
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        entry = _record(path, number, line)
        if entry is None and not hashes:
            sealed, before = number, before + line
            continue
        if entry is None:
            raise KeyturnError(
                f"{path}, record {number} is no record of the chain: somebody edited it, or a write was cut off"
            )
        _check_link(path, number, entry, hashes.get(number - 1) or hashlib.sha256(before).hexdigest())
        hashes[number] = entry["hash"]
    _check_heads(path, hashes, heads)
    last = max(hashes, default=0)
    return {"records": len(hashes), "sealed": sealed, "head": {"number": last, "hash": hashes[last]} if last else {}}


def _record(path: Path, number: int, line: bytes) -> Record | None:
    entry = shape.parse(line)
    chained = isinstance(entry, dict) and line.endswith(b"\n") and entry.get("schema") == SCHEMA
    return cast(Record, entry) if chained else None


def _check_link(path: Path, number: int, entry: Record, previous: str) -> None:
    where = f"{path}, record {number}"
    if digest_of(entry) != entry.get("hash"):
        raise KeyturnError(f"{where} was changed after it was written: its hash is another")
    if entry.get("number") != number:
        raise KeyturnError(
            f"{where} bears the number {entry.get('number')}: records before it were taken out, added or moved"
        )
    if entry.get("previous") != previous:
        raise KeyturnError(f"{where} does not follow the record before it: that one was changed or replaced")


def _check_heads(path: Path, hashes: Mapping[int, str], heads: Mapping[str, Head]) -> None:
    for who, said in sorted(heads.items(), key=lambda item: item[1].get("number", 0)):
        number = said.get("number")
        held = hashes.get(number) if number is not None else said["hash"] if said["hash"] in hashes.values() else None
        if held != said["hash"]:
            place = f"record {number}" if number is not None else "a record"
            what = "is another" if held else "is missing: the end of the log was cut off"
            raise KeyturnError(
                f"{path}, {place} with the hash {said['hash'][:12]} was the head of the log for {who}, and {what}"
            )


def table(records: Sequence[Record]) -> str:
    """Return the policy's Markdown table, the oldest rotation first."""
    signers = {
        entry["rotation_id"]: persons.with_login(entry["signer"], entry.get("login", {}))
        for entry in records
        if entry.get("event") == "signed"
    }
    rows = []
    for entry in records:
        if entry.get("event") == "setup":
            rows.append(f"| {entry['at'][:10]} | Initial Setup | N/A | System | System |\n")
        # a log without a chain has ends only
        if entry.get("event", "ended") not in ("ended", "revoked", "tokens_replaced", TAKEN_OVER):
            continue
        remarks = [] if entry["outcome"] == "committed" else [entry["outcome"]]
        remarks += [f"without {host}: {why}" for host, why in entry.get("excluded", {}).items()]
        remarks += [f"{host} lost what was written {what}" for host, what in entry.get("lost_writes", {}).items()]
        remarks += [f"overridden {name}: {why}" for name, why in entry.get("overrides", {}).items()]
        reason = f"{entry['reason']} ({', '.join(remarks)})" if remarks else entry["reason"]
        signer = signers.get(entry["rotation_id"]) if entry["outcome"] in COMMITTED else None
        cells = [
            entry["started"][:10],
            ", ".join(entry["variables"]),
            reason,
            persons.with_login(entry["rotated_by"], entry.get("login", {})) if _wrote(entry) else entry["rotated_by"],
            f"{signer} ({entry['verified_by']})" if signer else entry["verified_by"],
        ]
        rows.append("| " + " | ".join(cell(text) for text in cells) + " |\n")
    return HEAD + "".join(rows)


def _wrote(entry: Record) -> bool:
    """Tell whether who has rotated has also written the record: the login in it is theirs."""
    return entry.get("event") in ("ended", "tokens_replaced") and entry["outcome"] != "killed"
