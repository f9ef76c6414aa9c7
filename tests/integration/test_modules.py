"""Modules and playbooks as ansible-doc, ansible-playbook and an operator see them."""

from __future__ import annotations

import ast
import configparser
import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from keyturn.base.fingerprint import fingerprint
from keyturn.base.generate import GENERATORS
from keyturn.fleet import answers
from keyturn.inputs import catalogue
from keyturn.inputs.documented import arguments
from keyturn.steps import generate
from support.lab import ROOT, Lab

BIN = Path(sys.executable).parent
STEPS = ROOT / "module_utils/keyturn/steps"
NAMES = sorted(path.stem for path in (ROOT / "library").glob("keyturn_*.py"))
PLAYBOOKS = sorted(path.name for path in (ROOT / "playbooks").glob("*.yml"))
# what an action keeps for itself of a module that works on a host
FOR_THE_ACTION = {
    "keyturn_evidence": {
        "folder": {"type": "path", "required": True},
        "recipient": {"type": "str", "required": True},
        "pass": {"type": "str", "required": True, "choices": ["after", "before"]},
    },
    "keyturn_issue": {"store": {"type": "dict", "default": {"kind": "dotenv"}}},
}
BY_THE_ACTION = {"keyturn_issue": {"admins_password"}}
ASKED = ("type", "required", "choices", "default", "elements")
# The module's main() with an AnsibleModule that only tells its argument spec.
SPEC = """
import json, runpy, sys
from ansible.module_utils import basic
class Told(basic.AnsibleModule):
    def __init__(self, argument_spec, **more):
        print(json.dumps([argument_spec, more]))
        sys.exit()
basic.AnsibleModule = Told
runpy.run_path(sys.argv[1], run_name="__main__")
"""
# what the one module of all phases takes, by the phase
OF_PHASES = """
import json, runpy, sys
print(json.dumps({name: phase.arguments for name, phase in runpy.run_path(sys.argv[1])["PHASES"].items()}))
"""


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    """What ansible-doc knows of all modules, as JSON: one start of it for all."""
    command = [BIN / "ansible-doc", "-t", "module", "-M", "library", "--json", *NAMES]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_ansible_doc_renders_every_module() -> None:
    command = [BIN / "ansible-doc", "-t", "module", "-M", "library", *NAMES]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        assert f"({ROOT}/library/{name}.py)" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_the_documentation_says_what_the_module_takes(documented: dict[str, Any], name: str) -> None:
    spec = spec_of(name) | FOR_THE_ACTION.get(name, {})
    spec = {option: about for option, about in spec.items() if option not in BY_THE_ACTION.get(name, ())}
    page = documented[name]
    assert shape(page["doc"]["options"]) == shape(spec)
    if "rotation" in spec:
        # the entry's own options are those of the catalogue, which the catalogue describes
        assert shape(page["doc"]["options"]["rotation"]["suboptions"]) == shape(catalogue.ROTATION)
    if (
        spec.get("application", {}).get("type") == "dict" and name != "keyturn_rotation_info"
    ):  # others are told its folder
        assert shape(page["doc"]["options"]["application"]["suboptions"]) == shape(catalogue.APPLICATION)
    for task in yaml.safe_load(page["examples"]):
        if name == "keyturn_phase":  # nobody calls it by its name
            continue
        assert set(task[name]) <= set(spec)
        assert {option for option, about in spec.items() if about.get("required")} <= set(task[name])
    assert page["return"]
    for value in page["return"].values():
        assert {"description", "returned", "type"} <= value.keys()
    assert page["doc"]["attributes"]["check_mode"]["support"] == "full"


def spec_of(name: str) -> dict[str, Any]:
    if (STEPS / f"{name.removeprefix('keyturn_')}.py").exists():
        return arguments(ROOT / "library" / f"{name}.py")  # nothing else says what it takes
    if name == "keyturn_phase":
        return {"phase": {"type": "str", "required": True, "choices": sorted(phases())}}
    if name.removeprefix("keyturn_") in answers.OF_PHASES:
        return dict(phases()[name.removeprefix("keyturn_")])
    spec, more = told_by(SPEC, name)
    assert more == {"supports_check_mode": True}
    return dict(spec)


@functools.cache
def phases() -> dict[str, Any]:
    return dict(told_by(OF_PHASES, "keyturn_phase"))


def told_by(program: str, name: str) -> Any:
    command = [sys.executable, "-c", program, ROOT / "library" / f"{name}.py"]
    told = subprocess.run(command, env={"PYTHONPATH": str(ROOT / "tests/support")}, text=True, capture_output=True)
    return json.loads(told.stdout)


def test_what_an_action_does_is_only_documented_in_its_module() -> None:
    actions = {path.stem for path in STEPS.glob("[a-z]*.py")}
    plugins = {path.stem.removeprefix("keyturn_") for path in (ROOT / "plugins/action").glob("keyturn_*.py")}
    assert plugins == actions | {"controller", "host", *answers.ANSWERS}, "run make docs"
    assert phases().keys() == answers.OF_PHASES.keys()
    for name in (*actions, *answers.OF_PHASES):
        page = ast.parse((ROOT / "library" / f"keyturn_{name}.py").read_text())
        assert not [node for node in page.body[1:] if not isinstance(node, ast.Assign | ast.ImportFrom)]


def shape(options: dict[str, Any]) -> dict[str, Any]:
    ordinary = {"required": False, "type": "str"}
    return {
        name: {word: value for word in ASKED if (value := about.get(word, ordinary.get(word))) is not None}
        for name, about in options.items()
    }


def test_both_settings_say_the_same() -> None:
    root, playbooks = (settings(ROOT / place) for place in ("ansible.cfg", "playbooks/ansible.cfg"))
    places = (
        "inventory",
        "roles_path",
        "library",
        "module_utils",
        "doc_fragment_plugins",
        "lookup_plugins",
        "action_plugins",
        "filter_plugins",
        "callback_plugins",
    )
    for name in places:
        root["defaults"][name] = f"../{root['defaults'][name]}"
    assert playbooks == root
    for name in places:
        assert (ROOT / "playbooks" / playbooks["defaults"][name]).exists()
    assert root["connection"]["pipelining"] == "true"


def settings(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser()
    parser.read(path)
    return {section: dict(parser[section]) for section in parser.sections()}


@pytest.mark.parametrize("folder", [".", "playbooks"])
def test_every_playbook_passes_the_syntax_check(folder: str) -> None:
    paths = [name if folder == "playbooks" else f"playbooks/{name}" for name in PLAYBOOKS]
    command = [BIN / "ansible-playbook", "--syntax-check", *paths]
    done = subprocess.run(command, cwd=ROOT / folder, env=Lab.environment(), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for name in PLAYBOOKS:
        assert f"playbook: {'' if folder == 'playbooks' else 'playbooks/'}{name}" in done.stdout


def test_generate_value_writes_a_private_file_and_prints_its_fingerprint(tmp_path: Path) -> None:
    dest = tmp_path / "new-key"
    done = generate_value(dest.relative_to("/"))  # as it stands where one types
    assert done.returncode == 0, done.stdout
    value = dest.read_text().removesuffix("\n")
    assert dest.stat().st_mode & 0o777 == 0o600
    assert f"{dest}: {fingerprint(value)}" in " ".join(done.stdout.split())
    assert value not in done.stdout + done.stderr, "the value was printed"
    again = generate_value(dest.relative_to("/"))
    assert again.returncode == 2, again.stdout
    assert f"{dest} exists: choose a new file, a value is never overwritten" in " ".join(again.stdout.split())
    assert dest.read_text() == f"{value}\n", "the file was overwritten"


def generate_value(dest: Path) -> subprocess.CompletedProcess[str]:
    command = [BIN / "ansible-playbook", ROOT / "playbooks/generate_value.yml", "-e", "keyturn_kind=fernet"]
    command += ["-e", f"keyturn_dest={dest}", "-vvv", "--diff"]
    settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    return subprocess.run(command, cwd="/", env=Lab.environment() | settings, text=True, capture_output=True)


def test_generate_value_says_what_it_needs() -> None:
    command = [BIN / "ansible-playbook", "playbooks/generate_value.yml"]
    done = subprocess.run(command, cwd=ROOT, env=Lab.environment(), text=True, capture_output=True)
    assert done.returncode == 2, done.stdout
    said = " ".join((done.stdout + done.stderr).split())
    *others, last = sorted(GENERATORS)
    assert f"Give a kind ({', '.join(others)} or {last}) and a file that does not exist: -e keyturn_kind=" in said


@pytest.mark.parametrize("kind", sorted(GENERATORS))
def test_every_kind_of_value_can_be_generated(tmp_path: Path, kind: str) -> None:
    dest = tmp_path / "value"
    would = generate.run({"kind": kind, "dest": str(dest), "variable": ""}, check_mode=True)
    assert would == {"changed": True, "path": str(dest)} and not dest.exists()
    answer = Lab.action("generate", kind=kind, dest=str(dest))
    value = dest.read_text().strip()
    assert answer["fingerprint"] == fingerprint(value)
    assert len(value) >= 43
    Lab.action("generate", kind=kind, dest=f"{dest}.env", variable="JWT_SECRET_KEY")
    assert re.fullmatch(r"JWT_SECRET_KEY=[A-Za-z0-9_=-]{43,}\n", Path(f"{dest}.env").read_text())
    assert value not in str(answer), "the value was returned"


def test_a_value_goes_nowhere_else_and_has_a_kind_that_is_known(tmp_path: Path) -> None:
    dangling = tmp_path / "dangling"
    dangling.symlink_to("nowhere")
    assert "exists" in Lab.action("generate", kind="fernet", dest=str(dangling))["msg"]
    missing = tmp_path / "missing" / "value"
    assert "is not a folder" in Lab.action("generate", kind="fernet", dest=str(missing))["msg"]
    answer = Lab.action("generate", kind="uuid", dest=str(missing))
    assert "value of kind must be one of: fernet, hex, password, token_urlsafe, got: uuid" in answer["msg"]
