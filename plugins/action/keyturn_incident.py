"""Runs keyturn/steps/incident.py; library/keyturn_incident.py documents it."""

from typing import Any

from ansible import context
from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("keyturn_controller", class_only=True)):
    """The action ``keyturn_incident``. It must know how this run was started: others will be started like it."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result, or a failure."""
        self._task.args = {**self._task.args, "options": dict(context.CLIARGS)}
        return super().run(tmp, task_vars)
