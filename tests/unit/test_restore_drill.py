"""What a host finds for the checklist: the restore drill on a real backup, and the known error lines of a log."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from keyturn.host.journal import Journal
from keyturn.host.phases import evidence
from keyturn.host.rotation import Rotation
from support.faults import Host
from support.lab import ROOT

LINES = yaml.safe_load((ROOT / "applications/trader_ai/catalogue.yml").read_text())["error_lines"]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "host")
    made.go_to("prepared")
    yield made
    made.stop()


def drilled(host: Host) -> tuple[Rotation, Journal]:
    rotation = host.rotation()
    journal = rotation.application.get(rotation.rotation_id)
    assert journal is not None
    return rotation, journal


def test_the_backup_opens_with_the_value_that_is_kept_and_nothing_is_left(host: Host) -> None:
    rotation, journal = drilled(host)
    before = sorted(path.name for path in journal.folder.iterdir())
    (journal.folder / "restore").mkdir()  # what a kill in the middle of a drill leaves
    assert evidence.restore_drill(rotation, journal) == {"ok": True, "rows": 12}
    assert sorted(path.name for path in journal.folder.iterdir()) == before


@pytest.mark.parametrize("path", ["absolute", "beside the application"])
def test_a_drill_leaves_the_database_alone_wherever_the_catalogue_says_that_it_lies(host: Host, path: str) -> None:
    database = host.lab.database
    entry = host.lab.rotation()["entry"]
    named = str(database) if path == "absolute" else f"../{host.lab.app.name}/data/{database.name}"
    host.more["entry"] = entry | {"migration": entry["migration"] | {"database": named}}
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("UPDATE plaid_items SET institution_name = 'written after the backup'")
    before = database.read_bytes()
    rotation, journal = drilled(host)
    beside = sorted(journal.folder.rglob("*"))
    assert evidence.restore_drill(rotation, journal) == {"ok": True, "rows": 12}
    assert database.read_bytes() == before
    assert sorted(journal.folder.rglob("*")) == beside


def damaged(journal: Journal) -> None:
    path = journal.path("backup.db")
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def without_backup(journal: Journal) -> None:
    journal.path("backup.db").unlink()


def without_value(journal: Journal) -> None:
    journal.path("previous.json").unlink()


def another_value(journal: Journal) -> None:
    new = json.loads(journal.path("pending.json").read_text())
    journal.write("previous.json", new)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damaged, "its checksum is another"),
        (without_backup, "backup.db: No such file"),
        (without_value, "previous.json is missing"),
        (another_value, "rows of the backup do not open"),
    ],
)
def test_a_drill_that_fails_is_told_and_raises_nothing(
    host: Host, damage: Callable[[Journal], None], said: str
) -> None:
    rotation, journal = drilled(host)
    damage(journal)
    found = evidence.restore_drill(rotation, journal)
    assert found["ok"] is False and said in found["failure"]
    assert not (journal.folder / "restore").exists()


def test_known_error_lines_are_counted_by_kind(host: Host) -> None:
    rotation = dataclasses.replace(host.rotation(), error_lines=LINES)
    (service,) = rotation.service_list()
    assert evidence.error_lines(rotation, service) is None, "nobody keeps its log"
    service.spec = {**service.spec, "log_file": "logs/known.log"}
    service.stop()
    service.start()
    assert evidence.error_lines(rotation, service) is None, "nobody has written to it"
    log = rotation.app_root / "logs/known.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text(
        "ERROR:src.finances.plaid_client:Failed to get accounts: Status Code: 400\n" * 2
        + 'INFO:     10.0.0.1:5 - "GET /ERROR:src.finances.plaid_client: HTTP/1.1" 404\n'
        + "2026-04-18 10:00:00,123 - src.brokers.alpaca_adapter - ERROR - Failed to connect to Alpaca: x\n"
        + "WARNING:src.security.auth_middleware:JWT verification failed for /: Signature verification failed.\n"
    )
    assert evidence.error_lines(rotation, service) == {"Alpaca connection": 1, "Plaid": 2}
