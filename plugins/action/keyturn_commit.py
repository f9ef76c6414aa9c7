"""The action ``keyturn_commit``: one call of a host, as ``keyturn_host`` runs it, after which the host has decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.loader import action_loader

BASE = action_loader.get("keyturn_host", class_only=True)  # from then on module_utils are found
from ansible.module_utils.keyturn.fleet.answers import REMEDY  # noqa: E402


class ActionModule(BASE):
    """The others finish when every host has answered, so an answer of one that has not decided is a failure."""

    def steps(self, known: Mapping[str, Any]) -> tuple[str, ...]:
        """Return one step or both."""
        step = self._task.args["step"]
        return ("decide", "finish") if step == "both" else (step,)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the call."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        decided = result.get("rotation", {}).get("decision") == "commit"
        if decided or result.get("failed") or self._task.check_mode:
            return result
        return {"failed": True, "msg": f"the host has answered, and not decided to commit. {REMEDY}"}
