"""Credentials that people bring: rotated against the providers, and what is refused."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from support import reports
from support.brought import PLAYBOOKS, VARIABLES, Bench, bench
from support.evidence import everything
from support.lab import ROOT


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("desk")) as found:
        yield found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as found:
        yield found


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def check_no_value(desk: Bench, done: Any) -> None:
    held = [value for secret in VARIABLES for value in (*desk.current(secret), *desk.new[secret])]
    assert not [value for value in held if value in done.stdout + done.stderr], "a value was printed"


@pytest.mark.parametrize("secret", PLAYBOOKS)
def test_a_rotation_commits_and_is_proved(desk: Bench, secret: str) -> None:
    desk.make(secret)
    old = desk.current(secret)
    began = time.monotonic()
    done = desk.lab.play(PLAYBOOKS[secret], **desk.bring(secret))
    took = time.monotonic() - began
    assert done.returncode == 0, done.stdout
    check_no_value(desk, done)
    assert not [value for value in old if value not in desk.new[secret] and value in done.stdout]
    assert desk.is_new(secret)
    report = reports.report(desk.lab)
    assert report["outcome"] == "committed"
    proofs = {line["proof"]: line["verdict"] for line in report["hosts"]["here"]["proofs"]}
    assert proofs["provider"] == proofs["account"] == "accepted"
    if secret == "alpaca":
        assert proofs["log line"] == "accepted"
        assert 0 < report["hosts"]["here"]["downtime_seconds"] < took, "the gap was not measured"
        assert not (desk.lab.app / "run/kill_switch").exists(), "the engine was stopped by SIGINT"


def test_check_mode_needs_no_value_and_changes_nothing(shared: Bench) -> None:
    before = everything(shared.lab)
    done = shared.lab.play("rotate_plaid_credentials", "--check")
    assert done.returncode == 0, done.stdout
    assert everything(shared.lab) == before


def refused(
    desk: Bench, secret: str, *texts: str, arguments: tuple[str, ...] = (), by_guard: bool = False, **environment: str
) -> None:
    """Check that a run is refused, changes nothing, and writes its report; ``by_guard``: before there is one."""
    before, written = (desk.fingerprints(secret), desk.lab.env.read_bytes()), reports.ids(desk.lab)
    done = desk.lab.play(PLAYBOOKS[secret], *arguments, **environment)
    assert done.returncode == 2, done.stdout
    if not arguments:  # at -e the caller has shown it
        check_no_value(desk, done)
    for text in texts:
        assert text in said(done), done.stdout
    assert (desk.fingerprints(secret), desk.lab.env.read_bytes()) == before
    assert desk.lab.journals() == []
    assert len(reports.ids(desk.lab) - written) == (not by_guard)
    assert by_guard or reports.report(desk.lab)["outcome"] == "refused"


def test_without_a_value_and_a_terminal_the_ways_are_named(shared: Bench) -> None:
    refused(
        shared,
        "hf_token",
        "no new value was given for HF_TOKEN, nothing was changed",
        "KEYTURN_NEW_HF_TOKEN",
        "keyturn_new_values",
        "Open Settings, then Access Tokens",
    )


@pytest.mark.parametrize("name", ["HF_TOKEN", "KEYTURN_NEW_HF_TOKEN", "keyturn_new_hf_token"])
def test_a_value_in_the_command_line_is_refused(shared: Bench, name: str) -> None:
    (value,) = shared.new["hf_token"]
    message = "HF_TOKEN: a value stands in the command line"
    # one of Keyturn's own form is refused as every name that Keyturn does not have
    guarded = name.startswith("keyturn_")
    refused(shared, "hf_token", message, "KEYTURN_NEW_HF_TOKEN", arguments=("-e", f"{name}={value}"), by_guard=guarded)


def test_a_value_under_any_name_in_the_command_line_is_refused(shared: Bench) -> None:
    (value,) = shared.new["hf_token"]
    arguments = ("-e", json.dumps({"anything": value}))
    refused(shared, "hf_token", "a value stands in the command line", arguments=arguments, **shared.bring("hf_token"))


def test_a_value_in_a_file_of_extra_variables_is_refused(shared: Bench) -> None:
    file = shared.lab.folder / "extra.yml"
    file.write_text(json.dumps({"HF_TOKEN": shared.new["hf_token"][0]}))
    refused(shared, "hf_token", "a value stands in the command line", arguments=("-e", f"@{file}"))


def test_a_value_that_its_provider_rejects_is_refused(shared: Bench) -> None:
    refused(shared, "hf_token", "Hugging Face rejects the new value", **shared.bring("hf_token"))


def test_the_value_in_use_is_refused(shared: Bench) -> None:
    bring = {
        f"KEYTURN_NEW_{name}": value for name, value in zip(VARIABLES["plaid"], shared.current("plaid"), strict=True)
    }
    refused(shared, "plaid", "the new value of PLAID_SECRET is the one that is in use", **bring)


def test_white_space_is_refused_by_name(shared: Bench) -> None:
    bring = shared.bring("plaid")
    bring["KEYTURN_NEW_PLAID_SECRET"] += " "
    refused(shared, "plaid", "the new value of PLAID_SECRET has white space in it", **bring)


def test_a_provider_that_does_not_answer_stops_before_the_switch(shared: Bench) -> None:
    fake = shared.fakes["plaid"]
    fake.mood = "500"
    try:
        refused(shared, "plaid", "does not say whether the new value is good", **shared.bring("plaid"))
    finally:
        fake.mood = ""


def test_a_credential_of_another_account_is_refused(shared: Bench) -> None:
    fake = shared.fakes["alpaca"]
    fake.valid = fake.valid | {shared.new["alpaca"]: "PA99OTHER"}
    try:
        message = "the new credential is of account PA99OTHER and the current one of PA31XK2"
        refused(shared, "alpaca", message, **shared.bring("alpaca"))
    finally:
        shared.revoke("alpaca", shared.new["alpaca"])


def test_a_broader_role_is_a_finding(desk: Bench) -> None:
    desk.fakes["hf_token"].valid[desk.new["hf_token"]] = "trader:write"
    done = desk.lab.play("rotate_hf_token", **desk.bring("hf_token"))
    assert done.returncode == 0, done.stdout
    findings = reports.report(desk.lab)["hosts"]["here"]["findings"]
    assert "the token's role is write, and the policy wants read" in findings


def vaulted(desk: Bench, text: str) -> tuple[str, ...]:
    password, file = desk.lab.folder / "password", desk.lab.folder / "new.yml"
    password.write_text("of the vault")
    file.write_text(text)
    command = [ROOT / ".venv/bin/ansible-vault", "encrypt", "--vault-password-file", password, file]
    subprocess.run(command, check=True, capture_output=True, env=desk.lab.environment())
    return ("--vault-password-file", str(password), "-e", f"keyturn_new_values={file}")


def test_a_vaulted_file_brings_the_value(desk: Bench) -> None:
    desk.make("plaid")
    pair = dict(zip(VARIABLES["plaid"], desk.new["plaid"], strict=True))
    done = desk.lab.play("rotate_plaid_credentials", *vaulted(desk, json.dumps(pair)))
    assert done.returncode == 0, done.stdout
    assert desk.is_new("plaid")
    check_no_value(desk, done)


@pytest.mark.covering
@pytest.mark.parametrize("text", ["just text", "a: [", "HF_TOKEN: 'x"])
def test_a_vaulted_file_that_holds_no_values_is_refused(shared: Bench, text: str) -> None:
    done = shared.lab.play("rotate_hf_token", *vaulted(shared, text))
    assert done.returncode == 2
    assert "new.yml holds no lines of the form NAME: value" in said(done)


def test_a_file_that_is_not_encrypted_is_refused(shared: Bench) -> None:
    file = shared.lab.folder / "plain.yml"
    file.write_text(f"HF_TOKEN: {shared.new['hf_token'][0]}\n")
    refused(
        shared,
        "hf_token",
        "is not encrypted: run ansible-vault encrypt",
        arguments=("-e", f"keyturn_new_values={file}"),
    )


def on_terminal(desk: Bench, playbook: str, answers: list[tuple[str, Any]]) -> tuple[int, str]:
    """Run a playbook on a terminal, and give each answer when its question has come; a call is made before it is given."""
    pid, terminal = pty.fork()
    if pid == 0:  # the child: nothing of the test goes on in it
        os.chdir(ROOT)
        command = desk.lab.command(playbook)
        os.execve(command[0], command, desk.lab.environment() | {"ANSIBLE_NOCOLOR": "1"})
    output, asked, deadline = b"", list(answers), time.monotonic() + 120
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            output += os.read(terminal, 4096)
        except OSError:  # the end of a terminal
            break
        if asked and asked[0][0].encode() in output:
            time.sleep(1)  # what is typed before the question is thrown away
            answer = asked.pop(0)[1]
            os.write(terminal, (answer() if callable(answer) else answer).encode() + b"\r")
    os.kill(pid, signal.SIGKILL) if time.monotonic() >= deadline else None
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output.decode()


def test_a_person_on_a_terminal_is_asked_when_all_is_ready(desk: Bench) -> None:
    def regenerate() -> str:
        desk.make("alpaca")
        return desk.new["alpaca"][0]

    answers = [
        ("New value of ALPACA_API_KEY (it is not shown):", regenerate),
        ("New value of ALPACA_SECRET_KEY (it is not shown):", desk.new["alpaca"][1]),
    ]
    code, output = on_terminal(desk, "rotate_alpaca_credentials", answers)
    assert code == 0, output
    assert "READY: every check that needs no new value has passed on here" in output
    assert output.index("READY") < output.index("New value of ALPACA_API_KEY")
    assert "\\n" not in output, "lines are not ended"
    assert not [value for value in desk.new["alpaca"] if value in output], "the terminal showed a value"
    assert desk.is_new("alpaca")


# -- config/config.json ------------------------------------------------------------------------------------------------


def write_config(desk: Bench, api_key: str, secret_key: str) -> Path:
    path = desk.lab.app / "config/config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f'{{\n  "paper": true,\n  "api_key": {json.dumps(api_key)}, "secret_key": {json.dumps(secret_key)}\n}}\n'
    )
    return path


@pytest.mark.parametrize("form", ["environment", "literal"])
def test_a_literal_is_found_and_written_in_the_form_that_is_wanted(desk: Bench, form: str) -> None:
    path = write_config(desk, *desk.current("alpaca"))
    desk.make("alpaca")
    arguments = ("-e", f"keyturn_alpaca_config_form={form}")
    done = desk.lab.play("rotate_alpaca_credentials", *arguments, **desk.bring("alpaca"))
    assert done.returncode == 0, done.stdout
    check_no_value(desk, done)
    found = json.loads(path.read_text())
    held = (found["api_key"], found["secret_key"])
    assert held == (("", "") if form == "environment" else desk.new["alpaca"])
    findings = reports.report(desk.lab)["hosts"]["here"]["findings"]
    assert f"{path}: api_key holds the value itself, which wins over the environment" in findings
    assert path.read_text().startswith('{\n  "paper": true,\n  "api_key": ')


def test_a_literal_that_differs_from_the_environment_is_refused(desk: Bench) -> None:
    write_config(desk, "PKANOTHERKEYANOTHERK", desk.current("alpaca")[1])
    desk.make("alpaca")
    refused(desk, "alpaca", "ALPACA_API_KEY differs: ", "make them equal first", **desk.bring("alpaca"))


def test_a_second_name_in_the_environment_file_is_turned_as_well(desk: Bench) -> None:
    with desk.lab.env.open("a") as file:
        file.write(f"ALPACA_API_SECRET={desk.current('alpaca')[1]}\n")
    desk.make("alpaca")
    done = desk.lab.play("rotate_alpaca_credentials", **desk.bring("alpaca"))
    assert done.returncode == 0, done.stdout
    assert dotenv_values(desk.lab.env)["ALPACA_API_SECRET"] == desk.new["alpaca"][1]
