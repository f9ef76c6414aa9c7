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
from typing import Any

from ..base import durable, moments
from ..base.errors import KeyturnError
from ..ground import owner

PHASES = ("staging", "staged", "preparing", "prepared", "switching", "switched", "proved", "closed")
# the log of a replacement of access tokens (token_log.py), which keeps a rotation away
REPLACEMENT = "replacement.jsonl"
MARKS = {"*": str}
PROOF = dict.fromkeys(("proof", "subject", "verdict", "wanted", "detail"), str)
STAMP = [str, float]
# what was the head of the controller's log when it began the rotation here: who rewrites the log does not reach it
HEAD = {"number": int, "hash": re.compile("[0-9a-f]{64}")}
RETIRE = {"state": str, "since": str, "evidence?": str, "verdict?": str}
# what every reader of a journal may rest on, on the host and on the controller
SHAPE = {
    "phase": PHASES,
    "rotation_id": str,
    "secret": str,
    "operator": str,
    "started": moments.SHAPE,
    "environment?": str,
    "finished?": (None, moments.SHAPE),
    "decision?": (None, "commit", "rollback"),
    "outcome?": (None, str),
    "history?": [{"phase": str, "at": moments.SHAPE}],
    "old?": MARKS,
    "new?": MARKS,
    "rows?": {"*": int},
    "times?": {"*": float},
    "findings?": [str],
    "failure?": (None, str),
    "proofs?": [PROOF],
    "downtime_seconds?": float,
    "stopped?": {"moment": STAMP, "time": float},
    "changed?": STAMP,
    "turned?": dict,
    "forms?": dict,
    "modes?": {"*": int},
    "prepared?": {"mark?": [int], "boot_id?": str, "read": int, "rows": int, "seconds": float, "sha256?": str},
    "backup?": {"path": str, "opens_with": MARKS, "expires?": moments.SHAPE, "pruned?": moments.SHAPE},
    "previous?": {"expires?": moments.SHAPE, "pruned?": moments.SHAPE},
    "retire?": (None, RETIRE),
    "old_credential?": {"verdict": str, "detail": str, "at": moments.SHAPE},
    "account?": str,
    "log_head?": HEAD,
    "evidence?": {"logs": {"*": (None, {"*": int})}, "backup?": {"ok": bool, "rows?": int, "failure?": str}},
}
# what a call that goes on with a rotation needs besides, by its phase
STAGED = {"findings": [str], "old": MARKS}
SWITCHING = STAGED | {"stopped": {"moment": STAMP, "time": float}}
NEEDED = {"switching": SWITCHING, "switched": SWITCHING | {"changed": STAMP}, "proved": SWITCHING | {"changed": STAMP}}
RECOVERY = "end it with resume.yml (on the new value) or rollback.yml (on the old one)"


def utc_now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return moments.text(datetime.now(UTC))


@dataclass(eq=False, repr=False)
class Journal:
    """The record of one rotation on this host. Every change is durable before the method returns."""

    folder: Path
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def phase(self) -> str:
        """The phase that was entered last."""
        return str(self.record["phase"])

    @property
    def decision(self) -> str | None:
        """``commit`` or ``rollback`` once that is decided: nothing turns it round."""
        return self.record.get("decision")

    @property
    def closed(self) -> bool:
        """Whether the rotation has ended on this host."""
        return self.phase == "closed"

    def reached(self, phase: str) -> bool:
        """Tell whether the rotation has come to ``phase``, or further."""
        return PHASES.index(self.phase) >= PHASES.index(phase)

    def enter(self, phase: str, **fields: Any) -> None:
        """Write that ``phase`` begins or is reached, with ``fields``."""
        self.record["history"] = [*self.record.get("history", []), {"phase": phase, "at": utc_now()}]
        self.update(phase=phase, **fields)

    def update(self, **fields: Any) -> None:
        """Write ``fields``; the phase stays."""
        self.record.update(fields)
        self.write("journal.json", self.record)

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Replace a JSON file of this rotation durably; KeyturnError names the file, which an error of a write does not."""
        try:
            durable.write_json(self.path(name), document)
        except OSError as error:
            raise KeyturnError(f"{self.path(name)}: {error.strerror}") from error

    def path(self, name: str) -> Path:
        """Return the file ``name`` in the folder of this rotation."""
        return self.folder / name

    def kept(self, what: str) -> list[Path]:
        """Return what a row store keeps for this rotation: its ``backup``, or what it has ``prepared``, also half made."""
        return sorted(self.folder.glob(f"{what}.*"))


class Application:
    """The part of the state folder that belongs to one application root."""

    def __init__(self, state_dir: Path, app_root: Path) -> None:
        self.state_dir = state_dir
        root = str(app_root.resolve())
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
                found.append(Journal(folder, record))
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
                f"rotation {opened.folder.name} of {opened.record['secret']} is open on this host "
                f"(phase {opened.phase}, by {opened.record['operator']} since {opened.record['started']}): {RECOVERY}"
            )
        if opened is None and (self.folder / REPLACEMENT).exists():
            raise KeyturnError(
                "a replacement of access tokens is open on this host: end it with replace_plaid_tokens.yml"
            )
        return self.get(rotation_id)

    def begin(self, rotation_id: str, **fields: Any) -> Journal:
        """Open the rotation on this host. The caller holds ``lock`` and has asked ``find``."""
        folder = self.folder / "rotations" / rotation_id
        durable.make_private_folder(folder)
        journal = Journal(folder)
        journal.enter("staging", schema=1, rotation_id=rotation_id, started=utc_now(), **fields)
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
