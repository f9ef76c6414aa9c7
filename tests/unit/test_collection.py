"""What a release makes of the checkout's files, and that the version has one place."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from keyturn.inputs import tree
from support.lab import ROOT

from release import collection

PLUGINS = {
    path.stem for folder in ("library", "plugins/lookup", "plugins/filter") for path in (ROOT / folder).glob("*.py")
}


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    collection.lay_out(ROOT, folder)
    return folder


@pytest.mark.parametrize(
    ("name", "text", "made"),
    [
        ("library/keyturn_x.py", "from ansible.module_utils.keyturn.entry import m", "from {P}.keyturn.entry import m"),
        ("library/keyturn_x.py", "from ansible.module_utils.basic import A", "from ansible.module_utils.basic import A"),
        ("plugins/action/keyturn_x.py", 'import_module(f"ansible.module_utils.keyturn.s")', 'import_module(f"{P}.keyturn.s")'),
        ("plugins/action/keyturn_x.py", 'action_loader.get("keyturn_host", c)', 'action_loader.get("keyturn.core.keyturn_host", c)'),
        ("library/keyturn_x.py", "- name: T\n  keyturn_turn:\n    a: b", "- name: T\n  keyturn.core.keyturn_turn:\n    a: b"),
        ("library/keyturn_x.py", "of M(keyturn_plan)", "of M(keyturn.core.keyturn_plan)"),
        ("roles/r/tasks/main.yml", "  keyturn_turn:\n", "  keyturn_turn:\n"),
        ("roles/r/vars/main.yml", "{{ lookup('keyturn_run_state', 'x') }}", "{{ lookup('keyturn.core.keyturn_run_state', 'x') }}"),
        ("roles/r/vars/main.yml", "{{ lookup('env', 'x') }}", "{{ lookup('env', 'x') }}"),
        ("inventory/staging/a.yml", "{{ x | keyturn_pattern }}", "{{ x | keyturn.core.keyturn_pattern }}"),
        ("ansible.cfg", "library = library\nforks = 1\naction_plugins = p\n", "forks = 1\n"),
        ("ansible.cfg", "stdout_callback = keyturn\n", "stdout_callback = keyturn.core.keyturn\n"),
        ("docs/a.md", "library = library\n", "library = library\n"),
    ],
)  # fmt: skip
def test_names_are_qualified_where_a_collection_does_not_find_them_otherwise(name: str, text: str, made: str) -> None:
    assert collection.qualified(name, text) == made.replace(
        "{P}", "ansible_collections.keyturn.core.plugins.module_utils"
    )


def test_no_name_of_a_plugin_is_left_that_a_collection_does_not_find(laid_out: Path) -> None:
    """Whatever way it is written in: only keys of tasks and Keyturn's own variables may be short."""
    known = "|".join(sorted(PLUGINS | {"keyturn_controller", "keyturn_host"}))
    looked_up = re.compile(rf"(?:loader\.\w+\(|lookup\(|query\(|\bq\()\s*['\"]?({known})\b|\|\s*(keyturn_pattern)\b")
    files = [path for path in laid_out.rglob("*") if path.suffix in (".py", ".yml", ".j2")]
    assert len(files) > 300
    texts = {path.relative_to(laid_out): path.read_text() for path in files}
    assert [(str(path), found) for path, text in texts.items() for found in looked_up.findall(text)] == []
    assert [str(path) for path, text in texts.items() if "ansible.module_utils.keyturn" in text] == []


def test_it_has_every_file_of_the_checkout_that_a_run_needs(laid_out: Path) -> None:
    pages = sorted(path.name for path in (ROOT / "library").glob("*.py"))
    assert sorted(path.name for path in (laid_out / "plugins/modules").iterdir()) == pages
    for folder, place in (("module_utils", laid_out / "plugins"), ("playbooks", laid_out), ("roles", laid_out)):
        ours = subprocess.run(["git", "ls-files", folder], cwd=ROOT, text=True, capture_output=True, check=True).stdout
        assert [
            name for name in ours.splitlines() if name not in collection.LEFT and not (place / name).is_file()
        ] == []
    settings = (laid_out / "ansible.cfg").read_text()
    assert "inject_facts_as_vars = false" in settings and settings.count("pipelining = true") == 2
    assert not [path for path in laid_out.rglob("*") if path.is_symlink()]


def test_the_version_has_one_place(laid_out: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert f"version: {version}\n" in (laid_out / "galaxy.yml").read_text()
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0].startswith(version)


def test_keyturn_knows_where_it_lies(laid_out: Path) -> None:
    assert (tree.ROOT, tree.IN_A_COLLECTION, tree.PAGES) == (ROOT, False, ROOT / "library")
    said = "from keyturn.inputs import tree; print(tree.ROOT, tree.IN_A_COLLECTION, tree.PAGES)"
    python = [sys.executable, "-c", said]
    place = {"PYTHONPATH": str(laid_out / "plugins/module_utils"), "PATH": "/usr/bin"}
    done = subprocess.run(python, env=place, text=True, capture_output=True, check=True)
    assert done.stdout == f"{laid_out} True {laid_out}/plugins/modules\n"
