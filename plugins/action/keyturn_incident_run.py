"""Does one step of the response to an incident: a playbook of its own, which prints into a file of the incident's folder."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible import context
from ansible.utils.display import Display

sys.path.insert(0, str(Path(__file__).parents[2] / "module_utils"))

from keyturn import incident, incident_run
from keyturn.controller import Controller, Result
from keyturn.errors import KeyturnError

DOCUMENTATION = r"""
module: keyturn_incident_run
short_description: Do one step of the response to an incident
description:
  - Runs the playbook of the step in a process of its own, with the inventory and the options of this run, and writes down in
    the incident's document what came of it. A step that fails does not fail the task. One that is done is not repeated.
options:
  folder:
    description: The environment's folder of reports.
    type: path
    required: true
  id:
    description: The incident.
    type: str
    required: true
  step:
    description: Name of the step.
    type: str
    required: true
  playbooks:
    description: Folder of the playbooks.
    type: path
    required: true
  secrets:
    description: The catalogue, C(keyturn_secrets).
    type: dict
    required: true
  vaulted:
    description: Whether new values lie in a file that ansible-vault has encrypted.
    type: bool
    default: false
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Does nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Rotate
  keyturn_incident_run:
    folder: reports/staging
    id: INC-2026-007
    step: rotate jwt
    playbooks: "{{ playbook_dir }}"
    secrets: "{{ keyturn_secrets }}"
"""

RETURN = r"""
state:
  description: C(done), C(skipped), C(waiting) for a person, or C(failed).
  returned: outside check mode
  type: str
evidence:
  description: What shows it, or what is needed.
  returned: outside check mode
  type: str
"""


class ActionModule(Controller):
    """The action of the task."""

    SPEC: Mapping[str, Any] = {
        "folder": {"type": "path", "required": True},
        "id": {"type": "str", "required": True},
        "step": {"type": "str", "required": True},
        "playbooks": {"type": "path", "required": True},
        "secrets": {"type": "dict", "required": True},
        "vaulted": {"type": "bool", "default": False},
    }

    def act(self, given: Mapping[str, Any], task_vars: Mapping[str, Any]) -> Result:
        """Do the step."""
        if self.dry:
            return {"changed": False}
        run = multiprocessing.parent_process()
        if run is not None and not run.is_alive():
            raise KeyturnError("the run was killed: the next one goes on from here")
        reports, name = Path(given["folder"]), given["step"]
        folder = incident.folder_of(reports, given["id"])
        with incident_run.alone(folder) as held:
            runner = _Runner(Path(given["playbooks"]), held)
            scene = incident_run.Scene(
                reports, given["secrets"], list(os.environ), given["vaulted"], runner.play, lambda: datetime.now(UTC)
            )
            Display().display(f"{name} ...")
            step = incident_run.run(folder, name, scene)
        Display().display(f"{name}: {step['state']} ({step['evidence']})")
        return {"changed": runner.ran, "state": step["state"], "evidence": step["evidence"]}


class _Runner:
    """Runs playbooks as this process was run. The child holds the incident's lock as well, in case it outlives us."""

    def __init__(self, playbooks: Path, lock: int) -> None:
        self.playbooks = playbooks
        self.lock = lock
        self.ran = False

    def play(self, playbook: str, variables: Mapping[str, Any], log: Path) -> int:
        """Run a playbook to its end."""
        self.ran = True
        path = self.playbooks / f"{playbook}.yml"
        options = [*incident_run.options(context.CLIARGS), *incident_run.as_option(variables)]
        command = [sys.executable, sys.argv[0], str(path), *options]
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:  # noqa: PTH123
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(self.lock,), check=False
            ).returncode
