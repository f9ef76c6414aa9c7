"""Stage: see that the rotation can succeed, then make the new value durable. Nothing of the application changes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...base import attributes, leaks, procfs
from ...base.errors import KeyturnError
from ...base.fingerprint import fingerprints
from ...base.generate import GENERATORS
from ...ground import consumers
from ...providers.supplied import check_is_new
from ...services.service import Service, strangers
from .. import copies, probes, readers, values
from ..journal import Journal
from ..probes import Question
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from . import credential, retention
from .answers import Result, result
from .common import check_reader, close_gate, fit_gate
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
    logged: Sequence[str] | None = None,
    log_head: Mapping[str, Any] | None = None,
) -> Result:
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
    anchor = {"log_head": dict(log_head)} if log_head else {}
    found = _stage(rotation, new_values, provider, only_examine, anchor)
    if not rotation.check_mode and not anchor.items() <= found["rotation"].items():
        _anchor(rotation, anchor)
    return found | {"clock_offset": offset, "place": _place(rotation)}


def _stage(
    rotation: Rotation,
    new_values: Mapping[str, str] | None,
    provider: Mapping[str, Any] | None,
    only_examine: bool,
    anchor: dict[str, Any],
) -> Result:
    began = time.monotonic()
    rotation.hide((new_values or {}).values())
    journal = _resumable(rotation)
    if journal is not None and (journal.closed or _staged(rotation, journal, new_values)):
        return result(journal, changed=False)
    if new_values is None and journal is not None and journal.phase == "staged":
        new_values = values.staged_before(journal)  # the file has been changed since: only the old value is another
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
        fields = _fields(rotation, examined) | {"forms": rotation.forms(), "modes": rotation.modes()}
        begun = fields | anchor | {"account": account}
        journal = _resumable(rotation) or rotation.application.begin(rotation.rotation_id, **begun)
        if not _staged(rotation, journal, new_values):
            for consumer in rotation.consumers():
                consumers.rehearse(consumer)
            fit_gate(rotation)
            old = rotation.current_values()
            new = dict(new_values or values.staged_before(journal) or _generate(rotation))
            rotation.hide(new.values())
            values.stage(journal, values.Staged(old, new), rotation.sealed)
            times = {"stage": round(time.monotonic() - began, 3)}
            seen = {name: fields[name] for name in ("rows", "findings", "forms", "modes")}
            journal.enter("staged", old=fingerprints(old), new=fingerprints(new), times=times, **seen)
            if rotation.entry["switch"] == "together":
                # a host that dies from here on stays stopped until it has the value of the others
                close_gate(rotation)
        return result(journal, changed=True)


def _anchor(rotation: Rotation, anchor: dict[str, Any]) -> None:
    """Keep the head of the log of an attempt that goes on with a rotation: another controller's log has another."""
    with rotation.application.lock("stage", LOCK_WAIT_SECONDS):
        journal = rotation.application.get(rotation.rotation_id)
        if journal is not None:
            journal.update(**anchor)


def _check_logged(rotation: Rotation, logged: Sequence[str]) -> None:
    """Refuse to begin a second chain of records beside the one that has the last rotation of this environment here."""
    ended = [
        one
        for one in rotation.application.journals()
        if one.closed and one.record["environment"] == rotation.environment
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
    same = new_values is None or journal.record["new"] == fingerprints(new_values)
    return bool(same and journal.record["old"] == fingerprints(rotation.current_values()))


def _place(rotation: Rotation) -> str:
    """Two names of the inventory that give the same place are one host."""
    status = rotation.app_root.stat()
    return f"{procfs.now().boot_id}:{status.st_dev}:{status.st_ino}"


def examine(rotation: Rotation) -> Examined:
    """Raise KeyturnError for everything that would stop the rotation later; changes nothing."""
    retention.check(rotation.backup_retention_days)
    rotation.check_durable()
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
        attributes.check_changeable(migration.database.path)
        migration.database.check_file()
        census = migration.census()
        findings += migration.check_census(census, rotation.allow_empty_tables, rotation.encrypt_plaintext_rows)
        migration.check_schema()
        rows, already = census["rows"], census["under"]["new"]
        _check_space(rotation, migration.database.path, migration.database.size)
        if unseen := procfs.unseen():
            findings.append(
                f"{unseen} processes of other users could not be looked at: whether one has {migration.database.path} open is "
                "not known; run as root"
            )
    others = readers.others(rotation, old)
    writers = [one for one in others if one.certain and not one.declared] if migration is not None else []
    if writers:
        raise KeyturnError(
            f"{writers[0]}: rows that it writes would not open: add it to keyturn_services and to the services of "
            f"{rotation.secret}, or stop it"
        )
    findings += map(str, others)
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
            problems.append(
                f"service {service.name} is not healthy at {service.health}: {service.missing}, then rotate"
            )
        elif foreign := strangers(services).get(service.name):
            named = ", ".join(f"{pid} ({procfs.command_name(pid)})" for pid in foreign)
            problems.append(
                f"service {service.name}: process {named} listens on port {service.port} as well, and is not of it: stop it"
            )
        elif stranger := service.foreign():
            problems.append(stranger)
        if service.name in rotation.reloaded and any(probes.environment([service], rotation.with_aliases(old))):
            raise KeyturnError(
                f"service {service.name} has {' or '.join(rotation.variables)} in its environment, which no reload changes: take "
                f"{rotation.secret} out of its reloads"
            )
        for consumer in rotation.consumers():
            check_reader(service, consumer)
    problems += _given_otherwise(rotation, services, old)
    if not problems:
        # the census has opened the rows: their probe would only do that again
        question = Question(
            "old", old, None, services, migration=None, value_of=rotation.value_of, scripts=rotation.scripts
        )
        failed = [line for line in probes.ask(rotation.entry["probes"], question) if not probes.holds(line)]
        if failed:
            # what gives no usable answer may have another reason than the value
            known = failed[0]["verdict"] == "rejected"
            what = "the current value does not work" if known else "that the current value works cannot be shown"
            problems.append(f"{what}, nothing was changed: {probes.first_failure(failed)}")
    if problems and not dead:
        raise KeyturnError(problems[0])
    findings += given_out.findings if given_out else []
    return Examined(old, rows, already, findings + problems, given_out)


def _given_otherwise(rotation: Rotation, services: Sequence[Service], old: Mapping[str, str]) -> Iterator[str]:
    """Say what gives a process a value of its own, which wins over the files: it would not be turned, nor could it be proved."""
    for line in probes.environment(services, rotation.with_aliases(old)):
        if not probes.holds(line):
            yield (
                f"service {line['subject']}: {line['detail']}, which is not what the files hold: take it out of what starts the "
                "service, or restart it where the files are newer"
            )
    for service in services:
        given = {name for pid in service.processes() for name in procfs.environment(pid)}
        held = {name: value for name, value in old.items() if name in given}
        for path, text in service.definition_texts() if held else ():
            lines = text.splitlines()
            for name in leaks.names_in_lines(
                (line for line in lines if not line.lstrip().startswith(("#", ";"))), held
            ):
                yield f"service {service.name}: {path} gives it {name}, which wins over the files and would stay: take it out there"


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


def _file_findings(rotation: Rotation, old: dict[str, str]) -> list[str]:
    """What surprises in the files that are turned, and the files that hold the value as well and are not."""
    found = [
        line
        for consumer in rotation.consumers()
        for line in consumers.findings(consumer, rotation.variables, old.values())
    ]
    found += [
        f"{path} has mode {mode:04o}, and others may read it: the rotation makes it {mode & 0o600:04o}"
        for path, mode in rotation.modes().items()
        if mode & 0o077
    ]
    others, unseen = copies.undeclared([(rotation, old)])
    told = {str(consumer.path.resolve()) for consumer in rotation.consumers()}
    found += [f"{copy}, which is not in the catalogue and stays as it is" for copy in others if copy.path not in told]
    return found + unseen


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
