"""`make bench`: Keyturn paired with the policy's script, a naive playbook and the floors.

``QUICK=1`` takes small sizes, once each; ``PARTS=calls,slope`` takes some parts. Either leaves ``bench/results`` as it is: what is
published comes from one whole run.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from support.lab import ROOT

from bench import calls, goals, hosts, local, page, postgresql, rows, slope
from bench.measure import machine

HOST_PYTHON = "/usr/bin/python3"


class Plan(NamedTuple):
    """Sizes, and how often each way is run."""

    results: Path
    hosts: dict[int, int]
    one_host: int
    slope: dict[int, int]
    local: tuple[int, int]
    local_repeats: int
    calls: int
    rows: dict[int, int]
    short_calls: tuple[int, int]  # rows, milliseconds
    ground: tuple[int, int]  # rows, repeats
    postgresql: tuple[int, int]


FULL = Plan(
    results=ROOT / "bench/results",
    hosts={3: 3, 25: 2, 50: 1},
    one_host=3,
    slope={10: 3, 200: 1},
    local=(1_000, 100_000),
    local_repeats=3,
    calls=15,
    rows={1_000: 3, 10_000: 3, 100_000: 3, 1_000_000: 2},
    short_calls=(1_000_000, 500),
    ground=(10_000, 15),
    postgresql=(1_000_000, 1),
)
QUICK = Plan(
    results=ROOT / ".local/bench",
    hosts={3: 1},
    one_host=1,
    slope={5: 1, 20: 1},
    local=(1_000, 100_000),
    local_repeats=1,
    calls=5,
    rows={1_000: 1, 10_000: 1, 100_000: 1},
    short_calls=(100_000, 50),
    ground=(10_000, 3),
    postgresql=(50_000, 1),
)


def parts(plan: Plan, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return what measures each part, by its name."""
    return {
        "calls": lambda: calls.against_ping(HOST_PYTHON, folder / "calls", plan.calls),
        "local": lambda: local.rotations(HOST_PYTHON, folder / "local", plan.local, plan.local_repeats),
        "slope": lambda: slope.controller(HOST_PYTHON, folder / "slope", plan.slope),
        "one_host": lambda: hosts.one_host(HOST_PYTHON, folder / "one", 10_000, plan.one_host),
        "hosts": lambda: hosts.fleet(HOST_PYTHON, folder / "fleet", plan.hosts, 200),
        "threshold": lambda: rows.threshold(HOST_PYTHON, folder),
        "short_calls": lambda: rows.short_calls(HOST_PYTHON, folder, *plan.short_calls),
        "ground": lambda: rows.grounds(HOST_PYTHON, folder, *plan.ground),
        "postgresql": lambda: postgresql.run(HOST_PYTHON, folder, *plan.postgresql),
        "rows": lambda: rows.run(HOST_PYTHON, folder, plan.rows),
    }


def main() -> None:
    """Measure, and say what was found and where it is written."""
    if os.geteuid() != 0:
        sys.exit("make bench runs an sshd on loopback for its hosts, and that needs root")
    plan = QUICK if os.environ.get("QUICK") else FULL
    wanted = [name for name in os.environ.get("PARTS", "").split(",") if name]
    now = datetime.datetime.now(datetime.UTC)
    found: dict[str, Any] = {"at": now.isoformat(timespec="seconds"), "machine": machine(HOST_PYTHON)}
    with tempfile.TemporaryDirectory(prefix="keyturn-bench-") as name:
        known = parts(plan, Path(name))
        if unknown := set(wanted) - set(known):
            sys.exit(f"PARTS: there is no {', '.join(sorted(unknown))}; they are {', '.join(known)}")
        for part in wanted or known:
            began = time.monotonic()
            found[part] = known[part]()
            print(f"{part}: {time.monotonic() - began:.0f} s in all\n{goals.text({part: found[part]})}", flush=True)
    found["machine"]["load_at_end"] = [round(load, 2) for load in os.getloadavg()]
    print(f"{page.ratios_text(found)}\n\n{goals.text(found)}")
    if not wanted:
        written = {
            "bench.json": "{\n" + ",\n".join(f'"{key}": {json.dumps(value)}' for key, value in found.items()) + "\n}\n",
            "index.html": page.html(found),
            "table.md": goals.markdown(found),
        }
        plan.results.mkdir(parents=True, exist_ok=True)
        for file, text in written.items():
            (plan.results / file).write_text(text)
        print(f"written to {plan.results}: {', '.join(written)}")


if __name__ == "__main__":
    main()
