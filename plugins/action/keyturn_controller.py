"""The base of the actions that run on the controller only: no module is packed, and no Python started, to work beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible import constants
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

MODULE_UTILS = str(Path(__file__).parents[2] / "module_utils")
if MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(MODULE_UTILS)  # where a packed module finds them

from ansible.module_utils.keyturn.base import shown  # noqa: E402
from ansible.module_utils.keyturn.base.fingerprint import fingerprints  # noqa: E402
from ansible.module_utils.keyturn.entry import inventory, memory  # noqa: E402
from ansible.module_utils.keyturn.entry.module import attempt  # noqa: E402
from ansible.module_utils.keyturn.inputs.documented import arguments  # noqa: E402
from ansible.module_utils.keyturn.inputs.tree import PAGES  # noqa: E402
from ansible.module_utils.keyturn.inputs.validation import taken  # noqa: E402

# A play's hosts are looked up in the process that forks the workers. What it has imported no worker searches for again.
get_module_encoder("legacy", Direction.CONTROLLER_TO_MODULE)


class ActionModule(ActionBase):
    """Runs ``keyturn/steps/NAME.py`` for the action ``keyturn_NAME``; a file for each name has this class as its base.

    A new value never becomes Ansible's: of ``new_values`` that an action returns the result has the fingerprints, as ``new``, and the
    next action that takes values finds them in memory.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result, or a failure with the words that a module would have."""
        super().run(tmp, task_vars)
        name = self._task.action.rpartition(".")[2].removeprefix("keyturn_")
        action = import_module(f"ansible.module_utils.keyturn.steps.{name}")

        def call() -> dict[str, Any]:
            spec = arguments(PAGES / f"keyturn_{name}.py")
            parameters = taken(name, action, spec, plain(self._task.args | self._read(action, task_vars or {})))
            says = {"say": Display().display} if hasattr(action, "SAYS") else {}
            says |= {"named": inventory.named()} if hasattr(action, "NAMED") else {}
            result = plain(action.run(parameters, self._task.check_mode, **says))
            if values := result.pop("new_values", None):
                memory.keep(parameters["rotation_id"], parameters.get("host", ""), values)
                result["new"] = fingerprints(values)
            return result

        result, failure = attempt(call)
        # here, since a task for it would cost a process
        if result.get("text") and not (name == "report" and _callback_sums_up()):
            Display().display("\n".join(shown.lines(result["text"])))
        return {"failed": True, "msg": failure} if failure else result

    def _read(self, action: Any, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an action does not get from its task: as ``hosts`` what it reads of every host, and a value from memory.

        Each host is looked up once, which is what costs.
        """
        found: dict[str, Any] = {}
        if hasattr(action, "TAKES"):
            args = self._task.args
            if values := memory.kept(str(args.get("rotation_id", "")), str(args.get("host", ""))):
                found[action.TAKES] = values
        if hasattr(action, "READS"):
            group = known["groups"][inventory.chosen().group]
            hosts = ((host, known["hostvars"][host]) for host in group)
            found["hosts"] = {
                host: {name: variables[name] for name in action.READS if name in variables} for host, variables in hosts
            }
        return found


def _callback_sums_up() -> bool:
    """Tell whether the callback ``keyturn`` prints the summary: it knows which errors it has told."""
    return constants.DEFAULT_STDOUT_CALLBACK.rpartition(".")[2] == "keyturn" and not Display().verbosity


def plain(data: Any) -> Any:
    """Return data as a module gets and returns it: Ansible's own types do not go in, and nothing is a template that comes out."""
    return json.loads(json.dumps(data, default=str))
