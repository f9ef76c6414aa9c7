"""The matrix: each test writes its line into a folder that all workers know, and the session prints them together."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from support.faults import MATRIX

NUMBERS = ("points", "fired", "lost_rows", "converged")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[MATRIX] = tempfile.mkdtemp(prefix="keyturn-matrix-")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    parts = [json.loads(path.read_text()) for path in sorted(Path(os.environ[MATRIX]).glob("*.json"))]
    if not parts:
        return
    series: dict[str, dict[str, int]] = {}
    for part in parts:
        line = series.setdefault(part["series"], dict.fromkeys(NUMBERS, 0))
        for name in NUMBERS:
            line[name] += part[name]
    terminalreporter.section("fault matrix")
    terminalreporter.write_line(f"{'series':<58}" + "".join(f"{name:>11}" for name in NUMBERS))
    for name, line in sorted(series.items()):
        terminalreporter.write_line(f"{name:<58}" + "".join(f"{line[number]:>11}" for number in NUMBERS))
    total = {number: sum(line[number] for line in series.values()) for number in NUMBERS}
    terminalreporter.write_line(f"{'total':<58}" + "".join(f"{total[number]:>11}" for number in NUMBERS))
    for part in parts:
        if part.get("note", "").startswith(("seed", "relink")):
            terminalreporter.write_line(f"{part['series']}, {part['note']}")
    path = Path(os.environ[MATRIX]) / "matrix.all"
    path.write_text(json.dumps({"series": series, "total": total, "parts": parts}, indent=1))
    terminalreporter.write_line(f"details: {path}")
