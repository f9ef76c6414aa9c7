"""The audit trail of an environment: one JSON line for each rotation, and the policy's Markdown table made from it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import durable
from .errors import KeyturnError
from .probes import holds

SCHEMA = 1
LINES = "rotation-log.jsonl"
TABLE = "rotation-log.md"
HEAD = (
    "| Date | Key Type | Reason | Rotated By | Verified By |\n|------|----------|--------|------------|-------------|\n"
)


def record(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the log's record of a report."""
    fields = (
        "rotation_id",
        "secret",
        "variables",
        "environment",
        "reason",
        "outcome",
        "failure",
        "started",
        "finished",
    )
    lines = [line for host in report["hosts"].values() for line in host.get("proofs", [])]
    proofs = [line for line in lines if line["verdict"] != "not configured"]
    passed = sum(holds(line) for line in proofs)
    return {
        "schema": SCHEMA,
        **{name: report[name] for name in fields},
        "rotated_by": report["operator"],
        "verified_by": f"keyturn, {passed} of {len(proofs)} proofs" if proofs else "nobody",
        "hosts": sorted(report["hosts"]),
        "excluded": {name: host["excluded"] for name, host in report["hosts"].items() if "excluded" in host},
        **({"overrides": report["overrides"]} if "overrides" in report else {}),
    }


def append(folder: Path, entry: Mapping[str, Any]) -> Path:
    """Append one record durably, render the table anew, and return the log's path. A repetition adds nothing.

    A record that a kill cut off at the end is completed by the newline that keeps it apart; ``read`` names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LINES
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        written = _readable(path)
        if not any((old["rotation_id"], old["outcome"]) == (entry["rotation_id"], entry["outcome"]) for old in written):
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            line = json.dumps(entry, sort_keys=True).encode() + b"\n"
            os.write(fd, b"\n" + line if torn else line)
            os.fsync(fd)
            written.append(dict(entry))
        # also for a repetition: the call before may have been killed between the two files
        _write_changed(folder / TABLE, table(written).encode())
    finally:
        os.close(fd)
    return path


def _write_changed(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        durable.write_file(path, content)


def read(path: Path) -> list[dict[str, Any]]:
    """Return all records; KeyturnError names the first line that is none."""
    records = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            raise KeyturnError(
                f"{path}, line {number} is not a record: a write was cut off, or somebody edited it"
            ) from None
        records.append(entry)
    return records


def _readable(path: Path) -> list[dict[str, Any]]:
    """Return the records that can be read: a line that was cut off must not keep later rotations out of the log."""
    records = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return records


def table(records: list[dict[str, Any]]) -> str:
    """Return the policy's Markdown table, the oldest rotation first."""
    rows = []
    for entry in records:
        remarks = [] if entry["outcome"] == "committed" else [entry["outcome"]]
        remarks += [f"without {host}: {why}" for host, why in entry.get("excluded", {}).items()]
        reason = f"{entry['reason']} ({', '.join(remarks)})" if remarks else entry["reason"]
        cells = [
            entry["started"][:10],
            ", ".join(entry["variables"]),
            reason,
            entry["rotated_by"],
            entry["verified_by"],
        ]
        rows.append("| " + " | ".join(_cell(text) for text in cells) + " |\n")
    return HEAD + "".join(rows)


def _cell(text: str) -> str:
    """Return text that stays in its cell, whatever it holds: the name of a pipeline's actor comes from outside."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
