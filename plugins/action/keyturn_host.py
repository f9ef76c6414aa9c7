"""The base of the actions that take a phase on a host, by the one module that all of them share.

A call that a host does not answer fails, as every other failure of a phase: the host stays in the run, which goes on to its
report. Lines are printed here, since a task for each of them would cost a process of the controller: what check mode would do,
and how far work has come that takes several calls. Whole lines look right in a terminal and in the log of a pipeline, and hosts
that work at the same time take turns in printing them.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display


class ActionModule(ActionBase):
    """The action ``keyturn_NAME`` of the phase NAME, on the controller."""

    must_answer = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the last call, or of the one that failed."""
        super().run(tmp, task_vars)
        host = (task_vars or {})["inventory_hostname"]
        phase = self._task.action.rpartition(".")[2].removeprefix("keyturn_")
        arguments = {"phase": phase, **self._task.args}
        while True:
            try:
                result: dict[str, Any] = self._execute_module("keyturn_phase", arguments, task_vars=task_vars)
            except AnsibleConnectionFailure:
                if not self.must_answer:
                    raise
                return {"failed": True, "lost": True, "msg": "the host gives no answer any more"}
            for line in ("would", "progress"):
                if line in result:
                    Display().display(f"{host}: {result[line]}")
            if "progress" not in result:
                return result
