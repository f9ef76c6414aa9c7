"""Runs a whole rotation for each of some secrets, one after another, with the options of this run; stops at the first failure.

Each is a run of its own, so that it has the guards, the log, the report and the outcome that it has when a person starts it.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader
from ansible.utils.display import Display

# the base of the controller's actions makes module_utils importable
action_loader.get("keyturn_controller", class_only=True)
from ansible.module_utils.keyturn import schedule  # noqa: E402

LIFECYCLE = Path(__file__).parents[2] / "playbooks/_lifecycle.yml"


class ActionModule(ActionBase):
    """The action of the task, on the controller."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what was turned, what failed and what is left."""
        super().run(tmp, task_vars)
        left = list(self._task.args["secrets"])
        done: list[str] = []
        while left:
            if not schedule.is_open(self._task.args.get("window") or {}, datetime.now(UTC)):
                return _ended(done, "", left) | {"msg": f"the maintenance window has closed; left: {', '.join(left)}"}
            secret = left.pop(0)
            code = _rotate(secret)
            if code:
                told = f"{secret} ended with exit code {code}; turned before: {', '.join(done) or 'nothing'}"
                return _ended(done, secret, left) | {
                    "failed": True,
                    "msg": f"{told}; left: {', '.join(left) or 'nothing'}",
                }
            done.append(secret)
        return _ended(done, "", left) | {"msg": f"turned: {', '.join(done) or 'nothing'}"}


def _ended(done: list[str], failed: str, left: list[str]) -> dict[str, Any]:
    return {"changed": bool(done or failed), "turned": done, "failed_secret": failed, "left": left}


def _rotate(secret: str) -> int:
    """Run the lifecycle with this run's own options and print what it prints; return its exit code."""
    options = [argument for argument in sys.argv[1:] if argument not in context.CLIARGS["args"]]
    command = [sys.executable, sys.argv[0], str(LIFECYCLE), *options, "-e", f"keyturn_secret={secret}"]
    with subprocess.Popen(
        command, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in process.stdout:
            Display().display(line.rstrip("\n"))
    return process.returncode
