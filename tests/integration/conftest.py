"""A running lab for tests that break one thing each."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from support.lab import Lab


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("host"))
    lab.start()
    yield lab
    lab.stop()


@pytest.fixture
def host(running: Lab) -> Iterator[Lab]:
    """The running lab, put back afterwards in place: its service stays in its folder."""
    env, database = running.env.read_bytes(), running.database.read_bytes()
    yield running
    for path in (running.env, running.database):
        path.unlink(missing_ok=True)
    running.env.write_bytes(env)
    running.env.chmod(0o600)
    running.database.write_bytes(database)
    shutil.rmtree(running.state, ignore_errors=True)
    (running.app / "other.env").unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the contract table of the stores, from all workers."""
    table: dict[str, dict[str, str]] = defaultdict(dict)
    for outcome, word in (("passed", "holds"), ("failed", "FAILS"), ("error", "FAILS")):
        for report in terminalreporter.stats.get(outcome, []):
            for case, store, *count in (
                line for name, line in getattr(report, "user_properties", ()) if name == "store"
            ):
                table[case][store] = f"{word} ({count[0]})" if count else word
    if table:
        terminalreporter.section("contract of the stores")
        kinds = ("dotenv", "openbao", "aws_secretsmanager")
        for case, found in [("case", dict(zip(kinds, kinds, strict=True))), *table.items()]:
            terminalreporter.write_line(f"{case:<70}" + "".join(f"{found.get(kind, '-'):<14}" for kind in kinds))
