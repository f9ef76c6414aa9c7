"""The migration ``command_checked``: data in a form that is not read here, turned by programs of the application's within our stop.

What shows is the application's own check of a value: before with the old value alone, afterwards with the new one alone. That each row
holds what it held is shown by nobody, and is said so. Until the service starts again the backup is what the data was; from then on the
declared inverse turns it back with all that was written. Where none is declared, phases/loss.py asks for a person's word first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...base import durable
from ...base.errors import KeyturnError
from ...base.sides import Side
from ..scripts import Scripts
from . import backup_file
from .contract import Backup, Census, Deferred, Examined, Online, Prepared, RowStore, Space, Spec, Turned
from .program import Programs

BACKUP, STATE = "backup.data", "prepared.state"
PROGRAMS = ("turn", "back", "check", "backup", "restore")
# what a backup leaves of the disk
SPARE_BYTES = 1 << 28
# what this host has done: begun to turn it, and shown that it is turned
BEGUN, SHOWN = b"begun", b"shown"
NOTHING: Turned = {"turned": 0, "on_the_fly": 0, "left": ""}


class Checked:
    """The contract over programs. Its only row is the data as a whole."""

    def __init__(self, spec: Spec, scripts: Scripts | None, values: Mapping[Side, str]) -> None:
        """``spec`` has the programs, which ``scripts`` runs and are told the ``values``."""
        self._spec, self._values = spec, values
        self._check = str(spec["check"]["command"][0])
        self.name = self.label = f"the data that {spec['turn']['command'][0]} turns"
        self._programs = Programs(self.name, scripts, values)
        self.secrets: tuple[str, ...] = ()

    @property
    def parts(self) -> Sequence[RowStore]:
        """It is one."""
        return (self,)

    def examine(self, allow_empty: Sequence[str], encrypt_plaintext: bool) -> Examined:
        """See that all programs can be run, and that the check accepts the value in use."""
        self.check_switch()
        if refusal := self.refusal(self.census()):
            raise KeyturnError(refusal)
        told = [f"{self.name} is not read: {self._check} alone tells of it, and who else has it open is not known"]
        return Examined({}, told if self._spec["back"] else [*told, f"{self.name} has no inverse (`back`)"])

    def space(self) -> Space:
        """Nobody says how much the backup takes: it is bounded by what the disk has."""
        return Space(0, {})

    def check_switch(self) -> None:
        """See that all programs can be run."""
        for program in self._declared:
            self._programs.check(program)

    def census(self) -> Census:
        """Ask the check about each value that is known. What a program has begun, and nothing has shown, is refused as well."""
        sides = self._accepted()
        why = "" if len(sides) == 1 else f"{self._check} accepts {'both values' if sides else 'none of the values'}"
        if self._state == BEGUN:
            why = "what has begun to turn it was not shown to be right"
        return {
            "rows": {},
            "under": {"old": int("old" in sides), "new": int("new" in sides)},
            "refused": int(bool(why)),
            "refusals": why,
            "empty_tables": [],
            "shown": "" if why else f"{self._check} accepts the {sides[0]} value and no other",
        }

    def sample(self) -> Census:
        """Ask the same."""
        return self.census()

    def refusal(self, census: Census) -> str:
        """Return the sentence about a check that does not say under which value the data is."""
        return f"{self.name}: {census['refusals']}: nothing shows which value opens it" if census["refused"] else ""

    def backup(self, folder: Path, online: bool) -> Backup:
        """Keep what the program prints, under the stop alone: nobody has written since when it is put back."""
        if online:
            raise Deferred("it is made under the stop, right before the data is turned")
        path = folder / BACKUP
        durable.remove(path)
        most = max(0, shutil.disk_usage(folder).free - SPARE_BYTES)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:  # noqa: PTH123 - of a descriptor

            def keep(part: bytes) -> None:
                if file.tell() + len(part) > most:
                    raise self._no_backup(f"more than the disk takes ({most >> 20} MiB)")
                file.write(part)

            self._programs.run(self._spec["backup"], "makes a backup", into=keep)
            file.flush()
            os.fsync(fd)
        if not path.stat().st_size:
            raise self._no_backup("nothing")
        durable.sync_folder(folder)
        return backup_file.described(path)

    def _no_backup(self, printed: str) -> KeyturnError:
        name = self._spec["backup"]["command"][0]
        return KeyturnError(
            f"{self.name}: {name}, which makes a backup, has printed {printed}: it prints the backup, and the disk needs room for it"
        )

    def recall(self, folder: Path, prepared: Mapping[str, object] | None) -> bool:
        """Know the rotation's folder; nothing is prepared."""
        self._programs.folder = folder
        return False

    def prepare(self, encrypt_plaintext: bool, seconds: float) -> Prepared:
        """Refuse a check that accepts the new value as well, under which nothing is yet: before anything stops."""
        if self._under() != "old":
            raise KeyturnError(
                f"{self.name}: {self._check} does not accept the old value alone, so it would show nothing; correct it"
            )
        return Prepared(0, 0, finished=True)

    def marks(self, finished: bool) -> dict[str, object]:
        """Return nothing."""
        return {}

    def check_unused(self) -> None:
        """Wait for a program that a killed call has left. Who else has the data open is not known."""
        self._programs.let_end(max(program["seconds"] for program in self._declared))

    def switch(self, to: Side, encrypt_plaintext: bool = False) -> Turned:
        """Have it turned, and the check say so."""
        self.check_unused()
        return self._forward() if to == "new" else self._back()

    def _forward(self) -> Turned:
        if self._state != BEGUN:
            if (under := self._under()) == "new":
                return NOTHING
            if under is None:
                raise KeyturnError(
                    f"{self.name}: {self._check} does not accept the old value alone, and nothing was turned here: run rollback.yml"
                )
            self._keep(BEGUN)
        self._programs.run(self._spec["turn"], "turns it")
        if self._under() != "new":
            raise KeyturnError(
                f"{self.name}: {self._spec['turn']['command'][0]} has ended well, and {self._check} does not accept the new value alone: "
                "run it by hand on a copy to see why"
            )
        self._keep(SHOWN)
        return {"turned": 1, "on_the_fly": 1, "left": ""}

    def _back(self) -> Turned:
        if self._state == BEGUN or (self._state == SHOWN and not self._spec["back"]):
            with self._programs.place(BACKUP).open("rb") as backup:
                self._programs.run(self._spec["restore"], "restores it", source=backup.fileno())
        elif self._state != SHOWN and not self._spec["shared"]:
            return NOTHING
        elif self._under() != "old":
            self._programs.run(self._spec["back"], "turns it back")
        if self._under() != "old":
            raise KeyturnError(
                f"{self.name}: {self._check} does not accept the old value alone after the way back, and no service is started: put right "
                f"what it names, by hand from {self._programs.place(BACKUP)} where nothing else helps, which has nothing that was written "
                "since the stop; then run rollback.yml"
            )
        durable.remove(self._programs.place(STATE))
        return {"turned": 1, "on_the_fly": 1, "left": ""}

    @property
    def _declared(self) -> list[Spec]:
        return [self._spec[name] for name in PROGRAMS if self._spec[name]]

    @property
    def _state(self) -> bytes:
        place = self._programs.folder and self._programs.place(STATE)
        return place.read_bytes() if place and place.exists() else b""

    def _keep(self, state: bytes) -> None:
        durable.write_file(self._programs.place(STATE), state)

    def _under(self) -> Side | None:
        accepted = self._accepted()
        return accepted[0] if len(accepted) == 1 else None

    def _accepted(self) -> list[Side]:
        return [side for side in self._values if self._programs.accepts(self._spec["check"], side)]

    def turn_online(self, to: Side, folder: Path, seconds: float) -> Online:
        """Refuse: what a program does beside the application is not known to keep what that writes."""
        raise KeyturnError(f"{self.name}: it is turned under a stop alone")

    def opened_before(self, seconds: float) -> list[str]:
        """Name nobody: it is not known."""
        return []

    def forget(self, rotation_id: str) -> None:
        """Remove nothing: all that is kept lies in the folder of the rotation."""

    def left(self) -> list[str]:
        """Name nothing."""
        return []

    def residue(self) -> list[str]:
        """Say what was not shown."""
        return [
            f"{self.name}: that it holds what it held was not shown, and no old ciphertext was looked for: {self._check} alone tells of it"
        ]

    def restore(self, folder: Path, backup: Mapping[str, object], scratch: Path) -> int:
        """Refuse: only over the data in use could its program restore it."""
        backup_file.check(folder / BACKUP, backup)
        raise KeyturnError(
            "that the backup can be restored was not tried: its program restores it over the data in use; try it on a copy"
        )
