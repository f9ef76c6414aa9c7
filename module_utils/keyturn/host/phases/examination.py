"""What would stop a rotation later, seen by reading: before anything is staged, and without any change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...base import leaks, procfs
from ...base.errors import KeyturnError
from ...ground import consumers
from ...providers import Reply
from ...services.service import Service, strangers
from .. import copies, probes, readers
from ..probes import Question
from ..rotation import Rotation
from . import credential, retention
from .common import check_reader, check_space
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
