"""Follow the part of a rotation log that lies here: python3 -I verify_chain.py. It needs Python 3.8 or newer, and nothing else.

A record's hash is the SHA-256 of its JSON without the hash, as Python's json.dumps(record, sort_keys=True) writes it. Each record has its
number and, as "previous", the hash of the record before it; the first of a log has the SHA-256 of the lines that stood there before.
What a person has signed is the record without hash and signature. This file goes into every pack of evidence_pack.yml as it is.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Iterator  # noqa: UP035 - an auditor's Python may be an old one

SCHEMA = 2


def part(record: dict[str, Any], *without: str) -> bytes:
    """Return a record without some of its names, as its hash and its signature see it."""
    return json.dumps({name: said for name, said in record.items() if name not in without}, sort_keys=True).encode()


def parsed(line: bytes) -> Any:
    """Return what a line says; nothing where that is no record of the chain."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def chain(lines: list[bytes], records: dict[int, Any]) -> Iterator[str]:
    """Yield what is wrong with the chain, and put each record under its number."""
    before, previous = b"", ""
    for place, line in enumerate(lines, 1):
        record = parsed(line)
        if record is None and not records:
            before += line
            previous = hashlib.sha256(before).hexdigest()
        elif record is None:
            yield f"line {place} is no record of the chain"
        else:
            if hashlib.sha256(part(record, "hash")).hexdigest() != record.get("hash"):
                yield f"line {place} was changed after it was written: its hash is another"
            if previous and record.get("previous") != previous:
                yield f"line {place} does not follow the line before it"
            if records and record.get("number") != max(records) + 1:
                yield f"line {place} bears the number {record.get('number')}: one was taken out, added or moved"
            previous = str(record.get("hash"))
            records[int(record.get("number", 0))] = record


def signatures(folder: Path, records: dict[int, Any]) -> Iterator[str]:
    """Yield which file of a signature is not what stands in the log."""
    signed = {number: record for number, record in records.items() if "signature" in record}
    for number, record in signed.items():
        wanted = {"record": part(record, "hash", "signature"), "sig": record["signature"].encode()}
        wanted["signer"] = record["signer"].encode()
        wanted["at"] = "".join(sign for sign in record["at"] if sign.isdigit()).encode()
        for end, content in wanted.items():
            path = folder / "signatures" / f"{number:06}.{end}"
            if not path.is_file() or path.read_bytes() != content:
                yield f"{path} is not what record {number} says"
    for path in sorted((folder / "signatures").glob("*.record")):
        if int(path.stem) not in signed:
            yield f"{path} is of no signed record"


def reports(folder: Path, records: dict[int, Any]) -> Iterator[str]:
    """Yield which report has kept another head of the log than the log has."""
    for path in sorted((folder / "reports").glob("*.json")):
        head = json.loads(path.read_text()).get("log_head") or {}
        if head.get("number") in records and records[head["number"]]["hash"] != head["hash"]:
            yield f"{path} has kept the hash of record {head['number']} as {head['hash'][:12]}, and the log has another"


def main(folder: Path) -> int:
    """Print what is wrong, or that all is whole; return the exit code."""
    records: dict[int, Any] = {}
    lines = (folder / "rotation-log.jsonl").read_bytes().splitlines(keepends=True)
    wrong = [*chain(lines, records), *signatures(folder, records), *reports(folder, records)]
    for line in wrong:
        print(f"WRONG: {line}")
    if not wrong and records:
        first, last = records[min(records)], records[max(records)]
        print(f"whole: {len(records)} records, {first['number']} to {last['number']}")
        print(f"first follows {first['previous']}\nlast has      {last['hash']}")
    return 1 if wrong or not records else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parent))
