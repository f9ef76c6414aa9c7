"""The table of Ansible's settings: each that there is has one line, each refusal refuses, and each play says its strategy."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.config.manager import ConfigManager
from keyturn.inputs.settings import REFUSED, problems
from support.lab import ROOT
from support.tables import settings_table

DEFINED = ConfigManager(str(ROOT / "ansible.cfg")).get_configuration_definitions()
# of versions that we support, beside the one that is installed
ELSEWHERE = {"INJECT_INVOCATION", "PARAMIKO_*", "WORKER_SESSION_ISOLATION"}
OTHER: dict[str, Any] = {
    "DEFAULT_HASH_BEHAVIOUR": "merge",
    "DEFAULT_STRATEGY": "free",
    "DEFAULT_UNDEFINED_VAR_BEHAVIOR": "0",
    "INVENTORY_IGNORE_EXTS": ".yml",
    "INVENTORY_IGNORE_PATTERNS": "app3",
    "VARIABLE_PRECEDENCE": "all_inventory",
    "_ANSIBALLZ_DEBUGPY_CONFIG": "{}",
    "_ANSIBALLZ_PYDEVD_CONFIG": "{}",
}


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")
def test_nothing_of_the_operator_is_forwarded_to_a_host(tmp_path: Path) -> None:
    """Root of a host would log in to the others with a forwarded agent."""
    mine = tmp_path / "config"
    mine.write_text("ForwardAgent yes\nForwardX11 yes\nRemoteForward 2222 localhost:22\n")
    settings = configparser.ConfigParser()
    settings.read(ROOT / "ansible.cfg")
    arguments = settings["ssh_connection"]["ssh_args"].split()
    done = subprocess.run(
        ["ssh", "-G", "-F", mine, *arguments, "a.example"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert {"forwardagent no", "forwardx11 no", "clearallforwardings yes"} <= set(lines)
    assert not [line for line in lines if line.startswith("remoteforward")]


def test_every_setting_of_ansible_has_one_line() -> None:
    patterns = [pattern for names, *_ in settings_table() for pattern in names]
    for name in DEFINED:
        # a name of its own counts before a pattern
        found = [name] if name in patterns else [one for one in patterns if fnmatchcase(name, one)]
        assert len(found) == 1, f"{name}: {found}"
    alive = {one for one in patterns if any(fnmatchcase(name, one) for name in DEFINED)}
    assert set(patterns) - alive - ELSEWHERE == set()
    assert len(patterns) == len(set(patterns))


def test_the_table_says_what_the_guard_refuses_and_why() -> None:
    said = {name: why for names, verdict, why, _ in settings_table() if verdict == "refused" for name in names}
    by_others = {"TAGS_RUN", "TAGS_SKIP", "ANSIBLE_PIPELINING", "DEFAULT_KEEP_REMOTE_FILES"}
    assert said.keys() == REFUSED.keys() | by_others
    for name, why in REFUSED.items():
        assert said[name].startswith(why)


def test_our_own_settings_are_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REFUSED:
        for variable in DEFINED[name]["env"]:
            monkeypatch.delenv(variable["name"], raising=False)
    assert list(problems(ConfigManager(str(ROOT / "ansible.cfg")))) == []


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_would_do_harm_is_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = DEFINED[name]["env"][0]["name"]
    monkeypatch.setenv(variable, OTHER.get(name, "1"))  # of INJECT_FACTS_AS_VARS this is Ansible's own, and not ours
    (said,) = problems(ConfigManager(str(ROOT / "ansible.cfg")))
    assert said == f"{name} is set (env: {variable}), and {REFUSED[name]}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ANSIBLE_STRATEGY", "linear"), ("ANSIBLE_TASK_TIMEOUT", "0"), ("ANSIBLE_ANY_ERRORS_FATAL", "no")],
)
def test_what_ansible_does_anyway_may_be_said(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    assert list(problems(ConfigManager(str(ROOT / "ansible.cfg")))) == []


def test_facts_are_no_variables_whatever_file_of_settings_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANSIBLE_INJECT_FACT_VARS", raising=False)
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    (said,) = problems(ConfigManager(str(tmp_path / "ansible.cfg")))
    assert said.startswith("INJECT_FACTS_AS_VARS is set (default), and facts of a host would override")


@pytest.mark.parametrize("strategy", ["free", "host_pinned", "debug", "mitogen_linear"])
def test_every_other_strategy_is_refused(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_STRATEGY", strategy)
    (said,) = problems(ConfigManager(str(ROOT / "ansible.cfg")))
    assert "hosts would not wait for each other" in said


def test_every_play_says_its_strategy_and_every_playbook_has_the_guard() -> None:
    for path in (ROOT / "playbooks").glob("*.yml"):
        plays = [play for play in yaml.safe_load(path.read_text()) if "hosts" in play]
        assert {play.get("strategy") for play in plays} <= {"linear"}, path.name
        if plays and path.name != "_back.yml":  # _recover.yml, which has it, comes before
            assert re.match(r"\{\{ lookup\('keyturn_whole_run', ", plays[0]["hosts"]), path.name
