"""Runs keyturn/steps/fleet.py; library/keyturn_fleet.py documents it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.loader import action_loader
from ansible.utils.vars import load_extra_vars


class ActionModule(action_loader.get("keyturn_controller", class_only=True)):
    """The action ``keyturn_fleet``, which is told the names of the variables that stand on the command line."""

    def _read(self, action: Any, known: Mapping[str, Any]) -> dict[str, Any]:
        return {**super()._read(action, known), "typed": list(load_extra_vars(self._loader))}
