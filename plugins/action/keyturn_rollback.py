"""The action ``keyturn_rollback``: the call that takes a host back, or to a place on the way back where hosts wait for each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.loader import action_loader

BASE = action_loader.get("keyturn_host", class_only=True)  # from then on module_utils are found
from ansible.module_utils.keyturn.fleet import run_state  # noqa: E402

# by where the call ends
TOLD = {"stopped": "stop", "turned": "turn the rows of all hosts", "accepts": "accept"}


class ActionModule(BASE):
    """What only was staged is discarded without a word: nothing was changed."""

    def steps(self, known: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the one step, nothing of a call that only asks."""
        until = self._task.args.get("until", "")
        if until == "allowed":
            return ()
        return (TOLD.get(until, "rollback"),) if run_state.worked_on(known) else ()
