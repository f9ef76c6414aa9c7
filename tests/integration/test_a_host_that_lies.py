"""A host in other hands: its Python answers what the test says, and the controller is none of its."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values
from support.lab import Lab, catalogue

LIAR = f"""#!{sys.executable} -I
import pathlib, sys
asked = sys.stdin.read()
folder = pathlib.Path(__file__).parent
found = [path for path in folder.glob("answer.*") if f'"phase": "{{path.suffix[1:]}}"' in asked] or [folder / "answer"]
sys.stdout.write(found[0].read_text())
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


def answer(lab: Lab, said: str, phase: str = "") -> None:
    Path(lab.interpreter).with_name(f"answer.{phase}".rstrip(".")).write_text(said)


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
    held = {name: {"used": False, "values": {}, "problem": ""} for name in catalogue()}
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


ID = "20260101T000000Z-0123456789abcdef"


def test_a_host_that_fails_parts_no_others_that_have_decided(tmp_path: Path, lab: Lab) -> None:
    """The first of three has finished, the second has decided, and the third spoils the run that goes on."""
    answer(lab, json.dumps({"failed": True, "msg": "no"}))
    answer(lab, json.dumps(STATE), phase="rotation_info")
    labs = {name: Lab(tmp_path / name) for name in ("first", "second")}
    document = yaml.safe_load((lab.inventory / "hosts.yml").read_text())
    group = document["trader_ai"]
    for name, one in labs.items():
        told = yaml.safe_load((one.inventory / "hosts.yml").read_text())["trader_ai"]
        own = ("keyturn_app_root", "keyturn_state_dir", "keyturn_services")
        group["hosts"][name] = told["hosts"]["here"] | {key: told["vars"][key] for key in own}
    (lab.inventory / "hosts.yml").write_text(yaml.safe_dump(document))
    try:
        for name, one in labs.items():
            one.start()
            given = {"rotation": one.rotation(ID, secret="jwt", entry=catalogue()["jwt"] | {"max_age_days": 90})}
            one.step("stage", **given, new_values={"JWT_SECRET_KEY": "n" * 43})
            one.step("prove", **given)
            one.step("commit", **given, step="decide")
            if name == "first":
                one.step("commit", **given, step="finish")
        done = lab.play("resume", "-e", f"keyturn_rotation_id={ID}")
        assert done.returncode == 2, done.stdout
        assert "here: no" in done.stdout, done.stdout
        (journal,) = labs["second"].journals()
        assert (journal["phase"], journal["decision"]) == ("proved", "commit")
        # the first is away, and the run before had heard that all of them had decided
        path = lab.reports / f"test/{ID}.json"
        told = json.loads(path.read_text())
        told["hosts"]["here"] = told["hosts"]["second"]
        path.write_text(json.dumps(told | {"decided": True}))
        lie = {name: journal[name] for name in ("rotation_id", "secret", "operator", "started", "phase", "old", "new")}
        answer(lab, json.dumps(STATE | {"rotation": lie | {"decision": "rollback"}}), phase="rotation_info")
        done = lab.play("resume", "-e", json.dumps({"keyturn_exclude": {"first": "it is away"}}))
        assert done.returncode == 2, done.stdout
        (journal,) = labs["second"].journals()
        assert (journal["phase"], journal["decision"]) == ("proved", "commit")
        assert {dotenv_values(one.env)["JWT_SECRET_KEY"] for one in labs.values()} == {"n" * 43}
    finally:
        for one in labs.values():
            one.stop()
