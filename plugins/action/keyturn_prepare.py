"""Runs the module keyturn_prepare again and again until its host has prepared all, and prints how far it is.

A call works for some seconds only. Whole lines look right in a terminal and in the log of a pipeline, and hosts that prepare
at the same time take turns in printing them.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display


class ActionModule(ActionBase):
    """The action of the task, on the controller."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the last call, or of the one that failed."""
        super().run(tmp, task_vars)
        while True:
            result: dict[str, Any] = self._execute_module(task_vars=task_vars)
            if "progress" not in result:
                return result
            Display().display(f"{(task_vars or {})['inventory_hostname']}: {result['progress']}")
