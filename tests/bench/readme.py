"""The README's comparison, with the figures of ``bench/results/bench.json``: ``make docs``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from support.lab import ROOT

PAGE = ROOT / "README.md"
RESULTS = ROOT / "bench/results/bench.json"
HEAD = "| | Keyturn | the policy's script | a naive playbook | `airflow rotate-fernet-key` |"
MOST_HOSTS = 25


def table(found: Mapping[str, Any]) -> list[str]:
    """Return the lines below the table's head."""
    down = {way: found["one_host"][way]["down"]["median"] for way in ("keyturn", "naive")}
    many = max(int(count) for count in found["hosts"] if int(count) <= MOST_HOSTS)
    wall = {way: found["hosts"][str(many)][way]["wall"]["median"] for way in ("keyturn", "naive")}
    rows = found["rows"]
    cpu = {way: rows["100000"][way]["cpu"]["median"] for way in ("keyturn", "policy")}
    script = rows["10000"]["policy"]["wall"]["median"]
    lines = [
        (
            "a host with 10,000 rows is down for",
            f"{down['keyturn']:.1f} s",
            f"{script:.1f} s, and what a person takes before and after it",
            f"{down['naive']:.1f} s",
            "none: its configuration takes a new and an old key; services are restarted by hand",
        ),
        (
            f"{many} hosts over SSH take",
            f"{wall['keyturn']:.0f} s",
            "each host by hand",
            f"{wall['naive']:.0f} s",
            "not measured: it knows one database",
        ),
        (
            "CPU time for 100,000 rows",
            f"{cpu['keyturn']:.1f} s",
            f"{cpu['policy']:.1f} s",
            "as much as the script",
            "not measured",
        ),
        (
            "tokens in two layers, as today's application writes them",
            "re-encrypted, each in its form",
            "end it in a traceback",
            "end it in a traceback, with the service down",
            "re-encrypts what Airflow has encrypted",
        ),
        (
            "killed in the middle",
            "ends on the new key, or on the old one",
            "after its commit the rows are on the new key and `.env` on the old one",
            "the same, with the service down",
            "run again with both keys",
        ),
        ("that the new key works and the old one is dead", "proved", "not asked", "not asked", "not asked"),
        (
            "who has rotated what, and when",
            "a chain of records, signed by a second person",
            "a table by hand",
            "no",
            "no",
        ),
    ]
    return ["|---|---|---|---|---|", *(f"| {' | '.join(line)} |" for line in lines)]


def written(page: str, found: Mapping[str, Any]) -> str:
    """Return the page with its table made anew."""
    before, head, behind = page.partition(HEAD + "\n")
    return before + head + re.sub(r"\A(\|.*\n)+", "\n".join([*table(found), ""]).replace("\\", r"\\"), behind)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(), json.loads(RESULTS.read_text())))
