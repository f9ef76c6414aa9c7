"""A run forked from a process that has Ansible loaded is what the program would have been, and the program is used too."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support import warm
from support.lab import ROOT, Lab

# what a run says of itself: its environment, its standard input and its random numbers
SAYS = """
- hosts: all
  gather_facts: false
  tasks:
    - debug:
        msg: "({{ lookup('pipe', 'echo $KEYTURN_SAID; cat') }}) {{ 1000000000 | random }}"
    - fail:
      when: lookup('env', 'KEYTURN_SAID') == 'end badly'
"""


@pytest.mark.parametrize(("playbook", "code"), [("verify", 0), ("rollback", 0), ("no_such_playbook", 1)])
def test_it_ends_and_says_what_the_program_does(host: Lab, playbook: str, code: int) -> None:
    command, env = host.command(playbook), host.environment()
    cold = subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True, check=False)
    forked = warm.run(command, env)
    assert (forked.returncode, cold.returncode) == (code, code)
    times = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+|\d+(\.\d+)? (s|seconds)\b|pid \d+")
    assert [times.sub("", text) for text in (forked.stdout, forked.stderr)] == [
        times.sub("", text) for text in (cold.stdout, cold.stderr)
    ]


def test_each_run_is_a_process_of_its_own(host: Lab, tmp_path: Path) -> None:
    playbook = tmp_path / "says.yml"
    playbook.write_text(SAYS)
    command = [*host.command("verify")[:1], str(playbook), "-i", str(host.inventory)]
    env = host.environment()
    said = [warm.run(command, env | {"KEYTURN_SAID": text}) for text in ("a word", "end badly")]
    assert [done.returncode for done in said] == [0, 2]
    messages = [re.search(r"msg: \((.*)\) (\d+)", done.stdout) for done in said]
    (first, number), (second, other) = (found.groups() if found else ("", "") for found in messages)
    assert (first, second) == ("a word", "end badly")
    assert number != other, "both runs have the random numbers of the process that forked them"


def test_settings_are_for_the_program(host: Lab) -> None:
    env = host.environment()
    assert warm.would_load_the_same(env | {"KEYTURN_OPERATOR": "somebody"})
    assert not warm.would_load_the_same(env | {"ANSIBLE_NOCOLOR": "1"})
    assert "\x1b[" in host.play("verify", ANSIBLE_FORCE_COLOR="1").stdout
    assert "\x1b[" not in host.play("verify").stdout
