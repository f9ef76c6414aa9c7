"""What one more host costs the controller: whole rotations of hosts that answer at once, few and many."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.hosts import Hosts
from bench.measure import Measured, alternating
from bench.plays import BENCH, NOTHING, ROTATE, play, write_inventory

BACKEND = {"manager": "script", "start": "./start.sh", "stop": "./stop.sh", "health_url": "http://127.0.0.1/health"}
VARIABLES = {"ansible_connection": "local", "keyturn_services": {"backend": BACKEND}}


class Answering:
    """Hosts whose interpreter is ``answering.py``: the controller packs, sends and judges as it always does."""

    def __init__(self, folder: Path, interpreter: str, journal: str, count: int) -> None:
        self.calls, self.inventory = folder / "calls", folder / "bench"
        program = folder / "answering.py"
        hosts = {f"host{number:03}": {"keyturn_app_root": f"/srv/host{number:03}"} for number in range(1, count + 1)}
        write_inventory(self.inventory, hosts, VARIABLES | {"ansible_python_interpreter": str(program)})
        program.write_text(f"#!{interpreter} -IS\n{(BENCH / program.name).read_text()}")
        program.chmod(0o755)
        (folder / "journal.json").write_text(journal)

    def rotate(self) -> Measured:
        """Rotate; ``cpu`` is the controller's alone, and ``calls`` how many a host was asked for."""
        self.calls.unlink(missing_ok=True)
        measured = play(ROTATE, self.inventory).measured
        spent = [float(line) for line in self.calls.read_text().split()]
        return {"wall": measured["wall"], "cpu": measured["cpu"] - sum(spent), "calls": len(spent)}


def real_journal(folder: Path, interpreter: str) -> str:
    """Rotate the key of one real host, and return its journal."""
    with Hosts(folder, interpreter, 1, rows=12, connection="local") as hosts:
        hosts.play(ROTATE)
        return next(folder.glob("*/state/*/rotations/*/journal.json")).read_text()


def controller(interpreter: str, folder: Path, counts: Mapping[int, int]) -> dict[str, Any]:
    """Measure each number of hosts, as often as ``counts`` says, and the slope from the fewest to the most."""
    journal = real_journal(folder / "real", interpreter)
    found: dict[str, Any] = {}
    for count, repeats in counts.items():
        print(f"{count} hosts that answer at once", flush=True)
        hosts = Answering(folder / str(count), interpreter, journal, count)
        ways = {"nothing": lambda hosts=hosts: play(NOTHING, hosts.inventory).measured, "keyturn": hosts.rotate}
        found[str(count)] = alternating(ways, repeats)
    shutil.rmtree(folder)
    few, many = min(counts), max(counts)
    costs = [found[str(count)]["keyturn"]["cpu"]["median"] for count in (few, many)]
    host, nothing = (costs[1] - costs[0]) / (many - few), found[str(few)]["nothing"]["cpu"]["median"]
    return {
        "sizes": f"{few} to {many} hosts",
        "hosts": found,
        "seconds_a_host": round(host, 3),
        "ratios": {"cpu of a host / a run without tasks": round(host / nothing, 3)},
    }
