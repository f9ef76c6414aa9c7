"""Stage: see that the rotation can succeed, then make the new value durable. Nothing of the application changes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ... import issuers
from ...base import procfs
from ...base.errors import KeyturnError
from ...base.fingerprint import fingerprints
from ...base.generate import GENERATORS
from ...ground import consumers
from .. import values
from ..journal import Head, Journal, JournalRecord
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from . import credential, retention
from .answers import HostAnswer, result
from .common import close_start_gate, fit_start_gate
from .credential import Brought
from .examination import Examination, examine


def run(
    rotation: Rotation,
    new_values: Mapping[str, str] | None = None,
    provider: Brought | None = None,
    only_examine: bool = False,
    sent_at: float = 0.0,
    logged: Sequence[str] | None = None,
    log_head: Head | None = None,
) -> HostAnswer:
    """Examine the host, open the journal and stage the new value. A repetition with the same id changes nothing.

    ``new_values`` is the value that all hosts share, None where each host generates its own; ``provider`` is what its
    provider said of it to the controller; ``sent_at`` is the controller's clock (seconds since 1970). ``logged`` are the rotations
    in the log of a pipeline, which must be the log that this host's last one stands in. ``log_head`` is the record with which the
    controller's log begins this attempt; the journal keeps it. The result also tells how this host's clock differs, and which place
    it is.
    """
    offset = round(time.time() - sent_at, 1)
    if logged is not None and not rotation.overrides.get("log"):
        _check_logged(rotation, logged)
    found = _stage(rotation, new_values, provider, only_examine, log_head)
    if log_head and not rotation.check_mode and found["rotation"].get("log_head") != log_head:
        _anchor(rotation, log_head)
    return {**found, "clock_offset": offset, "place": _place(rotation)}


def _stage(
    rotation: Rotation,
    new_values: Mapping[str, str] | None,
    provider: Brought | None,
    only_examine: bool,
    log_head: Head | None,
) -> HostAnswer:
    began = time.monotonic()
    rotation.hide((new_values or {}).values())
    journal = _resumable(rotation)
    new_values = _with_turn(rotation, journal, new_values)
    if journal is not None and (journal.closed or _staged(rotation, journal, new_values)):
        return result(journal, changed=False)
    if new_values is None and journal is not None and journal.phase == "staged":
        new_values = values.staged_before(journal)  # the file has been changed since: only the old value is another
    if new_values is None and not (rotation.check_mode or only_examine):
        _check_generated(rotation)
    host = examine(rotation)
    if new_values is not None:
        credential.check_is_new(rotation.entry["source"]["may_stay"], host.old, new_values)
    account, findings = credential.check_account(host.reply, provider)
    host.findings.extend(findings)
    fields = _fields(host)
    if rotation.check_mode:
        return {"changed": True, "rotation": {**fields, "phase": "not begun"}, "would": _told(fields)}
    with rotation.application.lock("stage", LOCK_WAIT_SECONDS):
        if host.reply is not None:
            credential.remember_account(rotation, host.reply.identity)
        if only_examine:
            return {"changed": False, "rotation": {**fields, "phase": "not begun"}}
        retention.prune(rotation.application)
        fields |= {"forms": rotation.forms(), "modes": rotation.modes(), "account": account}
        if log_head:
            fields["log_head"] = log_head
        journal = _resumable(rotation) or rotation.application.begin(rotation.rotation_id, **fields)
        if not _staged(rotation, journal, new_values):
            _make_durable(rotation, journal, fields, new_values, began)
        return result(journal, changed=True)


def _make_durable(
    rotation: Rotation, journal: Journal, seen: JournalRecord, new_values: Mapping[str, str] | None, began: float
) -> None:
    """Keep both values on disk, when all that can be tried without a stop has been tried."""
    for consumer in rotation.consumers():
        consumers.rehearse(consumer)
    fit_start_gate(rotation)
    old = rotation.current_values()
    new = dict(new_values or values.staged_before(journal) or _generate(rotation))
    rotation.hide(new.values())
    for consumer in rotation.consumers():
        consumers.check_writable(consumer, new)
    values.stage(journal, values.Staged(old, new), rotation.sealed)
    journal.enter(
        "staged",
        old=fingerprints(old),
        new=fingerprints(new),
        times={"stage": round(time.monotonic() - began, 3)},
        rows=seen["rows"],
        findings=seen["findings"],
        forms=seen["forms"],
        modes=seen["modes"],
    )
    if rotation.entry["switch"] == "together":
        # a host that dies from here on stays stopped until it has the value of the others
        close_start_gate(rotation)


def _with_turn(
    rotation: Rotation, journal: Journal | None, new_values: Mapping[str, str] | None
) -> Mapping[str, str] | None:
    """Return the new values with those that follow from the old ones: which of two roles is next."""
    issuer = rotation.entry["issuer"]
    if new_values is None or not issuer:
        return new_values
    staged = journal is not None and not journal.closed and journal.reached("staged")
    old = values.read(journal).old if journal is not None and staged else rotation.current_values()
    return {**new_values, **issuers.chosen(issuer, rotation.variables, old)}


def _check_generated(rotation: Rotation) -> None:
    if rotation.entry["source"]["kind"] == "supplied":
        raise KeyturnError(
            f"no new value of {', '.join(rotation.variables)} came with this call: run the playbook again"
        )


def _anchor(rotation: Rotation, log_head: Head) -> None:
    """Keep the head of the log of an attempt that goes on with a rotation: another controller's log has another."""
    with rotation.application.lock("stage", LOCK_WAIT_SECONDS):
        journal = rotation.application.get(rotation.rotation_id)
        if journal is not None:
            journal.update(log_head=log_head)


def _check_logged(rotation: Rotation, logged: Sequence[str]) -> None:
    """Refuse to begin a second chain of records beside the one that has the last rotation of this environment here."""
    ended = [
        one
        for one in rotation.application.journals()
        if one.closed and one.record.get("environment") == rotation.environment
    ]
    if ended and ended[-1].folder.name not in logged:
        raise KeyturnError(
            f"rotation {ended[-1].folder.name} has ended on this host, and the log of this pipeline does not know it, so another "
            "log does; nothing was changed: set keyturn_reports_dir to the folder of that log. If it is lost, begin a new one "
            "by keyturn_override_log: REASON"
        )


def _staged(rotation: Rotation, journal: Journal, new_values: Mapping[str, str] | None) -> bool:
    """Until the host has gone on, it is staged anew where the shared value is another now, or what its files hold.

    An interrupted stage has no other way to agree, and what a person puts right before the switch counts.
    """
    if journal.phase != "staged":
        return journal.reached("staged")
    same = new_values is None or journal.new == fingerprints(new_values)
    return same and journal.old == fingerprints(rotation.current_values())


def _place(rotation: Rotation) -> str:
    """Two names of the inventory that give the same place are one host."""
    status = rotation.app_root.stat()
    return f"{procfs.now().boot_id}:{status.st_dev}:{status.st_ino}"


def _resumable(rotation: Rotation) -> Journal | None:
    journal = rotation.application.find(rotation.rotation_id)
    if journal is not None and journal.secret != rotation.secret:
        raise KeyturnError(
            f"rotation {rotation.rotation_id} on this host is one of {journal.secret}: {rotation.secret} needs an id of its own"
        )
    if journal is not None and journal.decision == "rollback":
        ended = "was rolled back" if journal.closed else "is being rolled back"
        raise KeyturnError(
            f"rotation {rotation.rotation_id} {ended} on this host: its id is used up, start a new rotation"
        )
    return journal


def _fields(host: Examination) -> JournalRecord:
    rotation = host.rotation
    fields: JournalRecord = {
        "secret": rotation.secret,
        "environment": rotation.environment,
        "reason": rotation.reason,
        "operator": rotation.operator,
        "app_root": str(rotation.app_root),
        "old": fingerprints(host.old),
        "rows": host.rows,
        "findings": host.findings + _overridden(rotation),
    }
    if rotation.speaker:
        fields["speaker"] = rotation.speaker
    if host.reply:
        verdict, detail, account, findings = host.reply
        fields["credential"] = {"verdict": verdict, "detail": detail, "account": account, "findings": list(findings)}
    return fields


def _told(fields: JournalRecord) -> str:
    """Say what the controller's table of all hosts (``fleet/forecast.py``) does not."""
    rows = ", ".join(f"{form} {number}" for form, number in sorted(fields["rows"].items()))
    return "\n".join([*([f"rows: {rows}"] if rows else []), *fields["findings"]])


def _overridden(rotation: Rotation) -> list[str]:
    found = [f"overridden: {name.replace('_', ' ')} ({reason})" for name, reason in sorted(rotation.overrides.items())]
    if rotation.entry["migration"]["kind"] == "none":
        return found
    return found + [f"accepted: the shape of {item} ({why})" for item, why in sorted(rotation.accept_shapes.items())]


def _generate(rotation: Rotation) -> dict[str, str]:
    generator = GENERATORS[rotation.entry["source"]["generator"]]
    return {name: generator() for name in rotation.variables}
