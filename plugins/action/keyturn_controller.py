"""The base of the actions that run on the controller only: no module is packed, and no Python started, to work beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

MODULE_UTILS = str(Path(__file__).parents[2] / "module_utils")
if MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(MODULE_UTILS)  # where a packed module finds them

from ansible.module_utils.keyturn.ansible_module import attempt, validated  # noqa: E402


class ActionModule(ActionBase):
    """Runs ``keyturn/controller/NAME.py`` for the action ``keyturn_NAME``."""

    needs_no_log = False
    # whether ``text`` of the result is printed here: a task for it would cost a process
    shows = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result, or a failure with the words that a module would have."""
        super().run(tmp, task_vars)
        name = self._task.action.rpartition(".")[2]
        if self.needs_no_log and not self._task.no_log:
            return {
                "failed": True,
                "msg": f"a task with {name} must have no_log: true, its parameters and its result are values",
            }
        action = import_module(f"ansible.module_utils.keyturn.controller.{name.removeprefix('keyturn_')}")

        def call() -> dict[str, Any]:
            given = validated(name, action.ARGUMENTS, plain(self._task.args | self._read(action, task_vars or {})))
            return plain(action.run(given, self._task.check_mode))

        result, failure = attempt(call)
        if self.shows and result.get("text"):
            Display().display(result["text"])
        return {"failed": True, "msg": failure} if failure else result

    @staticmethod
    def _read(action: Any, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return as ``hosts`` what an action reads of every host: each is looked up once, which is what costs."""
        if not hasattr(action, "READS"):
            return {}
        hosts = {}
        for host in known["groups"]["trader_ai"]:
            variables = known["hostvars"][host]
            hosts[host] = {name: variables[name] for name in action.READS if name in variables}
        return {"hosts": hosts}


def plain(data: Any) -> Any:
    """Return data as a module gets and returns it: Ansible's own types do not go in, and nothing is a template that comes out."""
    return json.loads(json.dumps(data, default=str))
