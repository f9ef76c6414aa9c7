"""The verdict table of the providers, from all workers."""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    lines = [
        line
        for report in terminalreporter.stats.get("passed", [])
        for name, line in report.user_properties
        if name == "verdicts"
    ]
    if lines:
        terminalreporter.section("verdicts of the providers")
        for line in [("provider", "situation", "old", "new"), *sorted(map(tuple, lines))]:
            terminalreporter.write_line(f"{line[0]:<14}{line[1]:<28}{line[2]:<12}{line[3]}")
