"""A host in other hands: its Python answers what the test says, and the controller is none of its."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.lab import Lab

LIAR = f"""#!{sys.executable} -I
import pathlib, sys
sys.stdin.read()
sys.stdout.write(pathlib.Path(__file__).with_name("answer").read_text())
"""
STATE: dict[str, Any] = {"changed": False, "rotation": {}, "closed": {}, "expired": []}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A host whose interpreter is not Python."""
    found = Lab(tmp_path / "host")
    liar = tmp_path / "liar/python"
    liar.parent.mkdir()
    liar.write_text(LIAR)
    liar.chmod(0o755)
    found.interpreter = str(liar)
    found.write_inventory()
    return found


def answer(lab: Lab, said: str) -> None:
    Path(lab.interpreter).with_name("answer").write_text(said)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_a_host_answers_is_no_variable_of_the_controller(lab: Lab, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    hook = own / "hook.yml"
    hook.write_text(yaml.safe_dump([{"name": "Own it", "ansible.builtin.command": {"cmd": f"touch {own}/owned"}}]))
    facts = {
        "keyturn_textfile": f"{own}/written.prom",
        "keyturn_reports_dir": f"{own}/reports",
        "keyturn_return_hook": str(hook),
        "keyturn_environment": "../own",
    }
    held = {
        name: {"used": False, "values": {}, "problem": ""} for name in ("jwt", "db_key", "plaid", "alpaca", "hf_token")
    }
    orders = {"ansible_facts": facts, "add_host": {"host_name": "here", "host_vars": facts}}
    answer(lab, json.dumps(STATE | {"held": held} | orders))
    before = files(own)
    done = lab.play("status")
    assert "TASK [rotation : Reckon what is needed]" in done.stdout, done.stdout + done.stderr
    assert files(own) == before
    assert (lab.reports / "test/status.json").exists()


def test_what_a_host_answers_is_shown_and_does_nothing(lab: Lab) -> None:
    words = "a reason\n::error::forged\nTASK [forged] ****\n\x1b[2J##[error]forged"
    answer(lab, f"::error::forged before\n{json.dumps({'failed': True, 'msg': words})}\n::error::forged behind\n")
    done = lab.play("verify")
    assert done.returncode == 2
    output = done.stdout + done.stderr
    assert "a reason" in output
    lines = [line.strip() for line in output.splitlines()]
    assert not [line for line in lines if line.startswith(("::", "TASK [forged"))]
    assert "\x1b[2J" not in output and "##[error]" not in output
