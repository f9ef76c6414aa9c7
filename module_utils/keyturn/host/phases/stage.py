"""Stage: see that the rotation can succeed, then make the new value durable. Nothing of the application changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ... import issuers
from ...base import leaks, procfs
from ...base.errors import KeyturnError
from ...base.fingerprint import fingerprints
from ...base.generate import GENERATORS
from ...ground import consumers
from ...providers import Reply
from ...services.service import Service, strangers
from .. import copies, probes, readers, values
from ..journal import Head, Journal, JournalRecord
from ..probes import Question
from ..rotation import LOCK_WAIT_SECONDS, Rotation
from . import credential, retention
from .answers import HostAnswer, result
from .common import check_reader, check_space, close_start_gate, fit_start_gate
from .credential import Brought
from .shared import census

if TYPE_CHECKING:
    from ...ground.rows.contract import RowStore


@dataclass
class Examination:
    """What the host is like before the rotation, as one check after the other finds it out.

    ``problems`` stop the rotation, unless the current value is dead anyway: then a person is told of them, as of ``findings``.
    """

    rotation: Rotation
    old: dict[str, str]
    store: RowStore | None = None
    rows: dict[str, int] = field(default_factory=dict)
    services: list[Service] = field(default_factory=list)
    # the provider's word on the credential in use
    reply: Reply | None = None
    findings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


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


# -- what would stop the rotation later --------------------------------------------------------------------------------


def examine(rotation: Rotation) -> Examination:
    """Raise KeyturnError for everything that would stop the rotation later; changes nothing."""
    retention.check(rotation.backup_retention_days)
    rotation.check_durable()
    for consumer in rotation.consumers():
        consumers.check_replaceable(consumer)
    host = Examination(rotation, rotation.current_values())
    for check in CHECKS:
        check(host)
    dead = host.reply is not None and host.reply.verdict == "rejected"
    if host.problems and not dead:
        raise KeyturnError(host.problems[0])
    host.findings += [*(host.reply.findings if host.reply else ()), *host.problems]
    return host


def _check_files(host: Examination) -> None:
    for consumer in host.rotation.consumers():
        consumers.check_writable(consumer, host.old)
    host.findings += [
        f"{name} is still the template's placeholder"
        for name, value in host.old.items()
        if consumers.is_placeholder(value)
    ]
    host.findings += _file_findings(host.rotation, host.old)


def _check_rows(host: Examination) -> None:
    try:
        host.store = host.rotation.migration(host.old, None)
    except KeyturnError as error:
        raise KeyturnError("; ".join([str(error), *host.findings])) from None
    if host.store is not None and not host.rotation.speaks:
        host.findings += _shared(host.rotation, host.store)
    elif host.store is not None:
        if host.rotation.separator and host.rotation.encrypt_plaintext_rows:
            raise KeyturnError(
                f"{host.store.name}: with a list of keys plaintext rows stay: unset keyturn_encrypt_plaintext_rows"
            )
        host.rows, findings = host.store.examine(host.rotation.allow_empty_tables, host.rotation.encrypt_plaintext_rows)
        host.findings += findings
        check_space(host.rotation.state_dir, host.store.space())


def _shared(rotation: Rotation, store: RowStore) -> list[str]:
    """Look at some of the rows that another host turns; return what a person should know."""
    found = census(rotation, store)
    if found is None:
        return [f"{store.name} is not reached from here: {rotation.speaker} turns and proves its rows"]
    if refusal := store.refusal(found):
        raise KeyturnError(refusal)
    return []


def _check_readers(host: Examination) -> None:
    """Refuse who would write rows under the old value, and name who else has it."""
    others = readers.others(host.rotation, host.old)
    writers = [one for one in others if one.certain and not one.declared] if host.store is not None else []
    if writers:
        raise KeyturnError(
            f"{writers[0]}: rows that it writes would not open: add it to keyturn_services and to the services of "
            f"{host.rotation.secret}, or stop it"
        )
    host.findings += map(str, others)


def _check_credential(host: Examination) -> None:
    host.services = host.rotation.service_list()
    host.reply = credential.examine(host.rotation, host.old)


def _check_services(host: Examination) -> None:
    rotation = host.rotation
    for service in host.services:
        service.check()
        if rotation.sealed and not service.is_launched_with(rotation.systemd_credential.path):
            raise KeyturnError(
                f"service {service.name} is not launched with {rotation.systemd_credential.path}, or its command has changed since: run "
                "migrate_delivery.yml"
            )
    foreign = strangers({service.name: service.look() for service in host.services})
    for service in host.services:
        host.problems += filter(None, [_unfit(service, foreign.get(service.name, []))])
        if service.name in rotation.reloaded and any(probes.environment([service], host.old, rotation.given)):
            raise KeyturnError(
                f"service {service.name} has {' or '.join(rotation.variables)} in its environment, which no reload changes: take "
                f"{rotation.secret} out of its reloads"
            )
        for consumer in rotation.consumers():
            check_reader(service, consumer)


def _unfit(service: Service, foreign: Sequence[int]) -> str:
    """Say why nothing would be proved by a service, empty where it runs as it should; ``foreign`` take connections in its place."""
    if not service.healthy():
        return f"service {service.name} is not healthy at {service.health}: {service.missing}, then rotate"
    if foreign:
        named = ", ".join(f"{pid} ({procfs.command_name(pid)})" for pid in foreign)
        return (
            f"service {service.name}: process {named} listens on port {service.port} as well, and is not of it: stop it"
        )
    return service.foreign()


def _check_given_otherwise(host: Examination) -> None:
    host.problems += _given_otherwise(host.rotation, host.services, host.old)


def _check_value(host: Examination) -> None:
    """Ask every probe about the current value; the census has opened the rows, so their probe would only do that again."""
    if host.problems:
        return
    rotation = host.rotation
    question = Question(
        "old", host.old, None, host.services, migration=None, value_of=rotation.value_of, scripts=rotation.scripts
    )
    failed = [line for line in probes.ask(rotation.entry["probes"], question) if not probes.holds(line)]
    if failed:
        # what gives no usable answer may have another reason than the value
        known = failed[0]["verdict"] == "rejected"
        what = "the current value does not work" if known else "that the current value works cannot be shown"
        host.problems.append(f"{what}, nothing was changed: {probes.first_failure(failed)}")


# in this order: the first that refuses is what a person is told
CHECKS: tuple[Callable[[Examination], None], ...] = (
    _check_files,
    _check_rows,
    _check_readers,
    _check_credential,
    _check_services,
    _check_given_otherwise,
    _check_value,
)


def _given_otherwise(rotation: Rotation, services: Sequence[Service], old: Mapping[str, str]) -> Iterator[str]:
    """Say what gives a process a value of its own, which wins over the files: it would not be turned, nor could it be proved."""
    for line in probes.environment(services, old, rotation.given):
        if not probes.holds(line):
            yield (
                f"service {line['subject']}: {line['detail']}, which is not what the files hold: take it out of what starts the "
                "service, or restart it where the files are newer"
            )
    for service in services:
        given = {name for pid in service.processes() for name, _ in rotation.given(pid).values()}
        held = {name: value for name, value in old.items() if name in given}
        for path, text in service.definition_texts() if held else ():
            lines = text.splitlines()
            for name in leaks.names_in_lines(
                (line for line in lines if not line.lstrip().startswith(("#", ";"))), held
            ):
                yield f"service {service.name}: {path} gives it {name}, which wins over the files and would stay: take it out there"


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
