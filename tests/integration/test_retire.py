"""After the commit: nobody marks a revocation done without the provider's rejection."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import reports
from support.brought import Bench, bench


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as found:
        yield found


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def secret_status(desk: Bench, secret: str) -> dict[str, Any]:
    return dict(json.loads((desk.lab.reports / "test/status.json").read_text())["secrets"][secret])


def confirm(desk: Bench, code: int, text: str) -> None:
    done = desk.lab.play("confirm_revoked", "-e", "keyturn_secret=plaid")
    assert done.returncode == code, done.stdout
    assert text in said(done), done.stdout


def test_an_old_credential_is_closed_by_its_rejection_only(desk: Bench) -> None:
    old = desk.current("plaid")
    config = desk.lab.app / "config/config.json"
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps({"plaid_client_id": "env:PLAID_CLIENT_ID", "plaid_secret": old[1]}))
    (desk.lab.app / "settings.py").write_text(f"import os\nSECRET = {old[1]!r}\n")
    desk.make("plaid")
    assert desk.lab.play("rotate_plaid_credentials", **desk.bring("plaid")).returncode == 0
    held = {"plaid_client_id": "env:PLAID_CLIENT_ID", "plaid_secret": desk.new["plaid"][1]}
    assert json.loads(config.read_text()) == held, "the application reads this one first"
    copy = f"{desk.lab.app}/settings.py holds PLAID_SECRET (line 2), which is not in the catalogue and stays as it is"
    assert copy in reports.report(desk.lab)["hosts"]["here"]["findings"]
    (previous,) = desk.lab.state.rglob("previous.json")

    done = desk.lab.play("status")
    assert done.returncode == 2, "an open revocation is nothing to be content with"
    assert "Delete the old secret" in done.stdout
    line = secret_status(desk, "plaid")
    assert (line["state"], len(line["open_revocations"])) == ("due", 1)

    confirm(desk, 2, "Plaid still accepts the old credential")
    fake = desk.fakes["plaid"]
    for mood in ("500", "html"):
        fake.mood = mood
        confirm(desk, 2, "Plaid does not say whether it rejects the old credential")
    fake.mood = ""
    assert previous.exists()
    assert [record["outcome"] for record in reports.log(desk.lab)] == ["committed"]

    fake.valid = {old: "ours"}  # the wrong one was deleted
    confirm(desk, 2, "Plaid still accepts the old credential")
    fake.valid = {}
    confirm(desk, 2, "Plaid says rejected of the credential that is in use")
    assert previous.exists()

    fake.valid = {desk.new["plaid"]: "ours"}
    confirm(desk, 0, "proved dead by their providers:")
    assert not previous.exists()
    record = reports.log(desk.lab)[-1]
    assert record["outcome"] == "revoked"
    assert record["verified_by"].startswith(
        "its provider: POST /institutions/get: HTTP 400, INVALID_API_KEYS, request "
    )
    calls = len(fake.calls)
    confirm(desk, 0, "proved dead by their providers:")
    assert len(fake.calls) == calls, "a rejected credential was shown again"
    assert len(reports.log(desk.lab)) == 2
    desk.lab.play("status")
    assert secret_status(desk, "plaid")["state"] == "ok"


def test_a_service_that_still_uses_the_old_credential_keeps_it_open(desk: Bench) -> None:
    desk.make("alpaca")
    assert desk.lab.play("rotate_alpaca_credentials", **desk.bring("alpaca")).returncode == 0
    log = desk.lab.app / "logs/trading.log"
    good = log.read_text()
    refusal = (
        'ERROR:src.brokers.alpaca_adapter:Failed to connect to Alpaca: Authentication failed: {"code": 40110000}\n'
    )
    log.write_text(good + refusal)
    done = desk.lab.play("confirm_revoked")
    assert done.returncode == 2
    assert "something still uses the old credential" in said(done)
    assert list(desk.lab.state.rglob("previous.json"))
    log.write_text(good)
    assert desk.lab.play("confirm_revoked").returncode == 0
    assert not list(desk.lab.state.rglob("previous.json"))


def test_a_step_out_of_order_destroys_nothing(desk: Bench) -> None:
    desk.make("plaid")
    assert desk.lab.play("rotate_plaid_credentials", **desk.bring("plaid")).returncode == 0
    entry = {"secret": "plaid", "entry": desk.entry("plaid")}
    answer = desk.lab.module("retire", **desk.lab.about_one(desk.lab.rotation(**entry)), step="close")
    assert answer["failed"]
    assert "nobody has heard a rejection; run confirm_revoked.yml" in answer["msg"]
    assert list(desk.lab.state.rglob("previous.json"))
