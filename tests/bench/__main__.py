"""`make bench`: Keyturn paired with the policy's script, a naive playbook and the floors. QUICK=1 takes the small half."""

from __future__ import annotations

import datetime
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.lab import ROOT

from bench import hosts, page, rows
from bench.measure import machine

HOST_PYTHON = "/usr/bin/python3"
RESULTS = ROOT / "bench/results"
# rows or hosts, and how often each way is run
FULL: dict[str, Any] = {
    "rows": {1_000: 5, 10_000: 5, 100_000: 5, 1_000_000: 3},
    "hosts": {1: 3, 10: 3, 25: 3, 50: 1},
    "repeats": 5,
}
QUICK: dict[str, Any] = {"rows": {1_000: 2, 10_000: 2, 100_000: 1}, "hosts": {3: 1}, "repeats": 1}


def main() -> None:
    """Measure, write bench.json and index.html, and say where they are."""
    if os.geteuid() != 0:
        sys.exit("make bench runs an sshd on loopback for its hosts, and that needs root")
    plan = QUICK if os.environ.get("QUICK") else FULL
    now = datetime.datetime.now(datetime.UTC)
    found = {"at": now.isoformat(timespec="seconds"), "quick": plan is QUICK, "machine": machine(HOST_PYTHON)}
    RESULTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="keyturn-bench-") as name:
        folder = Path(name)
        parts: dict[str, Callable[[], Any]] = {
            "microseconds_by_batch": lambda: rows.threshold(HOST_PYTHON, folder),
            "rows": lambda: rows.run(HOST_PYTHON, folder, plan["rows"]),
            "one_host": lambda: hosts.one_host(HOST_PYTHON, folder / "one", 10_000, plan["repeats"]),
            "hosts": lambda: hosts.fleet(HOST_PYTHON, folder / "fleet", plan["hosts"], 200),
        }
        for part, measure in parts.items():
            found[part] = measure()
            found["machine"]["load_at_end"] = [round(load, 2) for load in os.getloadavg()]
            (RESULTS / "bench.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "index.html").write_text(page.html(found))
    print(page.table(found))
    print(f"figures: {RESULTS / 'bench.json'}\npage:    {RESULTS / 'index.html'}")


if __name__ == "__main__":
    main()
