"""Calls keyturn/host/phases/stage.py on the host; library/keyturn_stage.py documents it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.loader import action_loader

action_loader.get("keyturn_controller", class_only=True)  # from then on module_utils are found
from ansible.module_utils.keyturn.entry import memory  # noqa: E402
from ansible.module_utils.keyturn.fleet.answers import REMEDY  # noqa: E402


class ActionModule(action_loader.get("keyturn_host", class_only=True)):
    """The action ``keyturn_stage``, the only one that sends a value, and the first: it keeps what the others are told."""

    def steps(self, known: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the one step."""
        return ("stage",)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the call, and as ``context`` the rotation as plain data.

        No call is made that would write its parameters to the host's disk. What the hosts have staged is compared, so an answer of one
        that has staged nothing is a failure.
        """
        rotation, examines = self._task.args["rotation"], self._task.args.get("only_examine")
        host = (task_vars or {})["inventory_hostname"]
        self.values = None if examines else memory.kept(rotation["rotation_id"], host)
        if self.values and not self._is_pipelining_enabled("new"):
            msg = (
                "Pipelining is off, and a module that is killed would leave the new value in the host's temporary folder: "
                "set pipelining = true in ansible.cfg, and do not keep remote files"
            )
            return {"failed": True, "msg": msg}
        result = super().run(tmp, task_vars)
        if result.get("failed"):
            return result
        if not (examines or self._task.check_mode or result.get("rotation", {}).get("new")):
            return {"failed": True, "msg": f"the host has answered, and not staged a new value. {REMEDY}"}
        return {**result, "context": rotation}

    def _configure_module(self, module_name: str, module_args: Mapping[str, Any], task_vars: Any) -> Any:
        """Pack the call with its value, which is in no arguments that Ansible has: it prints them when it is debugged."""
        given = {"new_values": self.values} if self.values else {}
        return super()._configure_module(module_name, {**module_args, **given}, task_vars)
