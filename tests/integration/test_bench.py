"""The benchmark still runs: what it calls of the product is called as a run calls it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.__main__ import HOST_PYTHON, QUICK, parts
from bench.rows import Table


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that another user can reach."""
    with tempfile.TemporaryDirectory(prefix="keyturn-bench-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_the_phases_run_on_a_host(folder: Path) -> None:
    table = Table(HOST_PYTHON, folder / "rows", 100)
    for way in (*table.ways().values(), *table.grounds().values()):
        assert way()["wall"] > 0
    table.anew()
    assert table.step("beside")["writes"] > 0
    table.anew()
    assert sum(rows for rows, _ in table.step("calls", "50")["calls"]) == 100


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", parts(QUICK, Path()))
def test_each_part(folder: Path, part: str) -> None:
    assert parts(QUICK, folder)[part]()
