"""Programs that know how an issuer is told a value. They read JSON from their standard input, so that no command line has a value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..base.errors import KeyturnError
from ..ground.scripts import Scripts, alone
from .contract import Spec, Told


def fault(spec: Spec) -> str:
    """Return what does not go together, empty where nothing does not."""
    if not (spec["set"] and spec["unset"]):
        return "the issuer command needs set and unset"
    lacks = spec["strategy"] == "overlap" and not spec["retire"]
    return "with the strategy overlap the issuer command needs retire, which ends the old value" if lacks else ""


class Command:
    """The issuer of one rotation, by ``Issuer`` of contract.py."""

    def __init__(self, spec: Spec, told: Told) -> None:
        self._spec, self._told = spec, told
        named = spec["system_user"]
        self._scripts = Scripts(Path("/"), named) if named else told.scripts

    def prepare(self) -> list[str]:
        """See that there are programs which can be run."""
        for name in ("set", "unset", "retire"):
            if (command := self._spec[name]) and not self._runner.runnable(command[0]):
                raise KeyturnError(
                    f"{command[0]}, by which the issuer is told ({name}), is no program that can be run there"
                )
        return []

    def set(self) -> None:
        """Run the program that has the new value accepted."""
        self._run("set")

    def mark(self) -> str:
        """Return nothing: what has begun is not looked at."""
        return ""

    def unset(self) -> None:
        """Run the program that has the old value accepted, and the new one no more."""
        self._run("unset")

    def retire(self, mark: str) -> list[str]:
        """Run the program that ends the old value, where there is one."""
        if self._spec["retire"]:
            self._run("retire")
        return []

    @property
    def _runner(self) -> Scripts:
        if self._scripts is None:
            raise KeyturnError(
                "no program beside the service is given a value on this host: name a system_user for those of the issuer"
            )
        return self._scripts

    def _run(self, name: str) -> None:
        command: Sequence[str] = self._spec[name]
        given = {"rotation_id": self._told.rotation_id, "old": dict(self._told.old), "new": dict(self._told.new)}
        if self._told.lock is None:
            raise KeyturnError("no rotation is at work, so no issuer is told")
        with alone(self._told.lock, self._spec["seconds"], command[0]) as lock:
            code = self._runner.run(command, self._spec["seconds"], told=json.dumps(given).encode(), keeps=(lock,))
        if code != 0:
            ended = f"did not end within {self._spec['seconds']} s" if code is None else f"ended with exit code {code}"
            raise KeyturnError(
                f"{command[0]}, by which the issuer is told ({name}), {ended}: run it by hand to see why"
            )
