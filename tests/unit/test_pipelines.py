"""The pipelines are what their schemas want, and run playbooks that exist."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from keyturn.base.errors import KeyturnError
from keyturn.inputs import pipeline
from keyturn.inputs.request import INCIDENT_ID, REASON
from keyturn.providers.supplied import PREFIX
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.lab import ROOT, catalogue, optional
from support.runner import heard

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
GITLAB = ROOT / "ci/gitlab/rotate.gitlab-ci.yml"
# LEFT is a file that it would leave
ATTACK = (
    "{{ lookup('pipe', 'touch LEFT') }}",
    "{% set x = lookup('pipe', 'touch LEFT') %}",
    "x\", \"keyturn_operator\": \"{{ lookup('pipe', 'touch LEFT') }}",
    "x}\n{{ lookup('pipe', 'touch LEFT') }}",
)


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


RUN = """#!/bin/sh
exec .venv/bin/python -c 'from keyturn.base.pipelines import GitHub
log = GitHub()
print(*log.begin(), "::error::of a host", *log.fold("hosts"), "app1", *log.unfold(), *log.end(), sep="\\n")'
"""


def rotating_step(tmp_path: Path, run: str, **environment: str) -> str:
    """Run the step that rotates, with ``run`` in the place of ``ci/rotate``; return what it prints."""
    (step,) = (
        step["run"]
        for step in workflow("rotate-environment")["jobs"]["rotate"]["steps"]
        if "ci/rotate" in step.get("run", "")
    )
    for place, text in (("ci/rotate", run), (".venv/bin/python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text(text)
        (tmp_path / place).chmod(0o755)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "module_utils"), "AUDIENCE": "", **environment}
    return subprocess.run(
        ["bash", "-e", "-c", step], cwd=tmp_path, env=env, text=True, capture_output=True, check=True
    ).stdout


def test_of_all_that_a_run_prints_its_own_commands_are_the_pipeline_s(tmp_path: Path) -> None:
    assert heard(rotating_step(tmp_path, RUN).splitlines()) == ["::group::hosts", "::endgroup::"]


CURL = """#!/bin/sh
printf '%s\\n' "$@" >arguments
cat >given
echo '{"value": "the-token-of-the-run"}'
"""


def test_no_other_user_of_a_runner_sees_by_what_it_logs_in(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/curl").write_text(CURL)
    (tmp_path / "bin/curl").chmod(0o755)
    said = {"AUDIENCE": "a", "ACTIONS_ID_TOKEN_REQUEST_URL": "https://x?y", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "canary"}
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    printed = rotating_step(tmp_path, '#!/bin/sh\necho "with $KEYTURN_STORE_JWT"\n', PATH=path, **said)
    assert printed.splitlines() == ["::add-mask::the-token-of-the-run", "with the-token-of-the-run"]
    assert "canary" not in (tmp_path / "arguments").read_text()
    assert (tmp_path / "given").read_text() == "Authorization: bearer canary\n"


def test_no_expression_stands_in_a_shell_script() -> None:
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job.get("steps", []):
                assert "${{" not in step.get("run", ""), f"{path.name}: give it by env, a shell would read the data"


def rotate(tmp_path: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``ci/rotate`` with an ``ansible-playbook`` that prints its arguments."""
    (tmp_path / "ci").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "ci/rotate").write_bytes((ROOT / "ci/rotate").read_bytes())
    (tmp_path / "module_utils").symlink_to(ROOT / "module_utils")
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    told = tmp_path / ".venv/bin/ansible-playbook"
    told.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    told.chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("KEYTURN_")}
    command = ["bash", "ci/rotate", *arguments]
    return subprocess.run(command, cwd=tmp_path, env=clean | environment, text=True, capture_output=True)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, {"keyturn_reason": "scheduled"}),
        ({"KEYTURN_INCIDENT": "INC-7"}, {"keyturn_reason": "incident INC-7", "keyturn_override_staging": "INC-7"}),
        ({"KEYTURN_REASON": "2026-01-31"}, {"keyturn_reason": "2026-01-31"}),
        ({"KEYTURN_INCIDENT": "7"}, {"keyturn_reason": "incident 7", "keyturn_override_staging": "7"}),
        ({"KEYTURN_REASON": "quarterly: #12/3", "KEYTURN_INCIDENT": ""}, {"keyturn_reason": "quarterly: #12/3"}),
        (
            {"CI": "true", "KEYTURN_REPORTS_DIR": "/kept", "KEYTURN_OVERRIDE_LOG": "burnt"},
            {"keyturn_pipeline": True, "keyturn_reports_dir": "/kept", "keyturn_override_log": "burnt"},
        ),
    ],
)
def test_what_a_pipeline_brings_is_data(tmp_path: Path, environment: dict[str, str], wanted: dict[str, str]) -> None:
    done = rotate(tmp_path, environment, "staging", "rotate_jwt_secret")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:4] == ["playbooks/rotate_jwt_secret.yml", "-i", "inventory/staging", "-e"]
    usual = {"keyturn_reason": "scheduled", "keyturn_override_staging": "", "keyturn_override_log": ""}
    given = dict(DataLoader().load(trust_as_template(lines[4])))
    assert given == usual | {"keyturn_pipeline": False} | wanted


@pytest.mark.parametrize("text", ATTACK)
def test_no_template_that_a_pipeline_is_given_is_one(tmp_path: Path, text: str) -> None:
    """Two walls, each alone: what is refused at the door would be data behind it."""
    left = tmp_path / "left"
    said = text.replace("LEFT", str(left))
    given = DataLoader().load(trust_as_template(pipeline.option({"keyturn_reason": said})))
    assert given == {"keyturn_reason": said}
    reason = Templar(DataLoader(), variables=given).template(trust_as_template("{{ keyturn_reason }}"))
    assert (reason, left.exists()) == (said, False)


@pytest.mark.parametrize("name", ["KEYTURN_REASON", "KEYTURN_INCIDENT", "KEYTURN_OVERRIDE_LOG", "KEYTURN_REPORTS_DIR"])
def test_a_template_is_refused_before_anything_is_run(tmp_path: Path, name: str) -> None:
    said = ATTACK[0].replace("LEFT", str(tmp_path / "left"))
    done = rotate(tmp_path, {name: said}, "staging", "rotate_jwt_secret")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"ci/rotate: {name} must be ") and said not in done.stderr
    assert not (tmp_path / "left").exists()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("staging", "../../tmp/own"), "no such playbook"),
        (("staging", "generate_value"), "no such playbook"),
        (("staging", ""), "no such playbook"),
        (("../staging", "rotate_jwt_secret"), "the environment must be"),
        (("-e@/tmp/own", "rotate_jwt_secret"), "the environment must be"),
    ],
)
def test_playbook_and_environment_are_names_of_a_list(tmp_path: Path, arguments: tuple[str, str], wanted: str) -> None:
    done = rotate(tmp_path, {}, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert wanted in done.stderr


@pytest.mark.parametrize("folder", ["relative", "/a/../b", "/a/.", "/a b", "/a\n/b", "/{{x}}", "//a"])
def test_a_folder_of_reports_is_a_path_and_nothing_else(folder: str) -> None:
    with pytest.raises(KeyturnError, match="KEYTURN_REPORTS_DIR must be a path"):
        pipeline.variables("staging", "verify", {"KEYTURN_REPORTS_DIR": folder})


def test_the_list_has_what_the_pipelines_run() -> None:
    assert {f"{name}.yml" for name in pipeline.PLAYBOOKS} <= {path.name for path in (ROOT / "playbooks").iterdir()}
    inputs = workflow("rotate")["True"]["workflow_dispatch"]["inputs"]
    assert {*inputs["playbook"]["options"], "rotate_due", "prune", "status", "notify"} <= set(pipeline.PLAYBOOKS)


def test_awx_asks_for_a_secret_of_the_catalogue_and_has_a_template_of_each_playbook() -> None:
    awx = DataLoader().load_from_file(str(ROOT / "applications/trader_ai/awx/templates.yml"))
    asked = {question["variable"]: question for question in awx["awx_survey"]["spec"]}
    assert asked["keyturn_secret"]["choices"] == [*catalogue(), *optional()]
    assert {name for name in pipeline.PLAYBOOKS if name not in awx["awx_playbooks"]} == {
        path.stem for path in (ROOT / "playbooks").glob("rotate*.yml") if path.stem != "rotate_due"
    }
    for name, pattern in (("keyturn_reason", REASON), ("keyturn_override_staging", INCIDENT_ID)):
        assert pattern.fullmatch("a" * asked[name]["max"]) and not pattern.fullmatch("a" * (asked[name]["max"] + 1))
    brought = {
        name: entry["variables"]
        for name, entry in (catalogue() | optional()).items()
        if entry["source"]["kind"] == "supplied"
    }
    for made in awx["awx_credential_types"]:
        variables = brought.pop(made["name"].removeprefix("Keyturn "))
        assert [field["id"] for field in made["inputs"]["fields"]] == made["inputs"]["required"] == variables
        assert all(field["secret"] for field in made["inputs"]["fields"])
        assert made["injectors"] == {"env": {PREFIX + name: f"{{{{ {name} }}}}" for name in variables}}
    assert brought == {}


def test_the_workflow_of_awx_goes_on_by_how_a_job_has_ended() -> None:
    awx = DataLoader().load_from_file(str(ROOT / "applications/trader_ai/awx/templates.yml"))
    nodes = {node["identifier"]: node for node in awx["awx_workflow_nodes"]}
    templates = {awx["awx_rotate"]["name"], *(f"Keyturn {name}" for name in awx["awx_playbooks"])}
    after = {}
    for name, node in nodes.items():
        job = node["unified_job_template"]
        assert job["type"] == "workflow_approval" or job["name"] in templates
        after[name] = {
            way: [one["identifier"] for one in node["related"].get(f"{way}_nodes", [])]
            for way in ("success", "failure")
        }
    assert {one for ways in after.values() for way in ways.values() for one in way} == nodes.keys() - {"rotate-staging"}
    assert after["rotate-staging"] == {"success": ["approve-production"], "failure": ["resume-staging"]}
    assert after["approve-production"]["success"] == ["rotate-production"]
    assert after["rotate-production"] == {"success": ["verify-production"], "failure": ["look-at-production"]}
    assert after["look-at-production"] == {"success": ["resume-production"], "failure": []}


def test_every_action_is_pinned_by_its_commit() -> None:
    used = [line.split("uses: ")[1] for path in WORKFLOWS for line in path.read_text().splitlines() if "uses: " in line]
    theirs = [one for one in used if not one.startswith("./.github/workflows/")]
    assert len(theirs) > 5
    assert [one for one in theirs if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []
    versions = {one.split("@")[0]: one for one in theirs}
    assert set(theirs) == set(versions.values()), "one action, one version"


def test_no_checkout_leaves_its_token_behind() -> None:
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job.get("steps", []):
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"] == {"persist-credentials": False}


def test_each_environment_has_a_runner_of_its_own() -> None:
    assert workflow("rotate-environment")["jobs"]["rotate"]["runs-on"][1:] == ["keyturn", "${{ inputs.environment }}"]
    jobs = yaml.safe_load(GITLAB.read_text().replace("!reference", ""))
    assert {name: jobs[f"rotate-{name}"]["tags"] for name in ("staging", "production")} == {
        name: ["keyturn", name] for name in ("staging", "production")
    }
    assert "tags" not in jobs[".rotate"]


def test_a_runner_installs_by_hash_and_nothing_of_demo_or_tests() -> None:
    for said in (workflow("rotate-environment")["jobs"]["rotate"]["steps"], GITLAB.read_text()):
        assert "make runner" in str(said) and "make setup" not in str(said)
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    locked: dict[str, list[Requirement]] = {}
    for block in re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n", "", text).strip()):
        first, *hashes = [line.strip(" \\") for line in block.splitlines()]
        assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes), first
        found = Requirement(first)
        assert str(found.specifier).startswith("=="), first
        locked.setdefault(canonicalize_name(found.name), []).append(found)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    wanted = [Requirement(one) for one in (*project["project"]["dependencies"], *groups["stores"], *groups["storage"])]
    for one in wanted:
        versions = [found.specifier for found in locked[canonicalize_name(one.name)]]
        assert all(one.specifier.contains(str(version).removeprefix("==")) for version in versions), one
    named = {canonicalize_name(Requirement(one).name) for one in (*groups["demo"], *groups["test"])}
    assert not locked.keys() & named


def test_every_schedule_runs_the_same_each_day_and_whatever_comes_of_it(tmp_path: Path) -> None:
    (tmp_path / "ci").mkdir()
    for name in ("rotate", "scheduled"):
        (tmp_path / "ci" / name).write_bytes((ROOT / "ci" / name).read_bytes())
        (tmp_path / "ci" / name).chmod(0o755)
    (tmp_path / "module_utils").symlink_to(ROOT / "module_utils")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    told = tmp_path / ".venv/bin/ansible-playbook"
    told.write_text('#!/bin/sh\nprintf "%s %s\\n" "$1" "$3"\n[ "$1" != playbooks/rotate_due.yml ]\n')
    told.chmod(0o755)
    done = subprocess.run([tmp_path / "ci/rotate", "staging", "scheduled"], text=True, capture_output=True)
    wanted = [f"playbooks/{name}.yml inventory/staging" for name in ("rotate_due", "prune", "status", "notify")]
    assert (done.stdout.splitlines(), done.returncode) == (wanted, 1)

    folder = ROOT / "files/schedule"
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    unit.read(folder / "keyturn@.service")
    assert unit["Service"]["ExecStart"] == f"{unit['Service']['WorkingDirectory']}/ci/scheduled %i"
    lines = [line for line in (folder / "keyturn.cron").read_text().splitlines() if line[:1].isdigit()]
    assert [line.split()[5:] for line in lines] == [
        ["keyturn", "cd", "/opt/keyturn", "&&", "ci/scheduled", name] for name in ("staging", "production")
    ]
    jobs = workflow("scheduled")["jobs"]
    assert [(job["with"]["environment"], job["with"]["playbook"]) for job in jobs.values()] == [
        (name, "scheduled") for name in ("staging", "production")
    ]
    rules = yaml.safe_load(GITLAB.read_text().replace("!reference", ""))["rotate-production"]["rules"]
    assert rules[0]["when"] == "always" and '$KEYTURN_PLAYBOOK == "scheduled"' in rules[0]["if"]


def test_systemd_takes_the_timer() -> None:
    units = [ROOT / "files/schedule" / f"keyturn@.{kind}" for kind in ("service", "timer")]
    done = subprocess.run(["systemd-analyze", "verify", *units], text=True, capture_output=True)
    said = [line for line in done.stderr.splitlines() if "keyturn@" in line and "/opt/keyturn" not in line]
    assert said == []


def test_the_reports_of_both_pipelines_outlive_their_jobs() -> None:
    job = workflow("rotate-environment")["jobs"]["rotate"]
    kept = yaml.safe_load(GITLAB.read_text().replace("!reference", ""))[".rotate"]["variables"]["KEYTURN_REPORTS_DIR"]
    assert job["env"]["KEYTURN_REPORTS_DIR"] == f"${{{{ vars.KEYTURN_REPORTS_DIR || '{kept}' }}}}"
    assert Path(kept).is_absolute()


def test_a_secret_of_the_catalogue_is_named_beside_the_playbook_that_takes_any() -> None:
    assert pipeline.variables("staging", "rotate", {"KEYTURN_SECRET": "cookie"})["keyturn_secret"] == "cookie"
    assert "keyturn_secret" not in pipeline.variables("staging", "verify", {})
    for playbook, said in (("rotate", {}), ("rotate_db_key", {"KEYTURN_SECRET": "jwt"})):
        with pytest.raises(KeyturnError, match=r"^KEYTURN_SECRET names the secret for the playbook rotate"):
            pipeline.variables("staging", playbook, said)
    with pytest.raises(KeyturnError, match=r"^KEYTURN_SECRET must be the name of a secret"):
        pipeline.variables("staging", "rotate", {"KEYTURN_SECRET": "{{ x }}"})


@pytest.mark.parametrize("name", ["KEYTURN_APPLICATION", "KEYTURN_HOSTS"])
def test_who_starts_a_pipeline_does_not_choose_the_application(name: str) -> None:
    assert name.lower() not in pipeline.variables("staging", "verify", {name: "/tmp/evil"})
    assert "evil" not in pipeline.option(pipeline.variables("staging", "verify", {name: "/tmp/evil"}))
