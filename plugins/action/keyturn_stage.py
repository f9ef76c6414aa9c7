"""Calls keyturn/lifecycle/stage.py on the host; library/keyturn_stage.py documents it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_host", class_only=True)):
    """The action ``keyturn_stage``, the only one that sends a value, and the first: it keeps what the others are told."""

    must_answer = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the call, and as ``context`` the rotation as plain data.

        No call is made that would write its parameters to the host's disk.
        """
        if self._task.args.get("new_values") and not self._is_pipelining_enabled("new"):
            msg = (
                "Pipelining is off, and a module that is killed would leave the new value in the host's temporary folder: "
                "set pipelining = true in ansible.cfg, and do not keep remote files"
            )
            return {"failed": True, "msg": msg}
        result = super().run(tmp, task_vars)
        return result if result.get("failed") else {**result, "context": self._task.args["rotation"]}
