"""What reached the disk, and the verdict table of the providers, from all workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.faults import Host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host with the stand-in application, whose service ends with the test."""
    made = Host(tmp_path / "host")
    yield made
    made.stop()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> dict[Path, Any]:
    """What a loss of power would leave, by path: of a file the content, of a folder the names, as they were at the last fsync."""
    found: dict[Path, Any] = {}
    fsync = os.fsync

    def remember(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        found[path] = {name.name for name in path.iterdir()} if path.is_dir() else path.read_bytes()
        fsync(fd)

    monkeypatch.setattr(os, "fsync", remember)
    return found


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
