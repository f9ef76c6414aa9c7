"""What a stranger or a provider's outage can write into the log stands in the report, and takes no rotation back."""

from __future__ import annotations

import contextlib
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from support import reports
from support.brought import Bench, bench
from support.lab import Lab


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as found:
        yield found


@contextlib.contextmanager
def strangers(lab: Lab) -> Iterator[None]:
    """Ask all the time for the accounts of the bank, and for positions with a forged token."""
    ended = threading.Event()
    forged = jwt.encode({"sub": "stranger"}, "k" * 32, algorithm="HS256")
    request = urllib.request.Request(f"http://127.0.0.1:{lab.port}/api/positions")
    request.add_header("Authorization", f"Bearer {forged}")

    def ask() -> None:
        while not ended.wait(0.05):
            lab.get("/api/bank/accounts")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(request, timeout=5)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.covering
@pytest.mark.parametrize("reason", ["scheduled", "incident"])
def test_errors_that_others_can_cause_only_warn(desk: Bench, reason: str) -> None:
    services = desk.lab.services
    services["backend"]["log_file"] = "logs/backend.err.log"
    desk.lab.write_inventory(keyturn_services=services)
    desk.fakes["plaid"].mood = "500"
    with strangers(desk.lab):
        done = desk.lab.play("rotate_jwt_secret", "-e", f"keyturn_reason={reason}")
    assert done.returncode == 0, done.stdout
    report = reports.report(desk.lab)
    assert (report["outcome"], report["reason"]) == ("committed", reason)
    (logs,) = [point for point in report["checklist"] if point["id"] == "logs_clean"]
    assert logs["state"] == "open"
    assert " x Plaid (backend on here): see whether they come from the rotation" in logs["detail"]
    assert "JWT verification failed" in (desk.lab.app / "logs/backend.err.log").read_text(), (
        "no forged token was refused"
    )
