"""The base of the actions that take a phase on a host, by the one module that all of them share.

A call that a host does not answer fails, as every other failure of a phase: the host stays in the run, which goes on to its
report. Lines are printed here, since a task for each of them would cost a process of the controller: what begins and what has
ended, what check mode would do, and how far work has come that takes several calls. Whole lines look right in a terminal and in
the log of a pipeline, and hosts that work at the same time take turns in printing them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

# what a call of each phase does, in order; a phase that changes nothing is not told
STEPS = {"stage": ("stage",), "turn": ("prepare", "switch", "prove"), "rollback": ("rollback",)}
COMMIT = {"decide": ("decide",), "finish": ("finish",), "both": ("decide", "finish")}


class ActionModule(ActionBase):
    """The action ``keyturn_NAME`` of the phase NAME, on the controller."""

    must_answer = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the last call, or of the one that failed."""
        super().run(tmp, task_vars)
        self.host = (task_vars or {})["inventory_hostname"]
        phase = self._task.action.rpartition(".")[2].removeprefix("keyturn_")
        arguments = {"phase": phase, **self._task.args}
        steps = COMMIT[arguments["step"]] if phase == "commit" else STEPS.get(phase, ())
        if steps and not self._task.check_mode:
            self._say(f"{', '.join(steps)} ...")
        began = time.monotonic()
        while True:
            try:
                result: dict[str, Any] = self._execute_module("keyturn_phase", arguments, task_vars=task_vars)
            except AnsibleConnectionFailure:
                if not self.must_answer:
                    raise
                return {"failed": True, "lost": True, "msg": "the host gives no answer any more"}
            for line in ("would", "progress"):
                for said in result.get(line, "").splitlines():
                    self._say(said)
            if "progress" not in result:
                if result.get("changed") and "would" not in result:
                    for line in ended(steps, result.get("rotation", {}), time.monotonic() - began):
                        self._say(line)
                return result

    def _say(self, text: str) -> None:
        Display().display(f"{self.host}: {text}")


def ended(steps: tuple[str, ...], record: Mapping[str, Any], seconds: float) -> Iterator[str]:
    """Say how long each step took by the host's clock; of those that it has not timed, how long the call took (``seconds``)."""
    times = record.get("times", {})
    if not times.keys() & set(steps):
        yield f"{', '.join(steps)} {seconds:.1f} s"
    for step in steps:
        if step in times:
            down = f", down for {record['downtime_seconds']:.1f} s" if step == "switch" else ""
            yield f"{step} {times[step]:.1f} s{down}"
