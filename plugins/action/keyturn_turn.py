"""The action ``keyturn_turn``: the call that has several steps, each of which is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.loader import action_loader

BASE = action_loader.get("keyturn_host", class_only=True)  # from then on module_utils are found
from ansible.module_utils.keyturn.host.phases.turn import steps  # noqa: E402

# of a step whose name does not say it
TOLD = {"turn_rows": "turn the rows of all hosts"}


class ActionModule(BASE):
    """Its steps are those that lead to the phase ``until`` of the journal; the base repeats the call while rows are left."""

    def steps(self, known: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the steps as the host takes them."""
        rotation = self._task.args.get("rotation")
        entry = rotation["entry"] if isinstance(rotation, Mapping) else {}
        names = steps(entry.get("overlap", ""), entry.get("value", ""), self._task.args.get("until", "proved"))
        return tuple(TOLD.get(name, name) for name in names)
