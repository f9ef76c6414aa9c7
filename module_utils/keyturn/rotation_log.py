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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import durable
from .errors import KeyturnError
from .journal import utc_now
from .probes import holds

SCHEMA = 2
LINES = "rotation-log.jsonl"
TABLE = "rotation-log.md"
HEAD = (
    "| Date | Key Type | Reason | Rotated By | Verified By |\n|------|----------|--------|------------|-------------|\n"
)
COMMITTED = ("committed", "committed_with_exclusions")
Record = dict[str, Any]
Attempt = Mapping[str, Any]


def started(plan: Mapping[str, Any]) -> Record:
    """Return the record of an attempt that begins."""
    return {
        "event": "started",
        "attempt": dict(plan["attempt"]),
        "at": utc_now(),
        "by": plan["operator"],
        **_named(plan),
    }


def _named(document: Mapping[str, Any]) -> Record:
    return {name: document[name] for name in ("rotation_id", "secret", "variables", "environment", "reason")}


def record(report: Mapping[str, Any], attempt: Attempt) -> Record:
    """Return the record of an attempt that has ended, from its report."""
    lines = [line for host in report["hosts"].values() for line in host.get("proofs", [])]
    proofs = [line for line in lines if line["verdict"] != "not configured"]
    passed = sum(holds(line) for line in proofs)
    return {
        "event": "ended",
        "attempt": dict(attempt),
        "at": utc_now(),
        **_named(report),
        **{name: report[name] for name in ("outcome", "failure", "started", "finished")},
        "rotated_by": report["operator"],
        "verified_by": f"keyturn, {passed} of {len(proofs)} proofs" if proofs else "nobody",
        "hosts": sorted(report["hosts"]),
        "excluded": {name: host["excluded"] for name, host in report["hosts"].items() if "excluded" in host},
        **({"overrides": report["overrides"]} if "overrides" in report else {}),
    }


def killed(begun: Mapping[str, Any], found_by: str) -> Record:
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


def unended(records: Sequence[Record]) -> list[Record]:
    """Return the beginnings of attempts that have no end: at work, or killed."""
    ended = {entry["attempt"]["id"] for entry in records if entry.get("event") == "ended" and "attempt" in entry}
    return [entry for entry in records if entry.get("event") == "started" and entry["attempt"]["id"] not in ended]


def begin(folder: Path, entry: Record, alive: Callable[[Attempt], bool]) -> Record:
    """Append the beginning of an attempt, after the ends of those that were killed, and return its record.

    ``alive`` tells whether an attempt's run is still at work, as far as that can be seen from this controller. One of another
    controller is taken for dead only when the same rotation is taken up again: its hosts let nobody else in.
    """
    with _locked(folder) as log:
        for old in unended(log.records):
            here = old["attempt"]["controller"] == entry["attempt"]["controller"]
            if not alive(old["attempt"]) if here else old["rotation_id"] == entry["rotation_id"]:
                log.append(killed(old, f"attempt {entry['attempt']['id']}"))
        return log.append(entry)


def append(folder: Path, entry: Mapping[str, Any]) -> Record:
    """Append one record durably, render the table anew, and return the record as it stands. A repetition adds nothing."""
    with _locked(folder) as log:
        said = json.loads(json.dumps(entry))
        for old in log.records:
            if all(old.get(name) == said[name] for name in said if name != "at"):
                return old
        return log.append(entry)


class _Log:
    """The log while its lock is held."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        content = path.read_bytes()
        end = content.rfind(b"\n") + 1
        self.torn = content[end:]
        self.before = content[:end]
        self.records = _readable(self.before)

    def append(self, entry: Mapping[str, Any]) -> Record:
        """Write one record behind the others; where that fails nothing is left of it."""
        if self.torn:
            # a kill has cut off a record that nobody had been told of; what was there is told
            torn, self.torn = self.torn, b""
            os.ftruncate(self.fd, len(self.before))
            digest = hashlib.sha256(torn).hexdigest()
            self.append({"event": "cut off", "at": utc_now(), "bytes": len(torn), "sha256": digest})
        last = self.records[-1] if self.records else {}
        chained = {
            "schema": SCHEMA,
            "number": self.before.count(b"\n") + 1,
            "previous": last.get("hash") or hashlib.sha256(self.before).hexdigest(),
            **entry,
        }
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
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if new:
            durable.sync_folder(folder)
        log = _Log(path, fd)
        yield log
        _write_changed(folder / TABLE, table(log.records).encode())
    finally:
        os.close(fd)


def _write_changed(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        durable.write_file(path, content)


def digest_of(entry: Mapping[str, Any]) -> str:
    """Return the hash of a record, over everything but the hash itself."""
    return hashlib.sha256(
        json.dumps({key: value for key, value in entry.items() if key != "hash"}, sort_keys=True).encode()
    ).hexdigest()


def read(folder: Path) -> list[Record]:
    """Return all records that can be read, the oldest first; none where there is no log."""
    path = folder / LINES
    return _readable(path.read_bytes()) if path.exists() else []


def _readable(content: bytes) -> list[Record]:
    """A line that is no record must not keep later ones from being read; ``verify`` names it."""
    records = []
    for line in content.splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                records.append(entry)
    return records


def head(records: Sequence[Record]) -> dict[str, Any]:
    """Return number and hash of the last record, for a report or somebody outside; nothing where none is chained."""
    last = records[-1] if records else {}
    return {name: last[name] for name in ("number", "hash")} if "hash" in last else {}


def verify(folder: Path, heads: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Follow the chain. Returns ``records``, ``sealed`` (lines of before the chain), ``head``; KeyturnError names the first break.

    ``heads`` are what was the head once, by who says so (a report, a person): number, or none where that is not known, and hash.
    """
    path = folder / LINES
    content = path.read_bytes() if path.exists() else b""
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
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and line.endswith(b"\n") and entry.get("schema") == SCHEMA else None


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


def _check_heads(path: Path, hashes: Mapping[int, str], heads: Mapping[str, Mapping[str, Any]]) -> None:
    for who, said in sorted(heads.items(), key=lambda item: item[1].get("number", 0)):
        number = said.get("number")
        held = hashes.get(number) if number is not None else said["hash"] if said["hash"] in hashes.values() else None
        if held != said["hash"]:
            place = f"record {number}" if number is not None else "a record"
            what = "is another" if held else "is missing: the end of the log was cut off"
            raise KeyturnError(
                f"{path}, {place} with the hash {said['hash'][:12]} was the head of the log for {who}, and {what}"
            )


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the policy's Markdown table, the oldest rotation first."""
    signers = {entry["rotation_id"]: entry["signer"] for entry in records if entry.get("event") == "signed"}
    rows = []
    for entry in records:
        # a log without a chain has ends only
        if entry.get("event", "ended") not in ("ended", "revoked", "tokens_replaced"):
            continue
        remarks = [] if entry["outcome"] == "committed" else [entry["outcome"]]
        remarks += [f"without {host}: {why}" for host, why in entry.get("excluded", {}).items()]
        reason = f"{entry['reason']} ({', '.join(remarks)})" if remarks else entry["reason"]
        signer = signers.get(entry["rotation_id"]) if entry["outcome"] in COMMITTED else None
        cells = [
            entry["started"][:10],
            ", ".join(entry["variables"]),
            reason,
            entry["rotated_by"],
            f"{signer} ({entry['verified_by']})" if signer else entry["verified_by"],
        ]
        rows.append("| " + " | ".join(cell(text) for text in cells) + " |\n")
    return HEAD + "".join(rows)


def cell(text: str) -> str:
    """Return text that stays in its cell, whatever it holds: the name of a pipeline's actor comes from outside."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
