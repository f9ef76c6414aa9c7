"""Playbooks as whole processes: what a run costs, what it printed, and when."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from support.lab import ROOT

from bench.measure import Measured

BENCH = Path(__file__).parent
ROTATE = ROOT / "playbooks/rotate_db_key.yml"
NAIVE = BENCH / "naive.yml"
PING = BENCH / "ping.yml"
NOTHING = BENCH / "nothing.yml"
PROGRAM = str(Path(sys.executable).with_name("ansible-playbook"))


class Run(NamedTuple):
    """A run that has succeeded. ``cpu`` counts ansible-playbook and all its children, with the hosts where they are local."""

    measured: Measured
    lines: list[tuple[float, str]]

    def tasks(self) -> list[tuple[str, float]]:
        """Return its tasks with their seconds, in order."""
        heads = [(at, line) for at, line in self.lines if re.match(r"(TASK|PLAY|PLAY RECAP) ?[\[*]", line)]
        ends = [at for at, _ in heads[1:]] + [self.lines[-1][0]]
        return [
            (re.sub(r"^TASK \[(.*)\] \**$", r"\1", line), round(end - at, 3))
            for (at, line), end in zip(heads, ends, strict=True)
            if line.startswith("TASK")
        ]


def play(playbook: Path, inventory: Path) -> Run:
    """Run a playbook from the project's folder, with an operator's environment."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONPATH"))}
    began = time.monotonic()
    process = subprocess.Popen(
        [PROGRAM, str(playbook), "-i", str(inventory)],
        cwd=ROOT,
        env=env
        | {"PYTHONUNBUFFERED": "1", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true", "ANSIBLE_STDOUT_CALLBACK": "default"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [(time.monotonic() - began, line.rstrip()) for line in process.stdout]
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - began
    if process.returncode:
        raise RuntimeError("\n".join(line for _, line in lines[-60:]))
    return Run({"wall": wall, "cpu": usage.ru_utime + usage.ru_stime}, lines)


def write_inventory(folder: Path, hosts: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
    """Write the inventory of the environment ``bench``; its reports go beside it."""
    folder.mkdir(parents=True)
    common = {"keyturn_environment": "bench", "keyturn_reports_dir": str(folder.parent / "reports"), **variables}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"trader_ai": {"hosts": dict(hosts), "vars": common}}))
