"""An application's own programs turn its rows in a rotation that is killed: whole on one value, and nothing that was written is lost."""

from __future__ import annotations

import time
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


def test_without_an_inverse_a_run_stays_on_the_new_value_and_a_word_takes_it_back(lab: Lab, tmp_path: Path) -> None:
    entry, old = unread(catalogue()["db_key"], lab.app), lab.key()
    del entry["migration"]["back"]
    chosen, before = tmp_path / "chosen.yml", tmp_path / "before"
    before.write_bytes(lab.env.read_bytes())
    checks = {"db_key": [{"command": ["cmp", ".env", str(before)]}]}
    chosen.write_text(yaml.safe_dump({"keyturn_secrets": {"db_key": entry}, "keyturn_checks": checks}))
    options = ["-e", f"@{chosen}", "-e", '{"keyturn_override_lost_writes": "the desk agreed"}']
    done = lab.play("rotate", "-e", "keyturn_secret=db_key", *options)  # before a start a word says nothing
    said = " ".join(done.stdout.split())
    assert done.returncode == 2, done.stdout
    assert "way back the data has no inverse (`back`): once the service was started" in said
    assert "going back failed: the data has no inverse (`back`), its backup is of 20" in said
    assert "lose what was written between then and now" in said
    report = reports.report(lab)
    assert (report["outcome"], "overrides" in report, lab.get("/health")) == ("interrupted", False, 200)
    assert lab.key() != old
    with Client(lab) as client:
        while not client.written:
            time.sleep(0.1)
    done = lab.play("rollback", *options)
    assert done.returncode == 0, done.stdout
    assert (lab.key(), lab.get("/health"), lost(lab, lab.tokens)) == (old, 200, [])
    assert sorted(lost(lab, client.written)) == sorted(client.written)
    report, ended = reports.report(lab), reports.log(lab)[-1]
    assert report["overrides"] == ended["overrides"] == {"lost_writes": "the desk agreed"}
    word = report["hosts"]["here"]["lost_writes"]
    assert word.startswith("since 20") and word.endswith(f"on the word of {report['operator']} (the desk agreed)")
    assert ended["lost_writes"] == {"here": word} and f"lost       what was written {word}" in done.stdout
