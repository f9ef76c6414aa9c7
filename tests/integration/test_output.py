"""What people see of a run: plan, a line for each step, errors once, summary; in pipelines with folds that hosts cannot make."""

from __future__ import annotations

import base64
import contextlib
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

from cryptography.fernet import Fernet
from keyturn.base.fingerprint import fingerprint
from support.canary import Scanner, secrets
from support.lab import KEY, ROOT, Lab
from support.runner import heard

ANSIBLES = re.compile(r"TASK \[|PLAY|ok: \[|changed: \[|fatal: |skipping: |included: |\*\*\*\*")
STEP = re.compile(r"here: (stage|prepare|switch|prove|decide|finish) \d+\.\d s(, down for \d+\.\d s)?")


def play(lab: Lab, playbook: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook with the callback, and look for values in what it prints."""
    known = secrets(lab)
    done = lab.play(playbook, *arguments, ANSIBLE_STDOUT_CALLBACK="keyturn", **environment)
    known |= {f"{name} (now)": value for name, value in secrets(lab).items()}
    assert Scanner(known).find((done.stdout + done.stderr).encode()) == set()
    return done


def errors(text: str) -> list[str]:
    """Return the errors that were printed, each as one line."""
    found = re.findall(r"^ERROR: .*(?:\n       .*)*", text, re.MULTILINE)
    return [" ".join(one.split()) for one in found]


def test_a_rotation_prints_plan_steps_and_summary(lab: Lab) -> None:
    known = secrets(lab)
    env = lab.environment() | {"ANSIBLE_STDOUT_CALLBACK": "keyturn"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        lab.command("rotate_db_key"), cwd=ROOT, env=env, text=True, stdout=pipe, stderr=pipe
    ) as running:
        assert running.stdout and running.stderr
        first = running.stdout.readline()
        assert lab.journals() == [], "the plan is printed when the host has begun"
        output = first + running.stdout.read()
        assert (running.wait(), running.stderr.read()) == (0, ""), output
    lines = output.splitlines()
    known |= {f"{name} (now)": value for name, value in secrets(lab).items()}
    assert Scanner(known).find(output.encode()) == set()
    assert lines[0] == "environment test"
    assert not ANSIBLES.search(output), output
    assert "\x1b" not in output
    steps = [found[1] for line in lines if (found := STEP.fullmatch(line))]
    assert steps == ["stage", "prepare", "switch", "prove", "finish"]
    summary = next(number for number, line in enumerate(lines) if line.startswith("COMMITTED: "))
    assert all(number < summary for number, line in enumerate(lines) if STEP.fullmatch(line))
    assert len(lines[:summary]) < 20, lines


def test_what_a_summary_says_is_next_is_run_as_it_is_printed(lab: Lab) -> None:
    key, signers = lab.folder / "key", lab.folder / "signers"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    signers.write_text(f"second {key.with_suffix('.pub').read_text()}")
    lab.write_inventory(keyturn_allowed_signers=str(signers))
    summary = play(lab, "rotate_db_key").stdout
    commands = re.findall(r"^(?:next|then) +(.*)$", summary, re.M)
    assert len(commands) == 2, summary
    for command in commands:
        program, *arguments = shlex.split(
            command.replace("NAME", "second").replace("=KEY", f"={key}").replace("WHAT WAS SEEN", "tried"),
            comments=True,
        )
        playbook = Path(arguments.pop(0)).stem
        assert program.endswith(("bin/keyturn", "ansible-playbook")) and (ROOT / f"playbooks/{playbook}.yml").exists()
        assert [arguments.pop(0), arguments.pop(0)] == ["-i", str(lab.inventory)]
        done = play(lab, playbook, *arguments)
        assert done.returncode == 0, done.stdout
    assert "closed, signed by second" in done.stdout


def test_a_run_whose_output_nobody_reads_any_more_comes_to_its_end(lab: Lab) -> None:
    env = lab.environment() | {"ANSIBLE_STDOUT_CALLBACK": "keyturn"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        lab.command("rotate_db_key"), cwd=ROOT, env=env, text=True, stdout=pipe, stderr=pipe
    ) as running:
        assert running.stdout and running.stderr and running.stdout.readline()
        running.stdout.close()
        assert (running.wait(300), running.stderr.read()) == (0, "")
    assert lab.report()["outcome"] == "committed"


def test_check_mode_prints_what_would_be_done(host: Lab) -> None:
    done = play(host, "rotate_db_key", "--check", GITLAB_CI="true")
    assert done.returncode == 0, done.stdout
    assert not ANSIBLES.search(done.stdout), done.stdout
    assert "environment test (check mode: nothing changes)" in done.stdout
    assert "here: decide to commit" in done.stdout
    table = re.search(
        r"^host +holds +would hold +rows +down, expected\nhere +(kt:\w+) +a new value +12 +not known yet$",
        done.stdout,
        re.M,
    )
    assert table and table[1] == fingerprint(host.key()), done.stdout
    marks = re.findall(r"section_(start|end):\d+:\w+(?:\[.*\])?[\r\n]\x1b\[0K", done.stdout)
    assert marks and marks == ["start", "end"] * (len(marks) // 2)


def test_a_refusal_is_told_once_with_what_is_the_matter_first(host: Lab) -> None:
    malformed = Fernet.generate_key().decode()[:-3] + "!"
    host.env.write_text(host.env.read_text().replace(host.key(), malformed))
    done = play(host, "rotate_db_key")
    assert done.returncode == 2, done.stdout
    (error,) = errors(done.stdout)
    assert re.match(rf"ERROR: .*{KEY} is not a Fernet key.* on here, in \"Stage the new value\"$", error), error
    assert not re.search(r"fatal: |TASK \[|Traceback|Origin", done.stdout + done.stderr)
    _, summary, after = done.stdout.partition("REFUSED: ")
    assert summary and "PLAY RECAP" in after
    assert done.stdout.count("is not a Fernet key") == 1, "the summary repeats it"
    assert "\ncause      told above\n" in after


def test_a_failure_after_the_stop_is_an_annotation_and_the_hosts_work_is_folded(lab: Lab) -> None:
    lab.break_start('[ "$(sha256sum <.env)" = "{checksum}" ] || exit 7\n')
    done = play(lab, "rotate_db_key", GITHUB_ACTIONS="true")
    assert done.returncode == 2, done.stdout
    (error,) = errors(done.stdout)
    assert "start.sh ended with exit code 7" in error and "on here" in error
    commands = heard(done.stdout.splitlines())
    assert [line.split("::")[1].split()[0] for line in commands if "error" not in line] == [
        "group",
        "endgroup",
    ] * (len(commands) // 2), commands
    (annotation,) = [line for line in commands if line.startswith("::error ")]
    assert "start.sh ended with exit code 7" in annotation
    assert "ROLLED_BACK: " in done.stdout


def test_text_of_a_host_is_no_command_of_a_pipeline(host: Lab) -> None:
    stored = base64.urlsafe_b64encode(Fernet(Fernet.generate_key()).encrypt(b"access-x")).decode()
    with contextlib.closing(sqlite3.connect(host.database)) as connection:
        row = "x\n::add-mask::a\n\x1b[0Ksection_start:1:x\r\x1b[0K"
        connection.execute(
            "UPDATE plaid_items SET item_id = ?, access_token = ? WHERE item_id = 'item-00002'", (row, stored)
        )
        connection.commit()
    done = play(host, "verify", GITHUB_ACTIONS="true")
    assert done.returncode == 2, done.stdout
    assert "add-mask" in done.stdout, "the host's text is not told"
    assert not [line for line in heard(done.stdout.splitlines()) if "mask" in line.partition("::error ")[0]]
    assert "\x1b" not in done.stdout


def test_a_playbook_that_only_looks_prints_what_it_has_found(host: Lab) -> None:
    done = play(host, "verify", GITLAB_CI="true")
    assert done.returncode == 0, done.stdout
    assert not ANSIBLES.search(done.stdout), done.stdout
    assert re.search(rf"^  {KEY} is kt:", done.stdout, re.MULTILINE)
    assert "section_" not in done.stdout, "what was asked for is folded"


def test_a_word_more_and_it_is_the_default_output(host: Lab) -> None:
    done = play(host, "verify", "-v")
    assert done.returncode == 0, done.stdout
    assert "TASK [" in done.stdout and "PLAY RECAP" in done.stdout


def test_the_callback_is_documented_and_ours() -> None:
    program = Path(sys.executable).with_name("ansible-doc")
    command = [str(program), "-t", "callback", "keyturn"]
    env = {name: value for name, value in Lab.environment().items() if name != "ANSIBLE_STDOUT_CALLBACK"}
    done = subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"({ROOT}/plugins/callback/keyturn.py)" in done.stdout
    assert "ANSIBLE_STDOUT_CALLBACK=default" in " ".join(done.stdout.split())
