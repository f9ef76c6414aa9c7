"""The migration ``command``: a program of the application's turns the rows, within our stop, and a store that reads them holds it to that.

What each row holds is counted before the program begins, by a number that is another one as soon as a plaintext is (``Tally``). It stands
in the rotation's folder, so that a call after a kill knows it as well. Only rows that show the same, all under the new value, are turned.
Until then the way back gives rows that the program has spoilt what the backup holds, which is made under the stop.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

from ...base import durable
from ...base.errors import KeyturnError
from ...base.sides import Side
from ..scripts import Scripts
from .contract import Backup, Census, Deferred, Examined, Online, Prepared, Readable, Spec, Turned
from .program import Programs

BEFORE = "prepared.before.json"
# what the program did is not known to be right
SPOILT = "1 or more rows do not hold what they held before {program}, which was to turn them, has run"


SHAPE = {"key": str, "rows": {"*": int}, "tally": [str], "under_old": int, "shown": bool}


class Before(TypedDict):
    """What the rows held before the program ran for the first time; whether it is ``shown`` that they hold it still, all turned."""

    key: str
    rows: dict[str, int]
    tally: list[str]
    under_old: int
    shown: bool


class Delegated:
    """The contract over another store, which does all but turn its rows towards the new value."""

    def __init__(self, turn: Spec, scripts: Scripts | None, rows: Readable, values: Mapping[Side, str]) -> None:
        """``turn`` is the program of the catalogue, which ``scripts`` runs and is told the ``values``; ``rows`` read what it turns."""
        self._turn, self._rows, self._program = turn, rows, str(turn["command"][0])
        self._programs = Programs(rows.name, scripts, values)
        self.name, self.label, self.secrets, self.parts = rows.name, rows.label, rows.secrets, (self,)
        self.space, self.check_switch = rows.space, rows.check_switch
        self.sample, self.refusal, self.residue, self.restore = rows.sample, rows.refusal, rows.residue, rows.restore
        self.opened_before, self.forget, self.left = rows.opened_before, rows.forget, rows.left

    def examine(self, allow_empty: Sequence[str], encrypt_plaintext: bool) -> Examined:
        """Have the rows examined, and see that the program can be run."""
        if encrypt_plaintext:
            raise KeyturnError(
                f"{self.name}: unset keyturn_encrypt_plaintext_rows: {self._program} turns its rows, and plaintext ones have to stay"
            )
        self._programs.check(self._turn)
        return self._rows.examine(allow_empty, encrypt_plaintext)

    def census(self) -> Census:
        """Open every row. While the program's work is not shown to be right, rows that hold something else are refused as well."""
        found, before = self._rows.census(), self._before()
        if before and not before["shown"] and self._spoilt(before, found):
            told = "; ".join(filter(None, [SPOILT.format(program=self._program), found["refusals"]]))
            return {**found, "refused": found["refused"] + 1, "refusals": told}
        return found

    def backup(self, folder: Path, online: bool) -> Backup:
        """Copy under the stop alone: what the program spoils is put back from it, and nobody has written since."""
        if online:
            raise Deferred(f"it is made under the stop, right before {self._program} runs")
        return self._rows.backup(folder, online)

    def recall(self, folder: Path, prepared: Mapping[str, object] | None) -> bool:
        """Know the rotation's folder; nothing is prepared."""
        self._programs.folder = folder
        self._rows.recall(folder, None)
        return False

    def prepare(self, encrypt_plaintext: bool, seconds: float) -> Prepared:
        """Compute nothing: the program does."""
        return Prepared(0, 0, finished=True)

    def marks(self, finished: bool) -> dict[str, object]:
        """Return nothing: what is kept is looked for in the folder."""
        return {}

    def turn_online(self, to: Side, folder: Path, seconds: float) -> Online:
        """Refuse: what a program does beside the application is not known to keep what that writes."""
        raise KeyturnError(f"{self.name}: {self._program} turns its rows under a stop alone")

    def check_unused(self) -> None:
        """Wait for the program of a call that was killed, then refuse while anybody else has the data open."""
        self._programs.let_end(self._turn["seconds"])
        self._rows.check_unused()

    def switch(self, to: Side, encrypt_plaintext: bool = False) -> Turned:
        """Towards ``new`` run the program, and hold the rows against what they held. Towards ``old`` re-encrypt them as any other."""
        self.check_unused()
        before = self._before()
        return self._forward(before) if to == "new" else self._back(before)

    def _forward(self, before: Before | None) -> Turned:
        if before and before["shown"] and not self._faults(before):
            return {"turned": 0, "on_the_fly": 0, "left": ""}
        before = before or self._note()
        self._programs.run(self._turn, "turns its rows")
        self._rows.check_unused()
        if faults := self._faults(before):
            raise KeyturnError(
                f"{self.name}: {self._program}, which turns its rows, has not turned them as they were ({faults}): run it by hand on a "
                "copy to see why"
            )
        self._keep({**before, "shown": True})
        return {"turned": before["under_old"], "on_the_fly": before["under_old"], "left": ""}

    def _back(self, before: Before | None) -> Turned:
        doubted = before is not None and not before["shown"]
        if doubted:
            self._rows.put_back(self._programs.place(BEFORE).parent)
        turned = self._rows.switch("old")
        if before and doubted and self._spoilt(before, self._rows.census()):
            raise KeyturnError(
                f"{self.name}: {SPOILT.format(program=self._program)}, and not what the backup has either: put right what is missing, from "
                f"backup.* beside it, or, if they are right as they are, remove {self._programs.place(BEFORE)}; then run rollback.yml"
            )
        durable.remove(self._programs.place(BEFORE))
        return turned

    # -- what the rows held ----------------------------------------------------------------------------------------

    def _note(self) -> Before:
        """Write down what the rows hold, before the program runs for the first time."""
        found, key = self._rows.census(), os.urandom(32)
        if found["under"]["new"] or found["refused"]:
            raise KeyturnError(
                f"{self.name}: {found['under']['new']} rows are under the new value already and {found['refused']} under neither, and what "
                "they held before is not known on this host: another one has begun; run rollback.yml"
            )
        before: Before = {
            "key": key.hex(),
            "rows": found["rows"],
            "tally": self._tally(key),
            "under_old": found["under"]["old"],
            "shown": False,
        }
        self._keep(before)
        return before

    def _faults(self, before: Before) -> str:
        found = self._rows.census()
        if found["refused"]:
            return f"{found['refused']} open under neither value: {found['refusals']}"
        if found["under"]["old"]:
            return f"{found['under']['old']} are still under the old value"
        return "some do not hold what they held" if self._spoilt(before, found) else ""

    def _spoilt(self, before: Before, found: Census) -> bool:
        return found["rows"] != before["rows"] or self._tally(bytes.fromhex(before["key"])) != before["tally"]

    def _tally(self, key: bytes) -> list[str]:
        return [f"{rows} {number:x}" for rows, number in self._rows.tally(key)]

    def _before(self) -> Before | None:
        if self._programs.folder is None or not self._programs.place(BEFORE).exists():
            return None
        return cast(Before, durable.read_json(self._programs.place(BEFORE), SHAPE))

    def _keep(self, before: Before) -> None:
        durable.write_json(self._programs.place(BEFORE), cast(Mapping[str, object], before))
