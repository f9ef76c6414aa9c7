"""Stage: see that the rotation can succeed, then make the new value durable. Nothing of the application changes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import consumers, probes, procfs, values
from ..errors import KeyturnError
from ..fingerprint import fingerprints
from ..generate import GENERATORS
from ..journal import Journal
from ..probes import Question
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from ..supply import check_is_new
from . import credential, retention
from .answers import Result, result
from .common import check_reader, close_gate
from .credential import Credential

SPARE_BYTES = 1 << 20


@dataclass(frozen=True)
class Examined:
    """What the host is like before the rotation."""

    old: dict[str, str]
    rows: dict[str, int]
    already_turned: int
    findings: list[str]
    credential: Credential | None


def run(
    rotation: Rotation,
    new_values: Mapping[str, str] | None = None,
    provider: Mapping[str, Any] | None = None,
    only_examine: bool = False,
    sent_at: float = 0.0,
) -> Result:
    """Examine the host, open the journal and stage the new value. A repetition with the same id changes nothing.

    ``new_values`` is the value that all hosts share, None where each host generates its own; ``provider`` is what its
    provider said of it to the controller; ``sent_at`` is the controller's clock (seconds since 1970). The result also
    tells how this host's clock differs, and which place it is.
    """
    offset = round(time.time() - sent_at, 1)
    found = _stage(rotation, new_values, provider, only_examine)
    return found | {"clock_offset": offset, "place": _place(rotation)}


def _stage(
    rotation: Rotation, new_values: Mapping[str, str] | None, provider: Mapping[str, Any] | None, only_examine: bool
) -> Result:
    began = time.monotonic()
    rotation.hide((new_values or {}).values())
    journal = _resumable(rotation)
    if journal is not None and (journal.closed or _staged(journal, new_values)):
        return result(journal, changed=False)
    supplied = rotation.entry["source"]["kind"] == "supplied"
    if supplied and new_values is None and not (rotation.check_mode or only_examine):
        raise KeyturnError(
            f"no new value of {', '.join(rotation.variables)} came with this call: run the playbook again"
        )
    examined = examine(rotation)
    if new_values is not None:
        check_is_new(rotation.entry["source"]["may_stay"], examined.old, new_values)
    account, more = credential.check_account(examined.credential, provider)
    examined.findings.extend(more)
    if rotation.check_mode:
        fields = _fields(rotation, examined)
        return {"changed": True, "rotation": fields | {"phase": "not begun"}, "would": _told(fields)}
    with rotation.application.lock("stage", LOCK_WAIT_SECONDS):
        if examined.credential is not None:
            credential.remember_account(rotation, examined.credential.account)
        if only_examine:
            return {"changed": False, "rotation": _fields(rotation, examined) | {"phase": "not begun"}}
        retention.prune(rotation.application)
        journal = _resumable(rotation) or rotation.application.begin(
            rotation.rotation_id,
            **_fields(rotation, examined),
            forms=rotation.forms(),
            modes=rotation.modes(),
            account=account,
        )
        if not _staged(journal, new_values):
            old = rotation.current_values()
            new = dict(new_values or values.staged_before(journal) or _generate(rotation))
            rotation.hide(new.values())
            values.stage(journal, values.Staged(old, new), rotation.sealed)
            times = {"stage": round(time.monotonic() - began, 3)}
            journal.enter("staged", old=fingerprints(old), new=fingerprints(new), times=times)
            if rotation.entry["switch"] == "together":
                # a host that dies from here on stays stopped until it has the value of the others
                close_gate(rotation)
        return result(journal, changed=True)


def _staged(journal: Journal, new_values: Mapping[str, str] | None) -> bool:
    """Until the host has gone on, a shared value may be staged anew: an interrupted stage has no other way to agree."""
    if journal.phase == "staged" and new_values is not None:
        return bool(journal.record["new"] == fingerprints(new_values))
    return journal.reached("staged")


def _place(rotation: Rotation) -> str:
    """Two names of the inventory that give the same place are one host."""
    status = rotation.app_root.stat()
    return f"{procfs.now().boot_id}:{status.st_dev}:{status.st_ino}"


def examine(rotation: Rotation) -> Examined:
    """Raise KeyturnError for everything that would stop the rotation later; changes nothing."""
    retention.check(rotation.backup_retention_days)
    for consumer in rotation.consumers():
        consumers.check_replaceable(consumer)
    old = rotation.current_values()
    for consumer in rotation.consumers():
        consumers.check_writable(consumer, old)
    findings = [
        f"{name} is still the template's placeholder" for name, value in old.items() if consumers.is_placeholder(value)
    ]
    findings += _file_findings(rotation, old)
    try:
        migration = rotation.migration(old, None)
    except KeyturnError as error:
        raise KeyturnError("; ".join([str(error), *findings])) from None
    rows: dict[str, int] = {}
    already = 0
    if migration is not None:
        migration.database.check_file()
        census = migration.census()
        findings += migration.check_census(census, rotation.allow_empty_tables)
        rows, already = census["rows"], census["under"]["new"]
        _check_space(rotation, migration.database.path, migration.database.size)
        if unseen := procfs.unseen():
            findings.append(
                f"{unseen} processes of other users could not be looked at: whether one has {migration.database.path} open is "
                "not known; run as root"
            )
    services = rotation.service_list()
    given_out = credential.examine(rotation, old)
    dead = given_out is not None and given_out.verdict == "rejected"
    problems = []
    for service in services:
        service.check()
        if rotation.sealed and not service.is_launched_with(rotation.credential.path):
            raise KeyturnError(
                f"service {service.name} is not launched with {rotation.credential.path}, or its command has changed since: run "
                "migrate_delivery.yml"
            )
        if not service.healthy():
            problems.append(f"service {service.name} is not healthy at {service.health}: start it, then rotate")
        for consumer in rotation.consumers():
            check_reader(service, consumer)
    if not problems:
        # the census has opened the rows: their probe would only do that again
        question = Question("old", old, None, services, migration=None)
        failure = probes.first_failure(probes.ask(rotation.entry["probes"], question))
        problems += [f"the current value does not work, nothing was changed: {failure}"] if failure else []
    if problems and not dead:
        raise KeyturnError(problems[0])
    findings += given_out.findings if given_out else []
    return Examined(old, rows, already, findings + problems, given_out)


def _resumable(rotation: Rotation) -> Journal | None:
    journal = rotation.application.find(rotation.rotation_id)
    if journal is not None and journal.decision == "rollback":
        ended = "was rolled back" if journal.closed else "is being rolled back"
        raise KeyturnError(
            f"rotation {rotation.rotation_id} {ended} on this host: its id is used up, start a new rotation"
        )
    return journal


def _fields(rotation: Rotation, examined: Examined) -> dict[str, Any]:
    return {
        "secret": rotation.secret,
        "environment": rotation.environment,
        "reason": rotation.reason,
        "operator": rotation.operator,
        "app_root": str(rotation.app_root),
        "old": fingerprints(examined.old),
        "rows": examined.rows,
        "findings": examined.findings + _overridden(rotation),
        **({"credential": examined.credential._asdict()} if examined.credential else {}),
    }


def _told(fields: Mapping[str, Any]) -> str:
    old = ", ".join(f"{name} is {held}" for name, held in sorted(fields["old"].items()))
    rows = ", ".join(f"{form} {number}" for form, number in sorted(fields["rows"].items()))
    return "\n".join([f"stage a new value: {old}", f"rows: {rows or 'no data depends on it'}", *fields["findings"]])


def _overridden(rotation: Rotation) -> list[str]:
    return [f"overridden: {name.replace('_', ' ')} ({reason})" for name, reason in sorted(rotation.overrides.items())]


def _generate(rotation: Rotation) -> dict[str, str]:
    generator = GENERATORS[rotation.entry["source"]["generator"]]
    return {name: generator() for name in rotation.variables}


def _file_findings(rotation: Rotation, old: dict[str, str]) -> list[str]:
    return [
        line
        for consumer in rotation.consumers()
        for line in consumers.findings(consumer, rotation.variables, old.values())
    ]


def _check_space(rotation: Rotation, database: Path, size: int) -> None:
    """The state folder takes a backup and the side file, the database's folder SQLite's journal of all pages."""
    state = rotation.state_dir
    while not state.exists():
        state = state.parent
    needs = [(state, int(size * 2.5) + SPARE_BYTES), (database.parent, size + SPARE_BYTES)]
    if state.stat().st_dev == database.parent.stat().st_dev:
        needs = [(state, sum(need for _, need in needs))]
    for folder, need in needs:
        free = shutil.disk_usage(folder).free
        if free < need:
            raise KeyturnError(f"{folder}: {need >> 20} MiB of disk space are needed and {free >> 20} MiB are free")
