"""Services with scripts: real scripts and processes."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from keyturn import procfs
from keyturn.errors import KeyturnError
from keyturn.service import ScriptService
from support.lab import free_port


def service(folder: Path, stop: str, **spec: Any) -> ScriptService:
    """A service that is not up, with this stop script."""
    (folder / "stop.sh").write_text(f"#!/bin/sh\n{stop}\n")
    (folder / "stop.sh").chmod(0o755)
    limits = {"health_timeout_seconds": 60, "stop_timeout_seconds": 60}
    url = f"http://127.0.0.1:{free_port()}/health"
    given = {"manager": "script", "start": "./start.sh", "stop": "./stop.sh", "health_url": url, **limits, **spec}
    return ScriptService("backend", given, folder, None)


def test_the_stop_script_has_the_time_of_a_stop(tmp_path: Path) -> None:
    service(tmp_path, "sleep 0.2; touch stopped", health_timeout_seconds=0.001).stop()
    assert (tmp_path / "stopped").exists()


@pytest.mark.parametrize("seen", [True, False], ids=["process seen", "process not seen"])
def test_a_port_that_is_still_listened_on_is_no_stopped_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    """A service that answers nothing any more, and whose process may belong to a user that cannot be looked at."""
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        port = hanging.getsockname()[1]
        stopping = service(tmp_path, "true", health_url=f"http://127.0.0.1:{port}/health", stop_timeout_seconds=0.01)
        if not seen:
            monkeypatch.setattr(procfs, "listener", lambda port: None)
        still = f"its process {os.getpid()} lives" if seen else f"port {port} is listened on"
        with pytest.raises(KeyturnError, match=f"still runs 0.01 s after ./stop.sh: {still}"):
            stopping.stop()


def test_a_stop_script_that_hangs_is_killed_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child"
    wait = subprocess.Popen.wait

    def out_of_time(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if timeout is None:
            return wait(process)
        while not child.exists():
            time.sleep(0.01)
        raise subprocess.TimeoutExpired("stop.sh", timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", out_of_time)
    hanging = service(tmp_path, "sleep 1000 & echo $! >new; mv new child; wait", stop_timeout_seconds=7)
    with pytest.raises(KeyturnError, match=r"service backend: ./stop.sh did not end within 7 s"):
        hanging.stop()
    deadline = time.monotonic() + 60
    while procfs.started_at(int(child.read_text())) is not None:
        assert time.monotonic() < deadline, "the child lives"
        time.sleep(0.01)
