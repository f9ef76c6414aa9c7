"""Programs of the application's that do what a store does not: told the values, alone at work, and ended with all that they start."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ...base import procfs
from ...base.errors import KeyturnError
from ...base.sides import Side
from ..scripts import Scripts, alone
from .contract import Spec

LOCK = "prepared.lock"
PLACE = re.compile(r"\{(old|new|value)\}")
# how long what a program has started may take to end after it
LEFT_SECONDS = 5
Hears = Callable[[bytes], object]


class Programs:
    """Those of one store: ``name`` is its data's. ``folder`` is that of the rotation, where there is one."""

    def __init__(self, name: str, scripts: Scripts | None, values: Mapping[Side, str]) -> None:
        self._name, self._scripts = name, scripts
        self._values: dict[str, str] = {str(side): value for side, value in values.items()}
        self.folder: Path | None = None

    @property
    def _runner(self) -> Scripts:
        if self._scripts is None:
            raise KeyturnError(
                f"{self._name}: no program beside the service is given a value on this host, and its migration needs one: let Keyturn turn "
                "the rows itself, or deliver the value in a file"
            )
        return self._scripts

    def check(self, program: Spec) -> None:
        """Refuse what cannot be run."""
        if not self._runner.runnable(name := program["command"][0]):
            raise KeyturnError(f"{self._name}: {name} is no program that can be run there: correct the migration")

    def run(self, program: Spec, does: str, source: int | None = None, into: Hears | None = None) -> None:
        """Run a program, which ``does`` something; KeyturnError where it fails.

        It reads from the open file ``source``, and ``into`` is given what it prints.
        """
        name = program["command"][0]
        code = self._code(program, self._values, source, into)
        if code != 0:
            raise KeyturnError(
                f"{self._name}: {name}, which {does}, ended with exit code {code}: run it by hand on a copy to see why"
            )

    def accepts(self, program: Spec, side: Side) -> bool:
        """Ask a program about the value of a side."""
        return self._code(program, {**self._values, "value": self._values[side]}) == 0

    def _code(
        self, program: Spec, values: Mapping[str, str], source: int | None = None, into: Hears | None = None
    ) -> int:
        def filled(template: object) -> str:
            return PLACE.sub(lambda found: values[found[1]], str(template))

        seconds, told = program["seconds"], filled(program["input"] or "").encode()
        given = {name: filled(text) for name, text in program["environment"].items()}
        with contextlib.ExitStack() as stack:
            locks = [stack.enter_context(alone(self.lock, seconds, program["command"][0]))] if self.folder else []
            code = self._runner.run(
                program["command"], seconds, told=told, keeps=locks, more=given, source=source, into=into
            )
        self.let_end(LEFT_SECONDS)
        if code is None:
            raise KeyturnError(
                f"{self._name}: {program['command'][0]} did not end within {seconds} s: run it by hand on a copy to see why"
            )
        return code

    @property
    def lock(self) -> Path:
        """The file that whoever is at work has open."""
        return self.place(LOCK)

    def place(self, name: str) -> Path:
        """Return a file in the folder of the rotation."""
        if self.folder is None:
            raise TypeError("`recall` comes first")
        return self.folder / name

    def let_end(self, seconds: float) -> None:
        """Wait for a program and all that it has started, which must not have its way later; what takes longer is killed, as its user."""
        if self.folder is None:
            return
        with contextlib.suppress(KeyturnError), alone(self.lock, seconds, "a program"):
            return
        left = map(str, procfs.holders([self.lock]))
        self._runner.run(["sh", "-c", 'kill -KILL "$@"', "sh", *left], LEFT_SECONDS)
        with alone(self.lock, LEFT_SECONDS, f"{self._name}: a program"):
            pass
