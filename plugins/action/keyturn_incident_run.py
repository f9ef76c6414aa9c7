"""Runs keyturn/steps/incident_run.py; library/keyturn_incident_run.py documents it."""

import sys
from typing import Any

from ansible import context
from ansible.plugins.loader import action_loader
from ansible.utils.display import Display

CONTROLLER = action_loader.get("keyturn_controller", class_only=True)  # from then on module_utils are found
from ansible.module_utils.keyturn.base import shown  # noqa: E402


class ActionModule(CONTROLLER):
    """The action ``keyturn_incident_run``. It prints what is done, since that takes a while."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result, or a failure."""
        name = self._task.args["step"]
        options = [argument for argument in sys.argv[1:] if argument not in context.CLIARGS["args"]]
        self._task.args = {**self._task.args, "options": options}
        Display().display(f"{name} ...")
        result = super().run(tmp, task_vars)
        came = f"{name}: {result.get('state', '-')} ({result.get('evidence') or result.get('msg') or '-'})"
        Display().display("\n".join(shown.lines(came)))
        return result
