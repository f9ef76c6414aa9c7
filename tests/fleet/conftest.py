"""The hosts are made once; each test begins with a fresh application on them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fleet import HOSTS, SCRIPT, Fleet


@pytest.fixture(scope="session")
def hosts() -> Iterator[None]:
    subprocess.run([SCRIPT, "up"], check=True)
    yield
    subprocess.run([SCRIPT, "down"], check=True)


@pytest.fixture
def fleet(hosts: None, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "reports")
    made.install()
    yield made
    for host in HOSTS:
        # a host that the test left powered off, cut off or hurt
        made.podman("start", f"keyturn-{host}")
        made.run(host, "ip link set eth0 up; systemctl start ssh; chattr -i /opt/trader-ai/.env 2>/dev/null; true")
