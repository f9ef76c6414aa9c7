"""Hooks round the switch of a host, values that leak nowhere, and the replacement of tokens as a playbook."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support import reports
from support.brought import VARIABLES, Bench, bench
from support.canary import Processes, Scanner, left_behind
from support.evidence import lost
from support.lab import free_port


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as found:
        yield found


def hook(desk: Bench, name: str) -> str:
    """Write a file of tasks that notes when it ran, and what the application then had."""
    path = desk.lab.folder / f"{name}.yml"
    command = f"(echo {name}; grep -c {desk.new['plaid'][1][:12]} {desk.lab.env}) >> {desk.lab.folder}/hooks"
    tasks = [{"name": name, "ansible.builtin.shell": command, "changed_when": True, "failed_when": False}]
    path.write_text(yaml.safe_dump(tasks))
    return str(path)


def test_a_host_is_drained_before_its_switch_and_returned_after_its_proof(desk: Bench) -> None:
    desk.make("plaid")
    hooks = {f"keyturn_{name}_hook": hook(desk, name) for name in ("drain", "return")}
    done = desk.lab.play("rotate_plaid_credentials", "-e", json.dumps(hooks), **desk.bring("plaid"))
    assert done.returncode == 0, done.stdout
    assert (desk.lab.folder / "hooks").read_text().split() == ["drain", "0", "return", "1"]


def test_a_host_that_goes_back_is_returned_as_well(desk: Bench) -> None:
    desk.make("plaid")
    old = desk.fingerprints("plaid")
    start = desk.lab.app / "start.sh"
    start.write_text(
        start.read_text().replace(
            "mkdir -p logs run\n", "mkdir -p logs run\n[ -e tried ] || { touch tried; exit 7; }\n"
        )
    )
    hooks = {f"keyturn_{name}_hook": hook(desk, name) for name in ("drain", "return")}
    done = desk.lab.play("rotate_plaid_credentials", "-e", json.dumps(hooks), **desk.bring("plaid"))
    assert done.returncode == 2, done.stdout
    assert desk.fingerprints("plaid") == old
    assert (desk.lab.folder / "hooks").read_text().split() == ["drain", "0", "drain", "1", "return", "0"]


def test_a_host_is_drained_on_its_way_back_and_goes_there_as_well_where_that_fails(desk: Bench) -> None:
    """The balancer does not take the host again after its switch, and does not answer when it goes back."""
    desk.make("plaid")
    old = desk.fingerprints("plaid")
    hooks = {f"keyturn_{name}_hook": hook(desk, name) for name in ("drain", "return")}
    for name, times in (("drain", 2), ("return", 1)):
        path = desk.lab.folder / f"{name}.yml"
        (task,) = yaml.safe_load(path.read_text())
        command = f"{task['ansible.builtin.shell']}; [ $(grep -c {name} {desk.lab.folder}/hooks) != {times} ]"
        path.write_text(yaml.safe_dump([{"name": name, "ansible.builtin.shell": command, "changed_when": True}]))
    done = desk.lab.play("rotate_plaid_credentials", "-e", json.dumps(hooks), **desk.bring("plaid"))
    assert done.returncode == 2 and reports.report(desk.lab)["outcome"] == "rolled_back", done.stdout
    assert "goes back without being drained" in done.stdout
    assert desk.fingerprints("plaid") == old
    assert (desk.lab.folder / "hooks").read_text().split() == ["drain", "0", "return", "1", "drain", "1", "return", "0"]


def test_a_machine_that_a_hook_cannot_reach_ends_the_run_before_the_switch_and_resume_goes_on(desk: Bench) -> None:
    desk.make("plaid")
    balancer = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": free_port()}
    task = {"name": "Drain", "ansible.builtin.raw": "true", "delegate_to": "balancer", "vars": balancer}
    path = desk.lab.folder / "drain.yml"
    path.write_text(yaml.safe_dump([task]))
    done = desk.lab.play("rotate_plaid_credentials", "-e", f"keyturn_drain_hook={path}", **desk.bring("plaid"))
    assert done.returncode == 4, done.stdout
    assert "TASK [rotation : Drain] " in done.stdout
    assert reports.report(desk.lab)["outcome"] == "interrupted"
    assert not desk.is_new("plaid"), "a host was switched that is not drained"
    done = desk.lab.play("resume")
    assert done.returncode == 0, done.stdout
    assert desk.is_new("plaid")


def test_values_of_a_vaulted_file_are_nowhere_but_in_store_and_consumers(desk: Bench) -> None:
    known = {f"old {name}": value for name, value in zip(VARIABLES["alpaca"], desk.current("alpaca"), strict=True)}
    known |= {f"new {name}": value for name, value in zip(VARIABLES["alpaca"], desk.new["alpaca"], strict=True)}
    desk.make("alpaca")
    password, file = desk.lab.folder / "password", desk.lab.folder / "new.yml"
    password.write_text("of the vault")
    from ansible.parsing.vault import VaultLib, VaultSecret

    text = json.dumps(dict(zip(VARIABLES["alpaca"], desk.new["alpaca"], strict=True)))
    file.write_bytes(VaultLib([("default", VaultSecret(b"of the vault"))]).encrypt(text))
    since = time.time()
    noisy = {"ANSIBLE_LOG_PATH": str(desk.lab.folder / "ansible.log")}
    arguments = ("-vvvv", "--diff", "--vault-password-file", str(password), "-e", f"keyturn_new_values={file}")
    with Processes() as processes:
        done = desk.lab.play("rotate_alpaca_credentials", *arguments, **noisy)
    assert done.returncode == 0, done.stdout[-3000:]
    scanner = Scanner(known)
    places = [("stdout", done.stdout.encode()), ("stderr", done.stderr.encode()), *processes.places()]
    places += list(left_behind(desk.lab, since))
    home = {".env", "previous.json"}
    leaks = sorted(
        f"{name} in {place}"
        for place, content in places
        for name in scanner.find(content)
        if Path(place).name not in home
    )
    assert leaks == []


def test_all_tokens_are_replaced_while_the_application_serves(desk: Bench) -> None:
    checked = desk.lab.play("replace_plaid_tokens", "--check")
    assert checked.returncode == 0, checked.stdout
    plaid = desk.fakes["plaid"]
    assert plaid.invalidated == []  # type: ignore[attr-defined]
    done = desk.lab.play("replace_plaid_tokens")
    assert done.returncode == 0, done.stdout
    assert "11 of 11 tokens replaced, 11 proved" in done.stdout
    assert not [
        token for token in (*desk.lab.tokens.values(), *plaid.tokens.values()) if token and token in done.stdout
    ]  # type: ignore[attr-defined]
    assert len(plaid.invalidated) == 11  # type: ignore[attr-defined]
    assert lost(desk.lab, plaid.tokens) == []  # type: ignore[attr-defined]
    assert desk.lab.get("/api/bank/accounts") == 200
