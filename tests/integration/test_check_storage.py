"""The policy's DO and DON'T of key storage: a host that keeps them passes, and each that is broken is named with its remedy."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.fingerprint import fingerprint
from keyturn.ground import repository
from support import history
from support.evidence import everything
from support.lab import KEY, Lab, catalogue


def check(lab: Lab, production: bool = False) -> set[tuple[str, str, str]]:
    """Run the module and return each finding without its remedy, the lab's folder left out."""
    services = lab.services
    services["backend"]["log_file"] = "logs/backend.log"
    entries = {name: catalogue()[name] | {"max_age_days": 90} for name in ("db_key", "jwt")}
    rotations = [lab.rotation("none", secret=name, entry=entry, services=services) for name, entry in entries.items()]
    found = lab.step("storage_info", **lab.about(*rotations), production=production)["findings"]
    assert all(one["remedy"] for one in found)
    return {(one["severity"], one["rule"], one["what"].replace(f"{lab.app}/", "")) for one in found}


def git(folder: Path, *arguments: str) -> None:
    identity = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-c", "init.defaultBranch=main", "-C", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | identity)


def test_a_host_that_keeps_the_rules_has_no_finding(lab: Lab) -> None:
    lab.database.chmod(0o600)
    assert check(lab) == set()


def test_production_is_told_where_values_stand_in_clear_and_what_opens_a_backup(lab: Lab) -> None:
    lab.database.chmod(0o600)
    lab.step("stage")
    lab.step("prepare")
    lab.step("switch")
    lab.step("prove")
    lab.step("commit", step="decide")
    lab.step("commit", step="finish")
    (journal,) = lab.journals()
    backup = f"the backup of rotation {journal['rotation_id']} lies beside the value that opens it"
    assert check(lab) == {("note", "backups without their key", backup)}
    assert check(lab, production=True) == {
        ("warning", "backups without their key", backup),
        ("warning", "clear text on servers", f".env holds {KEY} in clear"),
        ("warning", "clear text on servers", ".env holds JWT_SECRET_KEY in clear"),
    }


BROKEN: dict[str, tuple[Callable[[Lab], Any], tuple[str, str, str]]] = {
    "mode of .env": (lambda lab: lab.env.chmod(0o644), ("error", "permissions", ".env has mode 0644")),
    "mode of the database": (
        lambda lab: None,  # as SQLite makes it
        ("warning", "permissions", "data/bank_accounts.db is open to every user"),
    ),
    "placeholder": (
        lambda lab: lab.env.write_text(
            lab.env.read_text().replace("JWT_SECRET_KEY=", "JWT_SECRET_KEY=your-secret-key-here\n#")
        ),
        ("error", "real values", "JWT_SECRET_KEY is a template's placeholder"),
    ),
    "template": (
        lambda lab: (lab.app / ".env.example").write_text(f"{KEY}={lab.key()}\nJWT_SECRET_KEY=change-me\n"),
        ("error", "templates", f".env.example has what looks like a real {KEY}"),
    ),
    "source": (
        lambda lab: (lab.app / "settings.py").write_text(f'import os\nKEY = "{lab.key()}"\n'),
        ("error", "one place each", f"settings.py holds {KEY} (line 2)"),
    ),
    "comment": (
        lambda lab: lab.env.write_text(f"{lab.env.read_text()}\n# it was {lab.key()}\n"),
        ("error", "one place each", f".env holds {KEY} (line 25)"),
    ),
    "log": (
        lambda lab: (lab.app / "logs/backend.log").write_text(f"started with {lab.key()}\n"),
        ("error", "logs", f"{KEY} stands in the log of backend"),
    ),
    "log, in base64": (
        lambda lab: (lab.app / "logs/backend.log").write_bytes(b"key=" + base64.b64encode(lab.key().encode())),
        ("error", "logs", f"{KEY} stands in the log of backend"),
    ),
    "script": (
        lambda lab: lab.break_start(f"export {KEY}={lab.key()}\n"),
        ("error", "environment of servers", f"{KEY} stands in start.sh"),
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_rule_that_is_broken_is_named(make_lab: Callable[..., Lab], what: str) -> None:
    lab = make_lab()
    (lab.app / "logs").mkdir(exist_ok=True)
    breaking, expected = BROKEN[what]
    breaking(lab)
    found = check(lab)
    assert expected in found, found
    assert not [said for one in found for said in one if lab.key() in said], "a finding shows a value"


def test_git_is_asked_what_it_would_take_has_taken_and_ever_took(tmp_path: Path) -> None:
    git(tmp_path, "init")
    names = ", ".join((*repository.SECRET_FILES, "data/shop.db", "data/shop.db-wal"))
    found = repository.look(tmp_path, [], ["data/shop.db", "/srv/elsewhere.db"])
    assert [one.what for one in found] == [f"git in {tmp_path} does not ignore {names}"]
    (tmp_path / ".gitignore").write_text(".env*\n!.env.example\n*.db\n*.db-*\n")
    (tmp_path / ".env.example").write_text("JWT_SECRET_KEY=change-me\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "rules")
    assert list(repository.look(tmp_path, ["JWT_SECRET_KEY"], [])) == []
    (tmp_path / ".env").write_text("JWT_SECRET_KEY=real\n")
    git(tmp_path, "add", "--force", ".env")
    git(tmp_path, "commit", "-m", "oh")
    assert [one.what for one in repository.look(tmp_path, [], [])] == [f"{tmp_path / '.env'} is committed"]
    git(tmp_path, "rm", "--cached", ".env")
    git(tmp_path, "commit", "-m", "away")
    assert [one.what for one in repository.look(tmp_path, [], [])] == [f".env was committed in {tmp_path} once"]


def report(lab: Lab, **more: Any) -> dict[str, Any]:
    given = {
        "hosts": {"here": {"findings": [], "values": {"db_key": {KEY: fingerprint(lab.key())}}}},
        "secrets": history.secrets(),
    }
    given |= {"environment": "staging", "reports": str(lab.reports), "production": False, "store": {"kind": "dotenv"}}
    return dict(lab.action("storage_report", **(given | more)))


def test_a_value_of_another_environment_is_found(lab: Lab) -> None:
    assert report(lab)["bad"] == []
    held = {"old": {KEY: "kt:000000000000"}, "new": {KEY: fingerprint(lab.key())}}
    document = {"environment": "production", "rotation_id": "20260101T000000Z-0123456789abcdef", "hosts": {"a": held}}
    (lab.reports / "production").mkdir(parents=True)
    (lab.reports / "production/20260101T000000Z-0123456789abcdef.json").write_text(json.dumps(document))
    (said,) = report(lab)["bad"]
    assert f"is also {KEY} of production in rotation 20260101T000000Z-0123456789abcdef" in said


def test_production_needs_a_store_and_history_is_searched(lab: Lab, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    git(checkout, "init")
    (checkout / ".gitignore").write_text(".env*\n*.db\n*.db-*\n")
    (checkout / "settings.py").write_text('aws_key = "AKIA' + 'IOSFODNN7EXAMPLE"\n')
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "one")
    (checkout / "settings.py").write_text("aws_key = None\n")
    git(checkout, "commit", "-am", "two")
    (checkout / "scan.pdf").write_bytes(b"%PDF-1.7\r%\xe2\xe3\r1 0 obj\r")
    (checkout / "job.py").write_text(f"import os\n{KEY} = '{lab.key()}'\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "three")
    held = f"{checkout}/job.py holds {KEY} {fingerprint(lab.key())} of here (line 2)"
    alone = "controller: staging keeps its values on its hosts alone"
    assert report(lab, production=True, checkout=str(checkout))["bad"] == [f"controller: {held}", alone]
    said = report(lab, production=True, checkout=str(checkout), history=True, fail_at="warning")
    assert f"controller: settings.py in the history of {checkout}: AWS Access Key" in said["bad"]
    assert lab.key() not in json.dumps(said)


def test_the_playbook_ends_by_what_it_finds(lab: Lab) -> None:
    lab.database.chmod(0o600)
    before = everything(lab)
    done = lab.play("check_storage", "--check")
    assert done.returncode == 0, done.stdout
    assert "here: nothing found" in done.stdout
    assert everything(lab) == before
    lab.env.chmod(0o640)
    done = lab.play("check_storage")
    assert done.returncode == 2, done.stdout
    assert f"chmod 600 {lab.env}" in done.stdout
    written = json.loads((lab.reports / "test/storage.json").read_text())
    assert [one["what"] for one in written["here"]] == [f"{lab.env} has mode 0640"]
    assert lab.key() not in done.stdout
