"""Whole processes, measured from outside; medians and spread."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

Measured = dict[str, float]


def child(command: Sequence[str], stdin: IO[str] | None = None) -> tuple[Measured, str]:
    """Run a command to its end; return wall and CPU seconds and peak memory in MB, and what it has printed."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdin=stdin, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
    if process.returncode:
        raise RuntimeError(f"{command[:3]} ended with {process.returncode}: {said[-2000:]}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}, said


def alternating(ways: Mapping[str, Callable[[], Measured]], repeats: int) -> dict[str, dict[str, Any]]:
    """Run the ways in turn, A B C A B C; return a summary of each figure of each way."""
    found: dict[str, list[Measured]] = {name: [] for name in ways}
    for number in range(repeats):
        for name, way in ways.items():
            found[name].append(way())
            print(f"  {number + 1}/{repeats} {name}: {found[name][-1]['wall']:.2f} s", flush=True)
    return {name: summary(runs) for name, runs in found.items()}


def summary(runs: Sequence[Measured]) -> dict[str, Any]:
    """Return median, minimum and maximum of each figure."""
    return {
        figure: {
            "median": round(statistics.median(run[figure] for run in runs), 4),
            "min": round(min(run[figure] for run in runs), 4),
            "max": round(max(run[figure] for run in runs), 4),
        }
        for figure in runs[0]
    } | {"runs": len(runs)}


def ratio(a: Mapping[str, Any], b: Mapping[str, Any], figure: str) -> float:
    """Return the ratio of the medians of a figure."""
    return round(float(a[figure]["median"]) / float(b[figure]["median"]), 3)


def machine(interpreter: str) -> dict[str, Any]:
    """Return what the figures depend on. The load says whether the machine was shared."""
    code = (
        "import cryptography, json, platform, sqlite3, ssl; print(json.dumps({'python': platform.python_version(), "
        "'cryptography': cryptography.__version__, 'sqlite': sqlite3.sqlite_version, 'openssl': ssl.OPENSSL_VERSION}))"
    )
    host = json.loads(subprocess.run([interpreter, "-c", code], check=True, capture_output=True, text=True).stdout)
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "load_at_begin": [round(load, 2) for load in os.getloadavg()],
        "host_interpreter": host,
        "controller_python": platform.python_version(),
    }
