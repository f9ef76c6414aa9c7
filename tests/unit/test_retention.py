"""How long a backup is kept: it and the value that opens it go together, and never those of an open rotation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from keyturn.base import durable
from keyturn.base.errors import KeyturnError
from keyturn.host import values
from keyturn.host.journal import Journal
from keyturn.host.phases import commit, holdings_info, prune, retention, rollback, stage
from support.faults import Host

BEFORE = "20251001T000000Z-0123456789abcdef"
BOTH = {"backup.db", "previous.json"}


def earlier(host: Host, expires: str = "2025-11-01T00:00:00Z", phase: str = "closed") -> Journal:
    """Leave a rotation of the past on the host, with its backup and its old value."""
    application = host.rotation().application
    with application.lock("a test", 0):
        journal = application.begin(BEFORE, secret="db_key", operator="a test")
    for name in BOTH:
        durable.write_file(journal.path(name), b"{}")
    journal.enter(phase, backup={"path": str(journal.path("backup.db")), "expires": expires, "opens_with": {}})
    return journal


def kept(journal: Journal) -> set[str]:
    return {path.name for path in journal.folder.iterdir()} & BOTH


def findings(host: Host) -> list[str]:
    return [text for text in holdings_info.look_at(host.rotation())["findings"] if "expired" in text]


def test_the_next_rotation_removes_what_has_expired_as_it_begins(host: Host) -> None:
    journal = earlier(host)
    assert findings(host) == [
        f"the old value of rotation {BEFORE} and what it opens have expired (2025-11-01T00:00:00Z): "
        "prune.yml removes them"
    ]
    stage.run(host.rotation(), only_examine=True)
    assert kept(journal) == BOTH, "a run that only examines has removed something"
    host.go_to("staged")
    assert kept(journal) == set()
    assert "pruned" in (durable.read_json(journal.path("journal.json")) or {})["backup"]
    rollback.run(host.rotation(), "a test", abandon_commit=False)
    assert findings(host) == []


def test_what_has_not_expired_is_kept(host: Host) -> None:
    journal = earlier(host, expires="2999-01-01T00:00:00Z")
    host.go_forward()
    assert kept(journal) == BOTH
    assert findings(host) == []


def test_a_rotation_that_ends_removes_what_has_expired(host: Host) -> None:
    host.go_to("decided")
    journal = earlier(host)
    commit.run(host.rotation(), "finish")
    assert kept(journal) == set()


def test_an_open_rotation_keeps_both(host: Host) -> None:
    journal = earlier(host, phase="switched")
    application = host.rotation().application
    retention.prune(application)
    assert kept(journal) == BOTH
    assert list(retention.expired(application)) == []


@pytest.mark.parametrize("after", ["the backup", "both"])
def test_a_kill_between_the_removals_is_made_good(host: Host, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    journal = earlier(host)
    application = host.rotation().application
    with monkeypatch.context() as patch:
        if after == "the backup":
            patch.setattr(values, "destroy_previous", lambda journal: 1 / 0)
        else:
            patch.setattr(Journal, "update", lambda journal, **fields: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            retention.prune(application)
    assert kept(journal) == ({"previous.json"} if after == "the backup" else set())
    assert list(retention.expired(application)) != []
    retention.prune(application)
    assert kept(journal) == set()
    assert list(retention.expired(application)) == []


def test_a_value_without_a_backup_has_a_retention_as_well(tmp_path: Path) -> None:
    """So does a rotation of the JWT secret keep its old value, and forget it."""
    host = Host(tmp_path / "host")
    try:
        host.go_to("decided")
        application = host.rotation().application
        journal = application.find(host.rotation().rotation_id)
        assert journal is not None
        journal.record.pop("backup")
        assert retention.kept(journal, "committed", 30).keys() == {"previous"}
        journal.enter("closed", outcome="committed", previous={"expires": "2025-11-01T00:00:00Z"})
        retention.prune(application)
        assert kept(journal) == set()
        assert "pruned" in (durable.read_json(journal.path("journal.json")) or {})["previous"]
        assert list(retention.expired(application)) == []
    finally:
        host.stop()


def test_what_a_provider_must_still_be_asked_about_is_kept(host: Host) -> None:
    journal = earlier(host)
    journal.update(retire={"state": "open", "since": "2025-10-01T00:00:00Z"})
    host.go_forward()
    assert kept(journal) == BOTH
    assert list(retention.expired(host.rotation().application)) == []
    journal.update(retire={"state": "revoked", "since": "2025-10-01T00:00:00Z"})
    retention.prune(host.rotation().application)
    assert kept(journal) == set()


def test_no_days_remove_both_at_the_end(tmp_path: Path) -> None:
    host = Host(tmp_path / "host", backup_retention_days=0)
    host.go_forward()
    assert not [name for name in BOTH if host.state_file(name).exists()]
    host.stop()


@pytest.mark.parametrize("days", [-1, 36501, 10**9])
def test_days_that_are_none_are_refused_before_anything_changes(tmp_path: Path, days: int) -> None:
    host = Host(tmp_path / "host", backup_retention_days=days)
    with pytest.raises(KeyturnError, match=rf"keyturn_backup_retention_days is {days}: set the days .* 0 to 36500"):
        stage.run(host.rotation())
    assert host.lab.journals() == []
    host.stop()


def test_what_a_killed_call_left_beside_a_file_is_named_and_goes(host: Host) -> None:
    left = host.lab.env.with_name(".env.keyturn-0123456789abcdef")
    left.write_text("half of a file with a value")
    rotation = host.rotation()
    named = f"{left} is left of a call that was killed: prune.yml removes it"
    assert named in holdings_info.look_at(rotation)["findings"] and left.exists()
    told = prune.run([dataclasses.replace(rotation, check_mode=True)])
    assert told["would"] == f"remove {left}, which a killed call has left" and left.exists()
    assert prune.run([rotation]) == {"changed": True, "pruned": []}
    assert not left.exists() and prune.run([rotation]) == {"changed": False, "pruned": []}
    host.go_to("staged")
    left.write_text("of a call that may be at work")
    assert named not in holdings_info.look_at(rotation)["findings"]
