"""Cost against rows: Keyturn's two phases, the policy's script and the floors, under the interpreter of a host."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.measure import Measured, alternating, child, ratio

HOST_SIDE = str(Path(__file__).with_name("host_side.py"))


class Table:
    """One table of tokens of one layer, which is all that the policy's script reads, laid anew before each step."""

    def __init__(self, interpreter: str, folder: Path, rows: int) -> None:
        self.interpreter, self.folder, self.rows = interpreter, folder, rows
        self.step("seed", str(rows), "1")
        self.step("policy")
        shutil.copytree(folder / "data", folder / "seeded")

    def step(self, name: str, *arguments: str) -> Measured:
        """Run a step of ``host_side``."""
        return child([self.interpreter, HOST_SIDE, name, str(self.folder), *arguments])

    def anew(self) -> None:
        """Lay the table anew, on disk before anything is measured."""
        shutil.rmtree(self.folder / "data")
        shutil.copytree(self.folder / "seeded", self.folder / "data")
        for path in self.folder.glob("prepared.db*"):
            path.unlink()
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
        return child(["env", "-C", str(self.folder), self.interpreter, "rotate_db_key.py"])

    def _keyturn(self) -> Measured:
        self.anew()
        prepare, switch = self.step("prepare"), self.step("switch")
        return {
            "wall": prepare["wall"] + switch["wall"],
            "cpu": prepare["cpu"] + switch["cpu"],
            "peak_mb": max(prepare["peak_mb"], switch["peak_mb"]),
            "prepare_cpu": prepare["cpu"],
            "prepare_wall": prepare["wall"],
            "switch_cpu": switch["inner_cpu"],
            "switch_wall": switch["inner_wall"],
        }

    def _write(self) -> Measured:
        self.anew()
        return self.step("write")


def threshold(interpreter: str, folder: Path) -> dict[str, Any]:
    """Return what a row costs by itself and in a batch, by the size of the batch."""
    found: dict[str, Any] = child([interpreter, HOST_SIDE, "threshold", str(folder)])
    return {rows: {way: round(cost, 1) for way, cost in ways.items()} for rows, ways in found["microseconds"].items()}


def run(interpreter: str, folder: Path, sizes: Mapping[int, int]) -> dict[str, Any]:
    """Measure each number of rows as often as ``sizes`` says."""
    found: dict[str, Any] = {}
    for rows, repeats in sizes.items():
        print(f"{rows:,} rows", flush=True)
        table = Table(interpreter, folder / str(rows), rows)
        ways = alternating(table.ways(), repeats)
        ways["ratios"] = {
            "cpu, policy / keyturn": ratio(ways["policy"], ways["keyturn"], "cpu"),
            "cpu, policy / crypto alone": ratio(ways["policy"], ways["crypto"], "cpu"),
            "downtime, policy / keyturn": round(
                ways["policy"]["wall"]["median"] / ways["keyturn"]["switch_wall"]["median"], 3
            ),
            "downtime, keyturn / write alone": round(
                ways["keyturn"]["switch_wall"]["median"] / ways["write"]["inner_wall"]["median"], 3
            ),
        }
        print("  beside the application", flush=True)
        table.anew()
        ways["beside"] = table.step("beside")
        found[str(rows)] = ways
        shutil.rmtree(table.folder)
    return found
