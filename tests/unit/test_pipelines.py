"""The pipelines are what their schemas want, and run playbooks that exist."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.lab import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
GITLAB = ROOT / "ci/gitlab/rotate.gitlab-ci.yml"


def workflow(name: str) -> dict[str, Any]:
    # "on" is true in YAML 1.1
    return {
        str(key): value for key, value in yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text()).items()
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["vendor.github-workflows", *map(str, WORKFLOWS)],
        ["vendor.gitlab-ci", "--data-transform", "gitlab-ci", str(GITLAB)],
    ],
    ids=["github", "gitlab"],
)
def test_the_pipelines_are_what_their_schema_wants(arguments: list[str]) -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run([program, "--builtin-schema", *arguments], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout


def actionlint(*paths: Path) -> list[tuple[str, str]]:
    """Return kind and message of what actionlint finds."""
    environment = os.environ | {"NODE_PATH": str(Path(sys.prefix) / "npm/node_modules")}
    command = ["node", ROOT / "tests/support/actionlint.cjs", *paths]
    done = subprocess.run(command, text=True, capture_output=True, env=environment, check=True)
    return [(kind, message) for kind, message in json.loads(done.stdout)]


def test_actionlint_finds_nothing_in_the_workflows(tmp_path: Path) -> None:
    found = actionlint(*WORKFLOWS)
    # the label of one's own runners, which a file that it cannot read would tell it
    assert {kind for kind, _ in found} <= {"runner-label"}, found
    assert all('label "keyturn" is unknown' in message for _, message in found)

    broken = tmp_path / "rotate.yml"
    for right, wrong, kind in (
        ("needs: staging", "needs: stagign", "job-needs"),
        ("inputs.playbook", "inputs.playboook", "expression"),
    ):
        text = (ROOT / ".github/workflows/rotate.yml").read_text()
        assert right in text
        broken.write_text(text.replace(right, wrong))
        assert kind in {kind for kind, _ in actionlint(broken)}


def test_the_playbooks_of_the_pipeline_exist() -> None:
    inputs = workflow("rotate")["True"]["workflow_dispatch"]["inputs"]
    choices = set(inputs["playbook"]["options"])
    assert choices == {path.stem for path in (ROOT / "playbooks").glob("rotate_*.yml")} - {"rotate_due"}


def test_production_comes_after_staging_and_one_run_at_a_time() -> None:
    found = workflow("rotate")
    assert found["concurrency"] == {"group": "keyturn-rotate", "cancel-in-progress": False}
    assert found["jobs"]["production"]["needs"] == "staging"
    assert yaml.safe_load(GITLAB.read_text().replace("!reference", ""))["stages"] == ["staging", "production"]


def test_no_expression_stands_in_a_shell_script() -> None:
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job.get("steps", []):
                assert "${{" not in step.get("run", ""), f"{path.name}: give it by env, a shell would read the data"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, {"keyturn_reason": "scheduled", "keyturn_override_staging": ""}),
        ({"KEYTURN_INCIDENT": "INC-7"}, {"keyturn_reason": "incident INC-7", "keyturn_override_staging": "INC-7"}),
        (
            {"KEYTURN_REASON": "a b' $(id) \"", "KEYTURN_INCIDENT": ""},
            {"keyturn_reason": "a b' $(id) \"", "keyturn_override_staging": ""},
        ),
    ],
)
def test_what_a_pipeline_brings_is_data(tmp_path: Path, environment: dict[str, str], wanted: dict[str, str]) -> None:
    (tmp_path / "ci").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "ci/rotate").write_bytes((ROOT / "ci/rotate").read_bytes())
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    told = tmp_path / ".venv/bin/ansible-playbook"
    told.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    told.chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYTURN_")}
    command = ["bash", "ci/rotate", "staging", "rotate_jwt_secret"]
    done = subprocess.run(command, cwd=tmp_path, env=clean | environment, text=True, capture_output=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[:4] == ["playbooks/rotate_jwt_secret.yml", "-i", "inventory/staging", "-e"]
    assert json.loads(lines[4]) == wanted
