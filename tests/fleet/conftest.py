"""The hosts are made once; each test begins with a fresh application on them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fakes import Fake, FakeAlpaca, FakeHuggingFace, FakePlaid
from support.fleet import GATEWAY, HOSTS, MATRIX, PROVIDER_PORTS, SCRIPT, Fleet, container

HEAL = """
ip link set eth0 up; systemctl start ssh
for place in /opt/trader-ai/.env /opt/trader-ai /var/lib/keyturn; do umount -ql $place; done
rm -f /usr/local/lib/python3.11/dist-packages/ahead.pth /usr/local/lib/python3.11/dist-packages/hold.pth
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


@pytest.fixture
def fleet(providers: dict[str, Fake], tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "reports", providers)
    made.install()
    yield made
    for host in HOSTS:
        # a host that the test left powered off, cut off or hurt
        made.podman("start", container(host))
        made.run(host, HEAL)


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
