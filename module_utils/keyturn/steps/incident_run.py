"""The action ``keyturn_incident_run``: a playbook of its own for each step, which prints into a file of the incident's folder."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from .. import incident
from ..base.errors import KeyturnError
from ..incident import runs
from ..inputs.validation import Answer, Parameters


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Do the step."""
    if check_mode:
        return {"changed": False}
    main = multiprocessing.parent_process()
    if main is not None and not main.is_alive():  # a worker outlives the run that was killed
        raise KeyturnError("the run was killed: the next one goes on from here")
    reports = Path(parameters["folder"])
    folder = incident.folder_of(reports, parameters["id"])
    with runs.alone(folder) as held:
        runner = _Runner(Path(parameters["playbooks"]), parameters["options"], held)
        scene = runs.Scene(
            reports,
            parameters["secrets"],
            list(os.environ),
            parameters["vaulted"],
            runner.play,
            lambda: datetime.now(UTC),
        )
        step = runs.run(folder, parameters["step"], scene)
    return {"changed": runner.ran, "state": step["state"], "evidence": step["evidence"]}


class _Runner:
    """Runs playbooks as this process was run. The child holds the incident's lock as well, in case it outlives us."""

    def __init__(self, playbooks: Path, options: Sequence[str], lock: int) -> None:
        self.playbooks = playbooks
        self.options = options
        self.lock = lock
        self.ran = False

    def play(self, playbook: str, variables: runs.Variables, log: Path) -> int:
        """Run a playbook to its end and return its exit code."""
        self.ran = True
        path = self.playbooks / f"{playbook}.yml"
        command = [sys.executable, sys.argv[0], str(path), *self.options, *runs.as_option(variables)]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with open(os.open(log, flags, 0o600), "ab") as output:  # noqa: PTH123
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(self.lock,), check=False
            )
        return done.returncode
