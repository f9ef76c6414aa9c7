"""The policy's rules of key storage as checks of one host: what stands where it should not, and what to do about it."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence

from . import consumers, leaks, repository
from .consumers import Consumer
from .errors import KeyturnError
from .findings import Finding
from .fingerprint import fingerprints
from .lifecycle import retention
from .rotation import Rotation
from .service import Service


def look(rotations: Sequence[Rotation], production: bool) -> dict[str, object]:
    """Return the findings of a host, and the fingerprints of what it holds by secret."""
    held: dict[str, dict[str, str]] = {}
    found: list[Finding] = []
    for rotation in rotations:
        try:
            held[rotation.secret] = rotation.current_values()
        except KeyturnError as error:
            found.append(Finding("error", "readable", f"{rotation.secret}: {error}", "correct the file"))
    first = rotations[0]
    found += _files(rotations, production)
    found += _state(first, production)
    found += _placeholders(held)
    found += _spread(rotations, {name: value for values in held.values() for name, value in values.items()})
    found += repository.look(first.app_root, [name for rotation in rotations for name in rotation.variables])
    return {
        "changed": False,
        "findings": [finding._asdict() for finding in dict.fromkeys(found)],
        "values": {secret: fingerprints(values) for secret, values in held.items()},
    }


def _files(rotations: Sequence[Rotation], production: bool) -> Iterator[Finding]:
    """Files with values are the application's own; in production a store keeps the values, and the files are a delivery."""
    for rotation in rotations:
        for consumer in rotation.consumers():
            yield from _file(consumer, rotation.app_user)
            if production and (names := _in_clear(consumer, rotation.variables)):
                remedy = "keyturn_delivery: systemd_credential, and run migrate_delivery.yml"
                yield Finding("warning", "clear text on servers", f"{consumer.path} holds {names} in clear", remedy)
        for item in rotation.entry["consumers"] if rotation.sealed else ():
            beside = Consumer("dotenv", rotation.app_root / item["path"])
            if item["format"] == "dotenv" and (
                names := _in_clear(beside, [*rotation.variables, *rotation.entry["aliases"]])
            ):
                what = f"{beside.path} holds {names} in clear beside the credential"
                yield Finding("error", "clear text on servers", what, f"remove the lines, and rotate {rotation.secret}")
        if rotation.entry["migration"]["kind"] != "none":
            database = rotation.app_root / rotation.entry["migration"]["database"]
            if database.exists() and database.stat().st_mode & 0o007:
                yield Finding("warning", "permissions", f"{database} is open to every user", f"chmod o= {database}")


def _in_clear(consumer: Consumer, names: Sequence[str]) -> str:
    """Return the names whose values a file holds in clear; that it cannot be read is said elsewhere."""
    held: list[str] = []
    for name in () if consumer.sealed else names:
        with contextlib.suppress(KeyturnError):
            held += consumers.read(consumer, [name])
    return ", ".join(held)


def _file(consumer: Consumer, app_user: str | None) -> Iterator[Finding]:
    try:
        status = consumer.path.stat()
    except OSError:
        return  # that it cannot be read is said already
    if status.st_mode & 0o077:
        mode = f"{status.st_mode & 0o7777:04o}"
        yield Finding("error", "permissions", f"{consumer.path} has mode {mode}", f"chmod 600 {consumer.path}")
    owners = {0, os.geteuid()} | ({pwd.getpwnam(app_user).pw_uid} if app_user else set())
    if status.st_uid not in owners:
        what = f"{consumer.path} belongs to the user {status.st_uid}"
        yield Finding("error", "permissions", what, f"chown {app_user or 'root'} {consumer.path}")


def _state(rotation: Rotation, production: bool) -> Iterator[Finding]:
    """Backups lie beside what opens them: the price of a rollback without a store, and of its short life."""
    try:
        journals = rotation.application.journals()
    except KeyturnError as error:
        yield Finding("error", "permissions", str(error), f"chmod 700 {rotation.state_dir}")
        return
    late = [journal.folder.name for journal in retention.expired(rotation.application)]
    for name in late:
        what = f"old value and backup of rotation {name} have expired"
        yield Finding("warning", "retention", what, "rotate, or run resume.yml: either removes them")
    kept = [
        journal for journal in journals if journal.path("backup.db").exists() and journal.path("previous.json").exists()
    ]
    for journal in kept:
        what = f"the backup of rotation {journal.folder.name} lies beside the value that opens it"
        severity = "warning" if production else "note"
        remedy = "shorten keyturn_backup_retention_days" if production else "accepted for development"
        yield Finding(severity, "backups without their key", what, remedy)


def _placeholders(held: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    for secret, values in held.items():
        for name, value in values.items():
            if consumers.is_placeholder(value):
                yield Finding("error", "real values", f"{name} is a template's placeholder", f"rotate {secret}")


def _spread(rotations: Sequence[Rotation], held: Mapping[str, str]) -> Iterator[Finding]:
    """No value in a service's log, nor in what starts it."""
    services = {service.name: service for rotation in rotations for service in _services(rotation)}
    for service in services.values():
        lines = "\n".join(service.log_lines() or ())
        for name in leaks.names_in(lines, held):
            remedy = f"rotate {name}, find the line that logs it, and remove the log"
            yield Finding("error", "logs", f"{name} stands in the log of {service.name}", remedy)
        for path in service.definitions():
            for name in leaks.names_in(path.read_text(errors="replace"), held):
                remedy = f"take it out, and rotate {name}: what starts a service is open to every user"
                yield Finding("error", "environment of servers", f"{name} stands in {path}", remedy)


def _services(rotation: Rotation) -> list[Service]:
    try:
        return rotation.service_list()
    except KeyturnError:
        return []  # verify.yml tells
