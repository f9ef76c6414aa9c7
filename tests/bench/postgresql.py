"""Rows in PostgreSQL: Keyturn against a loop of UPDATEs, CPU of client and server, and against one UPDATE, as downtime."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.postgres import Server, server

from bench.measure import Measured, alternating, child, ratio

SIDE = str(Path(__file__).with_name("postgresql_side.py"))
TICK = os.sysconf("SC_CLK_TCK")


class Table:
    """One table of tokens in a database, laid anew before each way."""

    def __init__(self, interpreter: str, folder: Path, postgres: Server, rows: int) -> None:
        self.interpreter, self.folder, self.server = interpreter, folder, postgres
        folder.mkdir()
        env = folder / ".env"
        env.write_text(f"DATABASE_URL={postgres.database('shop')}\n")
        env.chmod(0o600)
        self.step("seed", str(rows))

    def step(self, name: str, *arguments: str) -> Measured:
        """Run a step of ``postgresql_side``; ``cpu`` is that of client and server."""
        before = self._server_cpu()
        measured, said = child([self.interpreter, SIDE, name, str(self.folder), *arguments])
        while self.server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'shop'")[0][0]:
            time.sleep(0.05)
        found: Measured = measured | json.loads(said)
        client = found.get("own_cpu", measured["cpu"])
        return found | {"cpu": client + self._server_cpu() - before}

    def _server_cpu(self) -> float:
        """Return the CPU seconds of the server, of its processes that have ended too."""
        first = int((self.server.data / "postmaster.pid").read_text().split()[0])
        fields = _fields(first)
        own = sum(map(int, fields[11:15]))  # of itself and of those that it has waited for
        others = [_fields(int(path.name)) for path in Path("/proc").glob("[0-9]*")]
        return (own + sum(int(one[11]) + int(one[12]) for one in others if one and int(one[1]) == first)) / TICK

    def ways(self) -> dict[str, Callable[[], Measured]]:
        """Return what is compared."""
        return {
            "loop": lambda: self._alone("loop"),
            "update": lambda: self._alone("update"),
            "keyturn": self._keyturn,
            "list": lambda: self._alone("online"),
        }

    def _alone(self, name: str) -> Measured:
        self._anew()
        return self.step(name)

    def _keyturn(self) -> Measured:
        self._anew()
        prepare, switch = self.step("prepare"), self.step("switch")
        return {
            "wall": prepare["wall"] + switch["wall"],
            "cpu": prepare["cpu"] + switch["cpu"],
            "peak_mb": max(prepare["peak_mb"], switch["peak_mb"]),
            "client_cpu": prepare["inner_cpu"] + switch["inner_cpu"],
            "switch_wall": switch["inner_wall"],
        }

    def _anew(self) -> None:
        self.step("lay")
        self.server.sql("CHECKPOINT")


def _fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def run(interpreter: str, folder: Path, rows: int, repeats: int) -> dict[str, Any]:
    """Measure each way as often as ``repeats`` says."""
    print(f"{rows:,} rows in PostgreSQL", flush=True)
    with server() as postgres:
        ways = alternating(Table(interpreter, folder / "postgresql", postgres, rows).ways(), repeats)
    downtime = ways["keyturn"]["switch_wall"]["median"] / ways["update"]["inner_wall"]["median"]
    ratios = {
        "cpu, loop of UPDATEs / keyturn": ratio(ways["loop"], ways["keyturn"], "cpu"),
        "cpu, loop of UPDATEs / list of keys": ratio(ways["loop"], ways["list"], "cpu"),
        "downtime, keyturn / one UPDATE": round(downtime, 3),
        "slowest write of the application under a list, s": round(ways["list"]["slowest_write"]["max"], 3),
    }
    return {"sizes": f"{rows:,} rows", **ways, "ratios": ratios}
