"""The hosts are made once; each test begins with a fresh application on them, or with one on which the last test has ended well."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import standing
from support.fakes import Fake, FakeAlpaca, FakeHuggingFace, FakePlaid
from support.fleet import GATEWAY, HOSTS, MATRIX, PROVIDER_PORTS, SCRIPT, Fleet, container

# takes back what a test has done to a host, and names what only a new installation takes back
HEAL = """
ip link set eth0 up; systemctl start ssh
for place in /opt/trader-ai/.env /opt/trader-ai /var/lib/keyturn; do umount -ql $place 2>/dev/null && echo $place; done
rm -f /usr/local/lib/python3.11/dist-packages/{ahead.pth,hold.pth,keyturn_test_hold.*} /var/lib/keyturn-test-held
find /etc/systemd/system -path '*/trader-ai-*.service.d/10-*'
"""
HEAD = ("fault", "secret, when", "ended by", "hosts on old", "hosts on new", "lost rows", "converged")


@pytest.fixture(scope="session")
def hosts() -> Iterator[None]:
    subprocess.run([SCRIPT, "down"], check=True)  # what a run that was killed has left
    subprocess.run([SCRIPT, "up"], check=True)
    yield
    subprocess.run([SCRIPT, "down"], check=True)


@pytest.fixture(scope="session")
def providers(hosts: None) -> Iterator[dict[str, Fake]]:
    kinds = {"plaid": FakePlaid, "alpaca": FakeAlpaca, "hf_token": FakeHuggingFace}
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(kinds[name](GATEWAY, port)) for name, port in PROVIDER_PORTS.items()}


@pytest.fixture(scope="session")
def as_good_as_new() -> dict[str, bool]:
    """Tell a test whether the one before has left the fleet so."""
    return {"fleet": False}


@pytest.fixture
def fleet(
    request: pytest.FixtureRequest, providers: dict[str, Fake], as_good_as_new: dict[str, bool], tmp_path: Path
) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "reports", providers)
    wanted = request.node.get_closest_marker("new_application")
    if as_good_as_new.pop("fleet", False) and not wanted:
        made.accept_held()
    else:
        made.install(**(wanted.kwargs if wanted else {}))
    standing.watch(made)
    yield made
    standing.forget(made)
    for host in HOSTS:
        made.podman("start", container(host))  # where the test has left it powered off
    left = [made.run(host, HEAL) for host in HOSTS]
    as_good_as_new["fleet"] = made.ended and not any(left)


def pytest_configure() -> None:
    if MATRIX not in os.environ:  # the workers inherit it
        handle, os.environ[MATRIX] = tempfile.mkstemp(prefix="keyturn-fleet-matrix-")
        os.close(handle)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [json.loads(line) for line in Path(os.environ[MATRIX]).read_text().splitlines()]
    if rows:
        widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
        terminalreporter.section("fault matrix of the fleet")
        for row in (HEAD, *sorted(rows)):
            terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
