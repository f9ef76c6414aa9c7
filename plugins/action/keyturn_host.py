"""The base of the actions that work on a host: a phase, by the one module that all of them share, or a module of the action's name.

What a host says is taken here, before Ansible acts on any of it. A phase that a host does not answer fails, as every other failure of
one: the host stays in the run, which goes on to its report. Lines are printed here, since a task for each of them would cost a process
of the controller: what begins and what has ended, what check mode would do, and how far work has come that takes several calls. Whole
lines look right in a terminal and in the log of a pipeline, and hosts that work at the same time take turns in printing them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader
from ansible.utils.display import Display

action_loader.get("keyturn_controller", class_only=True)  # from then on module_utils are found
from ansible.module_utils.keyturn.base import shape  # noqa: E402
from ansible.module_utils.keyturn.base.shown import harmless  # noqa: E402
from ansible.module_utils.keyturn.fleet import answers  # noqa: E402

# phases in which a host that gives no answer is left out by Ansible; in the others it would be forgotten in the middle of its rotation
MAY_BE_SILENT = ("ask_provider", "prune", "reach_info", "rotation_info", "stage")

NO_ANSWER = (
    "the host's Python has ended without an answer (exit code {}): what it says stands there with -vvv. Name one of at least 3.11 with "
    "cryptography by ansible_python_interpreter, such as /usr/bin/python3 of Debian"
)


class ActionModule(ActionBase):
    """The action ``keyturn_NAME`` of the phase or module NAME; a file for each name has this class as its base."""

    @property
    def name(self) -> str:
        """The name of the phase or module."""
        return str(self._task.action.rpartition(".")[2].removeprefix("keyturn_"))

    def steps(self, known: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what the call does, in order, as it is told; nothing of one that changes nothing. ``known`` are Ansible's variables."""
        return ()

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the last call, or of the one that failed."""
        super().run(tmp, task_vars)
        phase = self.name
        known = task_vars or {}
        self.host = known["inventory_hostname"]
        module, arguments = self._task.action, dict(self._task.args)
        if phase in answers.OF_PHASES:  # its name is of the collection that the action is of, or of none
            module, arguments = module.removesuffix(phase) + "phase", {"phase": phase, **arguments}
        steps = self.steps(known)
        if steps and not self._task.check_mode:
            self._say(f"{', '.join(steps)} ...")
        began, work = time.monotonic(), answers.Work(phase, self.host)
        while True:
            try:
                result: dict[str, Any] = self._execute_module(module, arguments, task_vars=task_vars)
                left = work.left(result)
                answers.check_secret(result, self.host, arguments.get("secret"))
            except AnsibleConnectionFailure:
                if phase in MAY_BE_SILENT or phase not in answers.OF_PHASES:
                    raise
                return {"failed": True, "lost": True, "msg": "the host gives no answer any more"}
            except answers.Unfit as why:
                return {"failed": True, "msg": str(why)}
            # what a module of its own would do, its task says
            would = result.get("would", "").splitlines() if phase in answers.OF_PHASES else []
            for line in filter(None, [*would, left]):
                self._say(line)
            if not left:
                if steps and result.get("changed") and "would" not in result:
                    for line in ended(steps, result.get("rotation", {}), time.monotonic() - began):
                        self._say(line)
                return result

    def _parse_returned_data(self, res: Mapping[str, Any], *more: Any, **others: Any) -> Any:
        """Take the answer of the host: Ansible gets what was taken, since it would do what some names in it say, and show the rest."""
        output = res.get("stdout", "")
        if excess := answers.excess(self.name, output):
            taken = {"failed": True, "msg": f"the host has answered {excess}. {answers.REMEDY}"}
        elif isinstance(said := shape.parse(answers.alone(output)), dict):
            taken = answers.taken(self.name, said, self._rotation_id())
        else:
            words = {f"module_{name}": harmless(str(res.get(name, "")), lines=True) for name in ("stdout", "stderr")}
            taken = {"failed": True, "msg": NO_ANSWER.format(res.get("rc", "unknown")), **words}
        return super()._parse_returned_data({**res, "stdout": json.dumps(taken)}, *more, **others)

    def _rotation_id(self) -> str:
        """Return the rotation that the call is about, empty for one that is about none, or about what is found."""
        asked = self._task.args.get("rotation")
        return str(asked["rotation_id"]) if self.name in answers.OF_PHASES and isinstance(asked, Mapping) else ""

    def _say(self, text: str) -> None:
        Display().display(f"{self.host}: {text}")


def ended(steps: tuple[str, ...], record: Mapping[str, Any], seconds: float) -> Iterator[str]:
    """Say how long each step took by the host's clock; of those that it has not timed, how long the call took (``seconds``)."""
    times = record.get("times", {})
    if not times.keys() & set(steps):
        yield f"{', '.join(steps)} {seconds:.1f} s"
    for step in steps:
        if step in times:
            told = step in ("switch", "drop") and "downtime_seconds" in record
            down = f", down for {record['downtime_seconds']:.1f} s" if told else ""
            yield f"{step} {times[step]:.1f} s{down}"
