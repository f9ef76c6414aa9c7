"""Cost against rows: Keyturn's two phases, the policy's script and the floors, under the interpreter of a host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keyturn.inputs import catalogue as shapes
from keyturn.inputs import validation
from support.lab import catalogue

from bench.measure import Measured, alternating, child, ratio

HOST_SIDE = str(Path(__file__).with_name("host_side.py"))
# of an application without services: what they cost is no part of the database's cost
ENTRY = validation.validated("db_key", shapes.ENTRY, catalogue()["db_key"] | {"services": []})


class Table:
    """One table of tokens of one layer, which is all that the policy's script reads, laid anew before each step."""

    def __init__(self, interpreter: str, folder: Path, rows: int) -> None:
        self.interpreter, self.folder, self.rows = interpreter, folder, rows
        folder.mkdir(parents=True)
        (folder / "entry.json").write_text(json.dumps(ENTRY))
        self.step("seed", str(rows), "1")
        self.step("policy")
        shutil.copytree(folder / "data", folder / "seeded")

    def step(self, name: str, *arguments: str) -> Measured:
        """Run a step of ``host_side``; what it says of itself is added."""
        measured, said = child([self.interpreter, HOST_SIDE, name, str(self.folder), *arguments])
        return measured | json.loads(said)

    def anew(self) -> None:
        """Lay the table anew, on disk before anything is measured."""
        for place in (self.folder / "data", self.folder.with_name(f"{self.folder.name}.state")):
            shutil.rmtree(place, ignore_errors=True)
        os.chown(self.folder, 0, 0)
        shutil.copytree(self.folder / "seeded", self.folder / "data")
        self.step("stage")
        subprocess.run(["sync"], check=True)

    def ways(self) -> dict[str, Callable[[], Measured]]:
        """Return what is compared."""
        return {
            "policy": self._policy,
            "keyturn": self._keyturn,
            "crypto": lambda: self.step("crypto", str(self.rows), "1"),
            "write": self._write,
        }

    def _policy(self) -> Measured:
        self.anew()
        return child(["env", "-C", str(self.folder), self.interpreter, "rotate_db_key.py"])[0]

    def _keyturn(self) -> Measured:
        self.anew()
        prepare, switch, census = (self.step(name) for name in ("prepare", "switch", "census"))
        return {
            "wall": prepare["wall"] + switch["wall"],
            "cpu": prepare["cpu"] + switch["cpu"],
            "peak_mb": max(step["peak_mb"] for step in (prepare, switch, census)),
            "prepare_cpu": prepare["inner_cpu"],
            "switch_cpu": switch["inner_cpu"],
            "switch_wall": switch["inner_wall"],
            "census_cpu": census["inner_cpu"],
        }

    def _write(self) -> Measured:
        self.anew()
        return self.step("write")

    def grounds(self) -> dict[str, Callable[[], Measured]]:
        """Return the switch on ground of root's, and on that of another user, whose ids root takes for it."""
        return {"root": lambda: self._switch(), "another": lambda: self._switch("give")}

    def _switch(self, *before: str) -> Measured:
        self.anew()
        for name in (*before, "prepare"):
            self.step(name)
        switch = self.step("switch")
        return {
            "wall": switch["wall"],
            "cpu": switch["cpu"],
            "switch_cpu": switch["inner_cpu"],
            "switch_wall": switch["inner_wall"],
        }


def grounds(interpreter: str, folder: Path, rows: int, repeats: int) -> dict[str, Any]:
    """Measure what it costs that the application's ground is another user's."""
    folder.chmod(0o755)  # that user has to reach it
    print(f"{rows:,} rows on ground of root's, and of another user", flush=True)
    ways = alternating(Table(interpreter, folder / "ground", rows).grounds(), repeats)
    ratios = {
        f"{figure}, another's ground / root's": ratio(ways["another"], ways["root"], figure)
        for figure in ("switch_cpu", "switch_wall")
    }
    return {"sizes": f"{rows:,} rows", **ways, "ratios": ratios}


def threshold(interpreter: str, folder: Path) -> dict[str, Any]:
    """Return what a row costs by itself and in a batch, by the size of the batch."""
    _, said = child([interpreter, HOST_SIDE, "threshold", str(folder)])
    found = json.loads(said)["microseconds"]
    return {rows: {way: round(cost, 1) for way, cost in ways.items()} for rows, ways in found.items()}


def run(interpreter: str, folder: Path, sizes: Mapping[int, int]) -> dict[str, Any]:
    """Measure each number of rows as often as ``sizes`` says."""
    found: dict[str, Any] = {}
    for rows, repeats in sizes.items():
        print(f"{rows:,} rows", flush=True)
        table = Table(interpreter, folder / str(rows), rows)
        ways = alternating(table.ways(), repeats)
        print("  beside the application", flush=True)
        table.anew()
        ways["beside"] = table.step("beside")
        ways["ratios"] = {
            "cpu, policy / keyturn": ratio(ways["policy"], ways["keyturn"], "cpu"),
            "cpu, policy / crypto alone": ratio(ways["policy"], ways["crypto"], "cpu"),
            "downtime, policy / keyturn": round(
                ways["policy"]["wall"]["median"] / ways["keyturn"]["switch_wall"]["median"], 3
            ),
            "downtime, keyturn / write alone": round(
                ways["keyturn"]["switch_wall"]["median"] / ways["write"]["inner_wall"]["median"], 3
            ),
            "slowest write of the application, s": round(ways["beside"]["slowest_write"], 3),
            "microseconds a row, prepare and switch": round(ways["keyturn"]["cpu"]["median"] / rows * 1e6, 1),
            "microseconds a row, census": round(ways["keyturn"]["census_cpu"]["median"] / rows * 1e6, 1),
        }
        found[str(rows)] = ways
        shutil.rmtree(table.folder)
    return found


def short_calls(interpreter: str, folder: Path, rows: int, milliseconds: int) -> dict[str, Any]:
    """Prepare a table and one of a quarter of its size in short calls: are the last rows as cheap as the first."""
    found: dict[int, list[tuple[int, float]]] = {}
    for size in (rows // 4, rows):
        print(f"{size:,} rows in calls of {milliseconds} ms", flush=True)
        table = Table(interpreter, folder / f"calls-{size}", size)
        table.anew()
        found[size] = table.step("calls", str(milliseconds))["calls"]
        shutil.rmtree(table.folder)
    calls = found[rows]
    quarter = len(calls) // 4
    return {
        "sizes": f"{rows:,} rows, {milliseconds} ms",
        "calls": len(calls),
        "microseconds_a_row": [round(_cost(part) * 1e6, 2) for part in (calls[:quarter], calls[-quarter:])],
        "ratios": {
            "cpu a row, last quarter of the calls / first": round(_cost(calls[-quarter:]) / _cost(calls[:quarter]), 3),
            "cpu a row, all / a quarter of the rows": round(_cost(calls) / _cost(found[rows // 4]), 3),
        },
    }


def _cost(calls: Sequence[tuple[int, float]]) -> float:
    """Return the CPU seconds of a row."""
    return sum(seconds for _, seconds in calls) / sum(rows for rows, _ in calls)
