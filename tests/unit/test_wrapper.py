"""bin/keyturn finds this tree's own Ansible from any folder, and says what there is to run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.lab import ROOT

ENVIRONMENT = {"PATH": os.environ["PATH"]}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree whose ansible-playbook says how it was called."""
    tree = tmp_path / "a tree"
    (tree / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "bin/keyturn", tree / "bin")
    shutil.copytree(ROOT / "playbooks", tree / "playbooks")
    program = tree / ".venv/bin/ansible-playbook"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$ANSIBLE_CONFIG"; for one; do echo "$one"; done; exit 4\n')
    program.chmod(0o755)
    return tree


def run(tree: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run it from another folder, by a link."""
    link = tree.parent / "keyturn"
    link.unlink(missing_ok=True)
    link.symlink_to(tree / "bin/keyturn")
    return subprocess.run([link, *arguments], cwd="/", env=ENVIRONMENT | more, text=True, capture_output=True)


@pytest.mark.parametrize("name", ["rotate_db_key", "rotate_db_key.yml", "playbooks/rotate_db_key.yml"])
def test_it_runs_the_playbook_with_the_rest(tree: Path, name: str) -> None:
    done = run(tree, name, "-e", "keyturn_reason=a b", "--check")
    assert done.returncode == 4
    called = [f"{tree}/playbooks/rotate_db_key.yml", "-e", "keyturn_reason=a b", "--check"]
    assert done.stdout.splitlines() == [f"{tree}/ansible.cfg", *called]
    assert run(tree, name, ANSIBLE_CONFIG="/mine").stdout.splitlines()[0] == "/mine"


def test_without_a_playbook_it_lists_each_with_a_line() -> None:
    playbooks = sorted(path.stem for path in (ROOT / "playbooks").glob("[a-z]*.yml"))
    done = subprocess.run([ROOT / "bin/keyturn"], env=ENVIRONMENT, text=True, capture_output=True, check=True)
    usage, *lines = done.stdout.splitlines()
    assert usage.startswith("usage: keyturn PLAYBOOK ")
    assert [line.split()[0] for line in lines] == playbooks
    assert [line for line in lines if not re.fullmatch(r"  \w+ +[A-Z].{10,100}\.", line)] == []


@pytest.mark.parametrize("name", ["rotat", "_lifecycle", "../playbooks/verify", "group_vars"])
def test_what_is_no_playbook_is_refused(tree: Path, name: str) -> None:
    done = run(tree, name)
    assert done.returncode == 2
    assert "there is no playbook" in done.stderr and done.stdout == ""


def test_a_tree_without_its_environment_says_how_it_is_made(tree: Path) -> None:
    shutil.rmtree(tree / ".venv")
    done = run(tree, "verify")
    assert done.returncode == 2
    assert f"run make setup in {tree}" in done.stderr
