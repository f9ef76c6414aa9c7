"""An application's own programs turn its rows in a rotation that is killed: whole on one value, and nothing that was written is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support import reports
from support.evidence import Client, lost
from support.faults import Play, hold, release
from support.lab import Lab, catalogue
from support.turning import delegated, unread

STATES = ("staged", "prepared", "switching", "switched", "proved", "decided")


@pytest.mark.covering("migration")
@pytest.mark.parametrize("way", ["resume", "rollback"])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("migration", [delegated, unread])
def test_a_kill_loses_nothing_and_what_was_not_shown_is_said(
    lab: Lab, tmp_path: Path, migration: object, state: str, way: str
) -> None:
    make = {delegated: delegated, unread: unread}[migration]  # type: ignore[index]
    chosen = tmp_path / "chosen.yml"
    chosen.write_text(yaml.safe_dump({"keyturn_secrets": {"db_key": make(catalogue()["db_key"], lab.app)}}))
    options = ["-e", f"@{chosen}"]
    old = lab.key()
    hold(lab, state)
    with Client(lab) as client:
        run = Play(lab, "rotate", "-e", "keyturn_secret=db_key", *options)
        run.wait_for(state)
        run.kill("all")
        release(lab)
        done = lab.play(way, *options)
        if way == "rollback" and state == "decided":
            assert "only goes forward, run resume.yml" in done.stdout
            done = lab.play("resume", *options)
    assert done.returncode == 0, done.stdout
    forward = way == "resume" or state == "decided"
    assert (lab.key() != old) == forward
    assert lost(lab, lab.tokens | client.written) == []
    report = reports.report(lab)
    assert report["outcome"] == ("committed" if forward else "rolled_back")
    said = [finding for host in report["hosts"].values() for finding in host["findings"] if "was not shown" in finding]
    assert bool(said) == (migration is unread and (forward or state in ("proved", "decided")))
