"""Calls keyturn/host/phases/issue.py on the host; library/keyturn_issue.py documents it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.loader import action_loader

action_loader.get("keyturn_controller", class_only=True)  # from then on module_utils are found
from ansible.module_utils.keyturn import stores  # noqa: E402
from ansible.module_utils.keyturn.entry.module import attempt  # noqa: E402
from ansible.module_utils.keyturn.inputs.validation import store  # noqa: E402


class ActionModule(action_loader.get("keyturn_host", class_only=True)):
    """The action ``keyturn_issue``: the password of who tells the issuer may stand in the secret store, which no host can read."""

    def steps(self, known: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the one step."""
        return ("issue",)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the call. No call is made that would write its parameters to the host's disk."""
        rotation = self._task.args["rotation"]
        admin = (rotation["entry"].get("issuer") or {}).get("admin") or {}
        self.password: dict[str, str] = {}
        if admin.get("stored"):
            if not self._is_pipelining_enabled("new"):
                return {"failed": True, "msg": PIPELINING}
            self.password, failure = attempt(lambda: self._read(str(rotation["environment"]), str(admin["stored"])))
            if failure:
                return {"failed": True, "msg": failure}
        return dict(super().run(tmp, task_vars))

    def _read(self, environment: str, name: str) -> dict[str, str]:
        spec = store(self._task.args["store"])
        return {"admins_password": stores.password_at(spec, environment, name)}

    def _configure_module(self, module_name: str, module_args: Mapping[str, Any], task_vars: Any) -> Any:
        """Pack the call with the password, which is in no arguments that Ansible has: it prints them when it is debugged."""
        told = {name: value for name, value in module_args.items() if name != "store"}
        return super()._configure_module(module_name, {**told, **self.password}, task_vars)


PIPELINING = (
    "Pipelining is off, and a module that is killed would leave the password of the issuer's admin in the host's temporary folder: set "
    "pipelining = true in ansible.cfg, and do not keep remote files"
)
