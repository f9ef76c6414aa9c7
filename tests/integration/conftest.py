"""A running lab for tests that break one thing each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

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
