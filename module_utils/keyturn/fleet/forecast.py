"""What a rotation would do to each host, as a table: what it holds, what it would hold, its rows, and how long it would be down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from ..host.journal import JournalRecord
from ..records.rotation_log import COMMITTED
from ..records.shapes import Report

# the phase of a host that was only examined
NOT_BEGUN = "not begun"
# how many of the last rotations say how long a host is down
LAST = 5
HEAD = ("host", "holds", "would hold", "rows", "down, expected")


def expected(reports: Sequence[Report], secret: str, host: str) -> str:
    """Return how long a host was down in the last rotations of a secret that have committed."""
    seconds = [
        one["hosts"][host]["downtime_seconds"]
        for one in reports
        if one["secret"] == secret and one["outcome"] in COMMITTED and "downtime_seconds" in one["hosts"].get(host, {})
    ][-LAST:]
    if not seconds:
        return "not known yet"
    return f"{median(seconds):.1f} s ({f'median of {len(seconds)}' if len(seconds) > 1 else 'the last time'})"


def text(hosts: Mapping[str, JournalRecord], new: Mapping[str, str], downtimes: Mapping[str, str], width: int) -> str:
    """Return the table of the hosts that were examined, as blocks where it is too wide; empty where none was.

    ``hosts`` has what each host said of the rotation, ``new`` the fingerprints of a value that somebody has brought.
    """
    examined = {
        host: record for host, record in hosts.items() if record.get("phase") == NOT_BEGUN and record.get("old")
    }
    rows = [
        (host if number == 0 else "", *_values(name, record, new), *_rest(record, downtimes[host], number))
        for host, record in examined.items()
        for number, name in enumerate(record["old"])
    ]
    if not rows:
        return ""
    lines = list(_aligned([HEAD, *rows]))
    several = any(len(record["old"]) > 1 for record in examined.values())
    if several or max(map(len, lines)) > width:
        lines = [line for host, record in examined.items() for line in _block(host, record, new, downtimes[host])]
    return "\n".join(lines)


def _values(name: str, record: JournalRecord, new: Mapping[str, str]) -> tuple[str, str]:
    return record["old"][name], "the same" if new.get(name) == record["old"][name] else new.get(name, "a new value")


def _rest(record: JournalRecord, downtime: str, number: int) -> tuple[str, str]:
    return (str(sum(record["rows"].values())) if record.get("rows") else "none", downtime) if number == 0 else ("", "")


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ("  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows)


def _block(host: str, record: JournalRecord, new: Mapping[str, str], downtime: str) -> list[str]:
    count, _ = _rest(record, downtime, 0)
    values = [(f"  {name}", "{} -> {}".format(*_values(name, record, new))) for name in record["old"]]
    return [host, *_aligned([*values, ("  rows", count), ("  down", f"{downtime}, expected")])]
