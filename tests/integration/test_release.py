"""The artefact of a release: installed in an empty folder with no checkout in reach, it does what the checkout does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.evidence import everything, lost
from support.lab import ROOT, Lab

from release import bill, collection

PROGRAMS = Path(sys.executable).parent


class Installed(NamedTuple):
    """The artefact, where it is installed, and a host to try it on."""

    artefact: Path
    folder: Path
    lab: Lab

    @property
    def within(self) -> Path:
        """The folder of the installed collection."""
        return self.folder / "collections/ansible_collections/keyturn/core"

    def run(self, program: str | Path, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program of Ansible's in the empty folder, with nothing of the checkout in its environment."""
        environment = {
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
            "ANSIBLE_CONFIG": str(self.within / "ansible.cfg"),
        }
        command = [program, *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment | more, text=True, capture_output=True)

    def play(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run playbooks on the host."""
        return self.run("ansible-playbook", "-i", self.lab.inventory, *arguments, **more)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    folder = tmp_path_factory.mktemp("empty")
    artefact = collection.build(ROOT, tmp_path_factory.mktemp("built"))
    lab = Lab(tmp_path_factory.mktemp("host"))
    lab.interpreter = sys.executable  # that of the tests has the checkout's modules in reach
    lab.write_inventory()
    lab.start()
    made = Installed(artefact, folder, lab)
    for step in (["install", "-p", folder / "collections", artefact], ["verify", "keyturn.core"]):
        done = made.run("ansible-galaxy", "collection", step[0], "--offline", *step[1:])
        assert done.returncode == 0, done.stderr
    yield made
    lab.stop()


def names(installed: Installed, folder: str) -> list[str]:
    """Return the full names of what an installed folder has, but its parts (``_lifecycle.yml``)."""
    found = (installed.within / folder).glob("[a-z]*.*")
    return [f"keyturn.core.{path.stem}" for path in sorted(found) if path.suffix in (".py", ".yml")]


def test_a_run_that_is_refused_changes_nothing(installed: Installed) -> None:
    """As a pipeline starts it, with what the collection has for that."""
    lab = installed.lab
    lab.write_inventory(keyturn_reports_dir="")
    before = everything(lab)
    done = installed.run(installed.within / "ci/rotate", "test", "rotate_db_key", KEYTURN_INVENTORIES=str(lab.folder))
    lab.write_inventory()
    assert done.returncode == 2
    assert "keyturn_reports_dir is not set: reports and log would lie in the installed collection" in done.stderr
    assert "nothing was changed" in done.stderr
    assert everything(lab) == before


def test_it_rotates_verifies_and_tells_a_workflow_how_it_ended(installed: Installed) -> None:
    lab = installed.lab
    old = lab.key()
    done = installed.play(
        "keyturn.core.rotate_db_key", ANSIBLE_SHOW_CUSTOM_STATS="1", ANSIBLE_CALLBACK_RESULT_FORMAT="json"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "COMMITTED: Database Encryption Key" in done.stdout
    assert "here: prepare, switch, prove ..." in done.stdout, "the callback is the collection's"
    assert lab.key() != old
    assert not lost(lab, lab.tokens)
    report = lab.report()
    (told,) = re.findall(r"RUN: (\{.*\})", done.stdout)
    assert json.loads(told) == {
        "last_rotation": {
            "outcome": "committed",
            "rotation_id": report["rotation_id"],
            "secret": "db_key",
            "environment": "test",
            "next": f"sign_off.yml -e keyturn_rotation_id={report['rotation_id']} -e keyturn_signer=NAME",
        }
    }
    # as AWX hands it to the next job of a workflow
    verified = installed.play("keyturn.core.verify", "-e", told)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "DATABASE_ENCRYPTION_KEY is kt:" in verified.stdout


def test_every_playbook_is_found_by_its_full_name_with_all_that_it_names(installed: Installed) -> None:
    playbooks = names(installed, "playbooks")
    assert len(playbooks) == len(list((ROOT / "playbooks").glob("[a-z]*.yml"))) > 20
    done = installed.play("--syntax-check", *playbooks)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("playbook: ") == len(playbooks)


def test_every_page_is_rendered(installed: Installed) -> None:
    pages = names(installed, "plugins/modules")
    done = installed.run("ansible-doc", "--json", *pages)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    rendered = json.loads(done.stdout)
    assert sorted(rendered) == pages and len(pages) > 40
    assert "rotation_id" in rendered["keyturn.core.keyturn_turn"]["doc"]["options"]["rotation"]["suboptions"]


def test_two_builds_are_the_same_bytes(installed: Installed, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        again = collection.build(ROOT, tmp_path)
    finally:
        os.umask(old)
    assert again.name == installed.artefact.name
    assert again.read_bytes() == installed.artefact.read_bytes()


def test_the_bill_has_each_locked_package_and_nothing_of_the_moment(tmp_path: Path) -> None:
    made = json.loads(bill.write(ROOT, tmp_path / "bill.json").read_text())
    locked = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert sorted((one["name"], one["version"]) for one in made["components"]) == sorted(locked)
    assert all(one["externalReferences"][0]["hashes"] for one in made["components"])
    assert made["metadata"]["component"]["name"] == "keyturn"
    assert "serialNumber" not in made and "timestamp" not in made["metadata"]
