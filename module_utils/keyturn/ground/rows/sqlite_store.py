"""The row store ``fernet_sqlite``: Fernet tokens in columns of an SQLite database, with what a rotation keeps of them in files."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ...base import attributes, procfs
from ...base.errors import KeyturnError
from ...base.sides import Side
from . import backup_file
from .contract import Backup, Census, Deferred, Examined, Online, Prepared, RowStore, Space, Spec, Turned
from .fernet_keys import fernet_keys
from .fernet_online import turn_online
from .fernet_sqlite import FernetSqlite
from .side_file import SideFile
from .sqlite_file import RestartedTooOften

BACKUP = "backup.db"
RESTORED = "database"
PREPARED = "prepared.db"
ONLINE: dict[Side, str] = {"new": "prepared.online.db", "old": "prepared.back.db"}


class SqliteStore:
    """The contract over ``FernetSqlite``, and the files in the folder of a rotation: backup and prepared ciphertexts."""

    def __init__(
        self,
        spec: Spec,
        root: Path,
        variables: Sequence[str],
        values: Mapping[Side, Mapping[str, str]],
        accepted: Collection[str],
    ) -> None:
        self._spec = spec
        self._variable = variables[0]
        rule, separator = spec.get("key"), spec.get("separator")
        lists = {
            side: fernet_keys(rule, self._variable, held[self._variable], separator) for side, held in values.items()
        }
        self._keys = {side: keys[0] for side, keys in lists.items()}
        self._older = lists["old"][1:]
        self.secrets = tuple(key for keys in lists.values() for key in keys) if rule or separator else ()
        self._accepted = accepted
        self.columns = self._at(root, spec)
        self.name = str(self.columns.database.path)
        self.label = self.columns.database.path.name
        self._side: SideFile | None = None
        self._recalled = False

    @property
    def parts(self) -> Sequence[RowStore]:
        """It is one."""
        return (self,)

    def _at(self, root: Path, spec: Spec) -> FernetSqlite:
        return FernetSqlite(spec, root, self._variable, self._keys, self._accepted, self._older)

    def examine(self, allow_empty: Sequence[str], encrypt_plaintext: bool) -> Examined:
        """Look at the file, open every row, and have SQLite compile what the switch will say."""
        with self.columns.database.acting():
            attributes.check_changeable(self.columns.database.path)
        self.columns.database.check_file()
        census = self.columns.census()
        findings = self.columns.check_census(census, allow_empty, encrypt_plaintext)
        self.check_switch()
        if unseen := procfs.unseen():
            findings.append(
                f"{unseen} processes of other users could not be looked at: whether one has {self.name} open is not known; run as root"
            )
        return Examined(census["rows"], findings)

    def space(self) -> Space:
        """A backup and the prepared ciphertexts are kept; beside the database lies SQLite's journal of all pages."""
        size = self.columns.database.size
        return Space(int(size * 2.5), {self.columns.database.path.parent: size})

    def check_switch(self) -> None:
        """Try the statements of the switch on an empty copy of the schema."""
        self.columns.check_schema()

    def census(self) -> Census:
        """Open every row."""
        return self.columns.open_rows()

    def sample(self) -> Census:
        """Open every row: no other host does."""
        return self.census()

    def refusal(self, census: Census) -> str:
        """Return the sentence about rows that cannot be turned."""
        return self.columns.refusal(census)

    def backup(self, folder: Path, online: bool) -> Backup:
        """Copy by SQLite's backup; the switch of the first pages is tried on a copy that was made online."""
        path = folder / BACKUP
        try:
            self.columns.database.backup(path, online)
        except RestartedTooOften:
            raise Deferred("the application's writes restarted it too often: it is made under the stop") from None
        if online:
            self.columns.rehearse(path)
        return backup_file.described(path)

    def recall(self, folder: Path, prepared: Mapping[str, object] | None) -> bool:
        """Look for the prepared ciphertexts that the journal vouches for.

        Within a boot that is the file as the last call has left it, or as SQLite takes it back to that after a kill. What a loss
        of power has done to it shows in the checksum, and that is taken once, of a file that is finished.
        """
        self._side = SideFile(folder / PREPARED)
        self._recalled = bool(prepared) and self._side.path.exists() and _vouched(self._side, prepared or {})
        return self._recalled

    def prepare(self, encrypt_plaintext: bool, seconds: float) -> Prepared:
        """Compute new ciphertexts; a file that nobody vouches for is thrown away."""
        side = self._file()
        if not self._recalled:
            side.remove()
        return self.columns.prepare(side, encrypt_plaintext, seconds)

    def marks(self, finished: bool) -> dict[str, object]:
        """Return the boot and the mark of the file, and of a finished one its checksum."""
        side = self._file()
        marks: dict[str, object] = {"boot_id": procfs.now().boot_id, "mark": side.mark()}
        return marks | ({"sha256": side.checksum()} if finished else {})

    def _file(self) -> SideFile:
        if self._side is None:
            raise TypeError("`recall` comes first")
        return self._side

    def check_unused(self) -> None:
        """Ask /proc who has the database open."""
        self.columns.database.check_unused()

    def switch(self, to: Side, encrypt_plaintext: bool = False) -> Turned:
        """Turn the rows in one transaction."""
        return self.columns.switch(to, self._file() if self._recalled else None, encrypt_plaintext)

    def turn_online(self, to: Side, folder: Path, seconds: float) -> Online:
        """Turn page by page beside the application; where it has come to stands in ``folder``."""
        return turn_online(self.columns, to, SideFile(folder / ONLINE[to]), seconds)

    def forget(self, rotation_id: str) -> None:
        """Remove nothing: all that is kept lies in the folder of the rotation."""

    def opened_before(self, seconds: float) -> list[str]:
        """Name nobody: who has a file open says the host."""
        return []

    def left(self) -> list[str]:
        """Name nothing."""
        return []

    def residue(self) -> list[str]:
        """Look for old tokens in the bytes of the database's files."""
        return [
            f"{name} was not looked through for ciphertexts under the old value: it has too much that begins as they do"
            if count is None
            else f"{name} still holds {count} ciphertexts under the old value in free parts of its pages: run VACUUM in a maintenance "
            "window, once the rotation has ended (it may renumber rows that have no INTEGER PRIMARY KEY)"
            for name, count in self.columns.residue().items()
        ]

    def tally(self, key: bytes) -> list[tuple[int, int]]:
        """Open every row."""
        return self.columns.tally(key)

    def put_back(self, folder: Path) -> None:
        """Read the backup beside the database."""
        self.columns.put_back(folder / BACKUP)

    def restore(self, folder: Path, backup: Mapping[str, object], scratch: Path) -> int:
        """Copy the backup to ``scratch``, under a name of our own, and open its rows.

        The catalogue's path may be absolute, and would lead out of there. That the bytes are those of the backup does not show that
        they open: prepare has read the database itself, later on.
        """
        database = scratch / RESTORED
        with (folder / BACKUP).open("rb") as kept, database.open("xb") as copy:
            shutil.copyfileobj(kept, copy)
        backup_file.check(database, backup)
        census = self._at(scratch, {**self._spec, "database": RESTORED}).open_rows()
        if census["refused"]:
            raise KeyturnError(f"{census['refused']} rows of the backup do not open: {census['refusals']}")
        return sum(census["rows"].values())


def _vouched(side: SideFile, prepared: Mapping[str, object]) -> bool:
    same_boot = prepared.get("boot_id") == procfs.now().boot_id
    if same_boot and side.bears(prepared["mark"]):
        return True
    if "sha256" in prepared:
        return bool(side.checksum() == prepared["sha256"])
    return same_boot and side.interrupted
