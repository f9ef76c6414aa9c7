"""``--check`` reads only: no byte of application, state and reports changes, and what would be refused is refused."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from keyturn.base.fingerprint import fingerprint
from support.brought import bench
from support.evidence import everything
from support.lab import KEY, Lab


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_check_mode_changes_no_byte(make_lab: Callable[..., Lab], journal_mode: str) -> None:
    lab = make_lab(journal_mode=journal_mode)
    lab.start()
    before = everything(lab)
    done = lab.play("rotate_db_key", "--check", "--diff")
    assert done.returncode == 0, done.stdout
    assert everything(lab) == before
    assert not lab.state.exists()
    assert not lab.reports.exists()
    assert f"-{KEY}={fingerprint(lab.key())}" in done.stdout
    assert f"+{KEY}=to be generated" in done.stdout
    assert "rows: empty 1, one_layer 1, plaintext 1, two_layer 9" in done.stdout
    assert "1 rows are plaintext and stay so" in done.stdout
    assert f"stop backend, turn the rows, replace {KEY}" in " ".join(done.stdout.split())
    assert lab.key() not in done.stdout + done.stderr, "the key was printed"

    with contextlib.closing(sqlite3.connect(lab.database)) as connection:
        foreign = Fernet(Fernet.generate_key()).encrypt(b"access-x").decode()
        connection.execute("UPDATE plaid_items SET access_token = ? WHERE item_id = 'item-00002'", (foreign,))
        connection.commit()
    before = everything(lab)
    refused = lab.play("rotate_db_key", "--check")
    assert refused.returncode == 2, refused.stdout
    assert "The rotation would be refused: here: " in " ".join(refused.stdout.split())
    assert "'item-00002' opens under no value that is known" in " ".join(refused.stdout.replace("''", "'").split())
    assert everything(lab) == before
    assert not lab.state.exists()
    assert not lab.reports.exists()


def test_diff_of_the_modules_shows_fingerprints(lab: Lab) -> None:
    old = lab.key()
    shown = [
        lab.step(name, _ansible_diff=True, **more)["diff"]
        for name, more in (("stage", {}), ("switch", {}), ("rollback", {"cause": "a test"}))
        if name == "stage" or lab.step("prepare")
    ]
    new = lab.journals()[0]["new"][KEY]
    before, after = f"{KEY}={fingerprint(old)}\n", f"{KEY}={new}\n"
    forward, back = {"before": before, "after": after}, {"before": after, "after": before}
    assert shown == [forward, forward, back]


def test_check_mode_tells_how_an_open_rotation_would_end(lab: Lab) -> None:
    told = {
        "stage": (
            "go back to the old value from phase staged",
            ["back up the database", "stop backend", "prove", "decide"],
        ),
        "switch": ("go back to the old value from phase switched", ["prove the new value", "decide to commit"]),
    }
    for name in ("stage", "prepare", "switch"):
        lab.step(name)
        if name not in told:
            continue
        back, forward = told[name]
        before = everything(lab)
        done = lab.play("rollback", "--check")
        assert done.returncode == 0, done.stdout
        assert f"here: {back}" in done.stdout
        done = lab.play("resume", "--check")
        assert done.returncode == 0, done.stdout
        for text in forward:
            assert f"here: {text}" in done.stdout
        assert ("stop backend" in done.stdout) == (name == "stage"), "a step that is done would be taken again"
        assert everything(lab) == before
    refused = lab.play("rotate_db_key", "--check")
    assert refused.returncode == 2, refused.stdout
    (journal,) = lab.journals()
    assert (
        f"The rotation would be refused: here: rotation {journal['rotation_id']} of db_key is open on this host "
        f"(phase switched, by tester since {journal['started']}): "
        "end it with resume.yml (on the new value) or rollback.yml (on the old one)"
    ) in " ".join(refused.stdout.split())
    assert "go back to the old value" not in refused.stdout
    assert everything(lab) == before


def test_check_mode_asks_the_provider_of_the_old_value_and_writes_nothing_down(tmp_path: Path) -> None:
    with bench(tmp_path) as desk:
        lab = desk.lab
        rotation = lab.rotation(secret="hf_token", entry=desk.entry("hf_token") | {"max_age_days": 90})
        desk.make("hf_token")
        lab.step("stage", rotation=rotation, new_values=dict(zip(["HF_TOKEN"], desk.new["hf_token"], strict=True)))
        before = everything(lab)
        for verdict in ("accepted", "rejected"):
            told = lab.step("ask_provider", rotation=rotation, _ansible_check_mode=True)
            assert told["verdict"] == verdict
            assert (
                f"discard what was staged, whatever the provider says of the old value: it says {verdict}"
                in told["would"]
            )
            assert everything(lab) == before
            desk.revoke("hf_token", desk.current("hf_token"))
