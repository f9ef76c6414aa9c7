"""What a host knows on disk of its rotations.

A folder for each application root, in it a folder for each rotation::

    <state>/<application>/
        lock                      held by the call that is at work, with its pid
        rotations/<rotation id>/
            journal.json          written before each step; the rotation is open until its phase is ``closed``
            pending.json          the new values (0600), until they stand in the consumers for good
            previous.json         the old values (0600), until their retention ends
            backup.* prepared.*       what a row store keeps

The open journal is the lock that keeps a second rotation away: there is nothing to release but the journal itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast

from ..base import durable, timestamps
from ..base.errors import KeyturnError
from ..base.fingerprint import MARK
from ..base.procfs import Moment
from ..ground import owner

if TYPE_CHECKING:
    from ..base.sides import Side
    from ..ground.rows.contract import Backup, Turned

# of a key list alone: docs/decisions/12-key-lists-by-restarts.md
LISTS = ("accepting", "accepts", "leading", "leads", "turning", "turned")
# ``issuing`` and ``issued`` are of the host that speaks for all at an issuer; every other one goes past them
PHASES = (
    "staging",
    "staged",
    "preparing",
    "prepared",
    "issuing",
    "issued",
    *LISTS,
    "switching",
    "switched",
    "proved",
    "closed",
)
# the log of a replacement of access tokens (token_log.py), which keeps a rotation away
REPLACEMENT = "replacement.jsonl"
# by variable; a host that lies has no other text to stand where people expect one of these
MARKS = {"*": MARK}
PROOF = dict.fromkeys(("proof", "subject", "verdict", "wanted", "detail"), str)
STAMP = [str, float]
# what was the head of the controller's log when it began the rotation here: who rewrites the log does not reach it
HEAD = {"number": int, "hash": re.compile("[0-9a-f]{64}")}
RETIRE = {"state": str, "since": timestamps.SHAPE, "evidence?": str, "verdict?": str}
ONLINE = {"read": int, "seconds": float}
# what every reader of a journal may rest on, on the host and on the controller
SHAPE = {
    "phase": PHASES,
    "rotation_id": timestamps.ROTATION_ID,
    "secret": str,
    "operator": str,
    "started": timestamps.SHAPE,
    "environment?": str,
    "finished?": (None, timestamps.SHAPE),
    "decision?": (None, "commit", "rollback"),
    "turned_back?": bool,
    "withdrawn?": bool,
    "outcome?": (None, str),
    "history?": [{"phase": str, "at": timestamps.SHAPE}],
    "old?": MARKS,
    "new?": MARKS,
    "rows?": {"*": int},
    "times?": {"*": float},
    "findings?": [str],
    "failure?": (None, str),
    "proofs?": [PROOF],
    **dict.fromkeys(("downtime_seconds?", "down_before?"), float),
    "down?": {"*": timestamps.SHAPE},
    "stopped?": {"moment": STAMP, "time": float},
    "accepted?": {"moment": STAMP, "time": float},
    "changed?": STAMP,
    "turned?": dict,
    "online?": ONLINE,
    "speaker?": str,
    "rows_under?": ("old", "new"),
    "forms?": dict,
    "modes?": {"*": int},
    "prepared?": {"mark?": [int], "boot_id?": str, "read": int, "rows": int, "seconds": float, "sha256?": str},
    "backup?": {
        "path": str,
        "opens_with": MARKS,
        "bytes?": int,
        "sha256?": str,
        "expires?": timestamps.SHAPE,
        "pruned?": timestamps.SHAPE,
    },
    "previous?": {"expires?": timestamps.SHAPE, "pruned?": timestamps.SHAPE},
    "retire?": (None, RETIRE),
    "old_credential?": {"verdict": str, "detail": str, "at": timestamps.SHAPE},
    "account?": str,
    "log_head?": HEAD,
    "evidence?": {
        "logs": {"*": (None, {"*": int})},
        "readers?": [str],
        "backup?": ({"ok": True, "rows": int}, {"ok": False, "failure?": str}),
    },
    "held?": MARKS,
    **dict.fromkeys(("attention?", "unproved?", "lost_writes?", "issuer_mark?", "issuer_retired?"), str),
}
Marks = dict[str, str]
Instant = list[str | float]


class Stamp(TypedDict):
    """The time by the boot and by the wall."""

    moment: Instant
    time: float


class PreparedRows(TypedDict, total=False):
    """How far the rows are prepared, and the marks by which their store knows again what it has prepared."""

    rows: int
    read: int
    seconds: float
    boot_id: str
    mark: list[int]
    sha256: str
    parts: list[dict[str, Any]]


class OnlineRows(TypedDict):
    """How many rows were read beside the application, and in how many seconds."""

    read: int
    seconds: float


class Kept(TypedDict, total=False):
    """Until when the old value is kept, and the backup that only it opens where there is one."""

    path: str
    bytes: int
    sha256: str
    parts: list[Backup]
    opens_with: Marks
    expires: str
    pruned: str


class Retire(TypedDict, total=False):
    """Whether the old credential is still to be revoked, and what its provider last said."""

    state: str
    since: str
    verdict: str
    evidence: str


class Verdict(TypedDict, total=False):
    """A provider's word on a credential."""

    verdict: str
    detail: str
    account: str
    findings: list[str]
    at: str


class Drill(TypedDict, total=False):
    """Whether the backup could be restored."""

    ok: bool
    rows: int
    failure: str


class Evidence(TypedDict, total=False):
    """What only the host can tell for the checklist: known error lines by service, who kept the old value, the restore drill."""

    logs: dict[str, dict[str, int] | None]
    readers: list[str]
    backup: Drill


class Head(TypedDict, total=False):
    """The last record of the controller's log, nothing where none is chained."""

    number: int
    hash: str


def touched(phase: str) -> bool:
    """Tell whether a host in ``phase`` may run on the new value: its files or rows were to be changed."""
    return PHASES.index(phase) >= PHASES.index(LISTS[0])


class JournalRecord(TypedDict, total=False):
    """All that a journal may hold. ``SHAPE`` says what every reader may rest on, ``NEEDED`` what is there in which phase."""

    schema: int
    phase: str
    rotation_id: str
    secret: str
    environment: str
    reason: str
    operator: str
    app_root: str
    started: str
    finished: str | None
    decision: Literal["commit", "rollback"] | None
    outcome: str | None
    history: list[dict[str, str]]
    old: Marks
    new: Marks
    held: Marks
    rows: dict[str, int]
    times: dict[str, float]
    findings: list[str]
    failure: str | None
    attention: str
    proofs: list[dict[str, str]]
    unproved: str
    # of data that goes back to its backup
    lost_writes: str
    stopped: Stamp
    # of a list of keys: when this host read both for the first time
    accepted: Stamp
    changed: Instant
    downtime_seconds: float
    down_before: float
    down: dict[str, str]
    turned: Turned
    online: OnlineRows
    turned_back: bool
    speaker: str
    rows_under: Side
    forms: dict[str, dict[str, str]]
    modes: dict[str, int]
    prepared: PreparedRows
    backup: Kept
    backup_deferred: str
    previous: Kept
    credential: Verdict
    old_credential: Verdict
    account: str
    issuer_mark: str
    issuer_retired: str
    withdrawn: bool
    retire: Retire
    log_head: Head
    counted: bool
    evidence: Evidence


# what a call that goes on with a rotation needs besides, by its phase
STAGED = {"findings": [str], "old": MARKS}
SWITCHING = STAGED | {"stopped": {"moment": STAMP, "time": float}}
SWITCHED = SWITCHING | {"changed": STAMP}
NEEDED = {
    "switching": SWITCHING,
    # not yet of accepting and leading: with a value of its own a host begins with the second
    **dict.fromkeys(("accepts", "leads", "turning", "turned", "switched", "proved"), SWITCHED),
}
RECOVERY = "end it with resume.yml (on the new value) or rollback.yml (on the old one)"


def utc_now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return timestamps.text(datetime.now(UTC))


@dataclass(eq=False, repr=False)
class Journal:
    """The record of one rotation on this host. Every change is durable before the method returns."""

    folder: Path
    record: JournalRecord = field(default_factory=JournalRecord)

    @property
    def phase(self) -> str:
        """The phase that was entered last."""
        return self.record["phase"]

    @property
    def secret(self) -> str:
        """The secret that is rotated."""
        return self.record["secret"]

    @property
    def old(self) -> Marks:
        """The fingerprints from before, by variable."""
        return self.record["old"]

    @property
    def new(self) -> Marks:
        """The fingerprints of the new value, by variable."""
        return self.record["new"]

    @property
    def rows(self) -> dict[str, int]:
        """The rows by form, as stage has seen them."""
        return self.record["rows"]

    @property
    def findings(self) -> list[str]:
        """What a person should know."""
        return self.record["findings"]

    @property
    def changed(self) -> Moment:
        """When the values were last changed here."""
        boot_id, seconds = self.record["changed"]
        return Moment(str(boot_id), float(seconds))

    @property
    def accepted(self) -> Stamp:
        """When the services first read both keys of a list."""
        return self.record["accepted"]

    @property
    def stopped(self) -> Stamp:
        """When the services were stopped."""
        return self.record["stopped"]

    @property
    def prepared(self) -> PreparedRows | None:
        """How far the rows are prepared, None before the first call has ended."""
        return self.record.get("prepared")

    @property
    def online(self) -> OnlineRows:
        """How many rows were read beside the application."""
        return self.record.get("online") or {"read": 0, "seconds": 0.0}

    @property
    def retire(self) -> Retire:
        """What is known of the old credential's end, nothing where it has none to come to."""
        return self.record.get("retire", {})

    @property
    def backup(self) -> Kept:
        """The backup that was made, and until when it is kept."""
        return self.record["backup"]

    def keeping(self) -> list[Kept]:
        """Return what says how long the old value is kept: that of the backup, or its own."""
        return [entry for entry in (self.record.get("backup"), self.record.get("previous")) if entry is not None]

    def has(self, name: str) -> bool:
        """Tell whether the field ``name`` was written."""
        return name in self.record

    def fields(self, *names: str) -> JournalRecord:
        """Return these fields alone, None for what was not written."""
        held = dict(self.record)
        return cast(JournalRecord, {name: held.get(name) for name in names})

    @property
    def decision(self) -> Literal["commit", "rollback"] | None:
        """``commit`` or ``rollback`` once that is decided: nothing turns it round."""
        return self.record.get("decision")

    @property
    def closed(self) -> bool:
        """Whether the rotation has ended on this host."""
        return self.phase == "closed"

    @property
    def touched(self) -> bool:
        """Whether the switch has begun, or of a key list the first change of the files: something is to be put back."""
        return touched(self.phase)

    def reached(self, phase: str) -> bool:
        """Tell whether the rotation has come to ``phase``, or further."""
        return PHASES.index(self.phase) >= PHASES.index(phase)

    def entered(self, phase: str) -> str:
        """Return when a phase that was reached began, as the journal writes times."""
        return next(step["at"] for step in self.record["history"] if step["phase"] == phase)

    def enter(self, phase: str, /, **fields: Unpack[JournalRecord]) -> None:
        """Write that ``phase`` begins or is reached, with ``fields``."""
        self.record["history"] = [*self.record.get("history", []), {"phase": phase, "at": utc_now()}]
        self.record["phase"] = phase
        self.update(**fields)

    def update(self, **fields: Unpack[JournalRecord]) -> None:
        """Write ``fields``; the phase stays."""
        self.record.update(fields)
        self.write("journal.json", self.record)

    def write(self, name: str, document: Mapping[str, object]) -> None:
        """Replace a JSON file of this rotation durably; KeyturnError names the file, which an error of a write does not."""
        try:
            durable.write_json(self.path(name), document)
        except OSError as error:
            raise KeyturnError(f"{self.path(name)}: {error.strerror}") from error

    def path(self, name: str) -> Path:
        """Return the file ``name`` in the folder of this rotation."""
        return self.folder / name

    def kept(self, what: str) -> list[Path]:
        """Return what row stores keep for this rotation: their ``backup``, or what they have ``prepared``, also half made.

        One of several stores has a folder of its own.
        """
        return sorted([*self.folder.glob(f"{what}.*"), *self.folder.glob(f"*/{what}.*")])


class Application:
    """The part of the state folder that belongs to one application root."""

    def __init__(self, state_dir: Path, app_root: Path) -> None:
        self.state_dir = state_dir
        root = str(owner.steady(app_root))
        digest = hashlib.sha256(root.encode()).hexdigest()[:8]
        self.folder = state_dir / f"{Path(root).name or 'root'}-{digest}"

    def check(self) -> None:
        """Refuse a state folder that is not private to this user, or where another one may exchange root's. Changes nothing."""
        for folder in (self.state_dir, self.folder, self.folder / "rotations"):
            durable.check_private_folder(folder)
        if os.getuid() == 0 and (changed := owner.writer(self.folder)) is not None:
            raise KeyturnError(
                f"{self.state_dir} is root's, and {changed[0]} may put another folder in its place ({changed[1]}): set "
                "keyturn_state_dir to a folder that only root can reach by folders of root's"
            )

    def journals(self) -> list[Journal]:
        """Return all rotations of this application, the oldest first (their ids sort by time)."""
        self.check()
        found = []
        for folder in sorted((self.folder / "rotations").glob("*/")):
            record = durable.read_json(folder / "journal.json", SHAPE)
            if record is not None:
                found.append(Journal(folder, cast(JournalRecord, record)))
        return found

    def open_journal(self) -> Journal | None:
        """Return the rotation that is open on this host, if one is."""
        return next((journal for journal in self.journals() if not journal.closed), None)

    def get(self, rotation_id: str) -> Journal | None:
        """Return the rotation with this id."""
        return next((journal for journal in self.journals() if journal.folder.name == rotation_id), None)

    def find(self, rotation_id: str) -> Journal | None:
        """Return the rotation with this id; refuse while another one is open."""
        opened = self.open_journal()
        if opened is not None and opened.folder.name != rotation_id:
            raise KeyturnError(
                f"rotation {opened.folder.name} of {opened.secret} is open on this host "
                f"(phase {opened.phase}, by {opened.record['operator']} since {opened.record['started']}): {RECOVERY}"
            )
        if opened is None and (self.folder / REPLACEMENT).exists():
            raise KeyturnError(
                "a replacement of access tokens is open on this host: end it with replace_plaid_tokens.yml"
            )
        return self.get(rotation_id)

    def begin(self, rotation_id: str, /, **fields: Unpack[JournalRecord]) -> Journal:
        """Open the rotation on this host. The caller holds ``lock`` and has asked ``find``."""
        folder = self.folder / "rotations" / rotation_id
        durable.make_private_folder(folder)
        journal = Journal(folder)
        journal.record.update(fields)
        journal.enter("staging", schema=1, rotation_id=rotation_id, started=utc_now())
        return journal

    @contextlib.contextmanager
    def lock(self, call: str, wait_seconds: float) -> Iterator[None]:
        """Hold this application for one call; a call that is still at work is waited for, then named.

        A module outlives the SIGKILL of ansible-playbook, so the next call may meet it. The lock ends with the process.
        """
        durable.make_private_folder(self.folder)
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._acquire(fd, wait_seconds)
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps({"call": call, "pid": os.getpid(), "since": utc_now()}).encode(), 0)
            yield
        finally:
            os.close(fd)

    def _acquire(self, fd: int, wait_seconds: float) -> None:
        if not durable.take_lock(fd, wait_seconds):
            raise KeyturnError(f"{self._holder(fd)}: wait until it ends, then run this again")

    @staticmethod
    def _holder(fd: int) -> str:
        try:
            holder = json.loads(os.pread(fd, 4096, 0))
            return f"keyturn is still at work on this host ({holder['call']}, pid {holder['pid']})"
        except (ValueError, KeyError, TypeError):
            return "keyturn is still at work on this host"
