"""Whole rotations of one local host, few rows and many: controller, workers, modules and scripts together, and what a row costs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.hosts import Hosts
from bench.measure import Measured, alternating, ratio
from bench.plays import NAIVE, NOTHING, ROTATE

WAYS = {"nothing": NOTHING, "naive": NAIVE, "keyturn": ROTATE}


def rotations(interpreter: str, folder: Path, sizes: tuple[int, int], repeats: int) -> dict[str, Any]:
    """Measure the ways at both sizes in turn; the marginal cost of a row is what lies between the two."""
    few, many = sizes
    with contextlib.ExitStack() as stack:
        ways: dict[str, Callable[[], Measured]] = {}
        for rows in sizes:
            hosts = stack.enter_context(Hosts(folder / str(rows), interpreter, 1, rows, connection="local"))
            for name, path in WAYS.items():
                ways[f"{name}, {rows}"] = lambda hosts=hosts, path=path: hosts.play(path).measured
        del ways[f"nothing, {many}"]
        found = alternating(ways, repeats)
    small, large = ({name: found[f"{name}, {rows}"] for name in ("naive", "keyturn")} for rows in sizes)
    nothing = found[f"nothing, {few}"]
    row = {name: _marginal(small[name], large[name], many - few) for name in small}
    return {
        "sizes": f"{few:,} to {many:,} rows",
        "nothing": nothing,
        "few": small,
        "many": large,
        "microseconds_a_row": row,
        "ratios": {
            "cpu, keyturn / naive": ratio(small["keyturn"], small["naive"], "cpu"),
            "cpu of a rotation / a run without tasks": ratio(small["keyturn"], nothing, "cpu"),
            "cpu a row, naive / keyturn": round(row["naive"] / row["keyturn"], 3),
        },
    }


def _marginal(small: Mapping[str, Any], large: Mapping[str, Any], rows: int) -> float:
    return round((large["cpu"]["median"] - small["cpu"]["median"]) / rows * 1e6, 2)
