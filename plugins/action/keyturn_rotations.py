"""Runs a whole rotation of each of some secrets, with the options of this run; library/keyturn_rotations.py documents it.

Each is a run of its own, so that it has the guards, the log, the report and the outcome that it has when a person starts it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from ansible import context
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader
from ansible.utils.display import Display

action_loader.get("keyturn_controller", class_only=True)  # it makes module_utils importable
from ansible.module_utils.keyturn.base import pipelines  # noqa: E402
from ansible.module_utils.keyturn.entry.module import attempt  # noqa: E402
from ansible.module_utils.keyturn.inputs.documented import arguments  # noqa: E402
from ansible.module_utils.keyturn.inputs.tree import PAGES, ROOT  # noqa: E402
from ansible.module_utils.keyturn.inputs.validation import taken  # noqa: E402
from ansible.module_utils.keyturn.steps import rotations  # noqa: E402

LIFECYCLE = ROOT / "playbooks/_lifecycle.yml"


class ActionModule(ActionBase):
    """The action ``keyturn_rotations``."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what was turned and what is left, or the failure of the first that failed."""
        super().run(tmp, task_vars)
        parameters = dict(self._task.args)
        spec = arguments(PAGES / "keyturn_rotations.py")
        result, failure = attempt(lambda: rotations.run(taken("rotations", rotations, spec, parameters), rotate))
        return {"failed": True, "msg": failure} if failure else result


def rotate(secret: str) -> int:
    """Run the lifecycle with this run's own options and print what it prints; return its exit code."""
    options = [argument for argument in sys.argv[1:] if argument not in context.CLIARGS["args"]]
    command = [sys.executable, sys.argv[0], str(LIFECYCLE), *options, "-e", f"keyturn_secret={secret}"]
    # its log is this run's, and no pipeline's
    env = {name: value for name, value in os.environ.items() if name not in pipelines.KINDS}
    with subprocess.Popen(
        command, env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for line in process.stdout or ():
            Display().display(line.rstrip("\n"))
    return process.returncode
