"""The policy's rules of key storage as checks of one host: what stands where it should not, and what to do about it."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence

from ..base import attributes, leaks, shown
from ..base.errors import KeyturnError
from ..base.findings import Finding
from ..base.fingerprint import fingerprints
from ..ground import consumers, repository
from ..ground.consumers import Consumer
from ..ground.scripts import REMEDY
from ..services.service import Service
from . import copies
from .phases import retention
from .phases.answers import HostAnswer
from .rotation import Holding


def look(holdings: Sequence[Holding], production: bool) -> HostAnswer:
    """Return the findings of a host, and the fingerprints of what it holds by secret."""
    held: dict[str, dict[str, str]] = {}
    findings: list[Finding] = []
    for holding in holdings:
        try:
            values = holding.values_here()
        except KeyturnError as error:
            findings.append(Finding("error", "readable", f"{holding.secret}: {error}", "correct the file"))
            continue
        if values is None:
            remedy = "none, unless it should be: keyturn_secrets_here says what a host holds"
            findings.append(Finding("note", "readable", f"{holding.secret} is not used here", remedy))
        else:
            held[holding.secret] = values
    first = holdings[0]
    findings += _files(holdings, production)
    findings += _run_by_root(holdings)
    findings += _state(first, production)
    findings += (
        Finding("error", "durability", *place_and_remedy)
        for holding in holdings
        for place_and_remedy in holding.lost_in_a_boot()
    )
    findings += _placeholders(held)
    findings += _spread(holdings, {name: value for values in held.values() for name, value in values.items()})
    findings += _copies([(holding, held[holding.secret]) for holding in holdings if holding.secret in held])
    names = [name for holding in holdings for name in holding.variables]
    places = [place for holding in holdings for place in holding.row_places()]
    root = first.app_root
    databases = [str(place.relative_to(root)) for place in places if place.is_relative_to(root)]
    findings += repository.look(first.app_root, names, databases)
    return {
        "changed": False,
        "findings": [finding._asdict() for finding in dict.fromkeys(findings)],
        "values": {secret: fingerprints(values) for secret, values in held.items()},
    }


def _files(holdings: Sequence[Holding], production: bool) -> Iterator[Finding]:
    """Files with values are the application's own; in production a store keeps the values, and the files are a delivery."""
    for holding in holdings:
        for consumer in holding.consumers():
            yield from _file(consumer, holding.app_user)
            if production and (names := _in_clear(consumer, holding.variables)):
                yield Finding(
                    "warning", "clear text on servers", f"{consumer.path} holds {names} in clear", _other_way(consumer)
                )
        for item in holding.entry["consumers"] if holding.sealed else ():
            beside = Consumer("dotenv", holding.app_root / item["path"], root=holding.app_root)
            if item["format"] == "dotenv" and (
                names := _in_clear(beside, [*holding.variables, *holding.entry["aliases"]])
            ):
                what = f"{beside.path} holds {names} in clear beside the credential"
                remedy = f"see with verify.yml that the credential holds the right ones, remove the lines, and rotate {holding.secret}"
                yield Finding("error", "clear text on servers", what, remedy)
        for place in holding.row_places():
            if place.exists() and place.stat().st_mode & 0o007:
                yield Finding(
                    "warning", "permissions", f"{place} is open to every user", f"chmod o= {shown.argument(place)}"
                )


def _in_clear(consumer: Consumer, names: Sequence[str]) -> str:
    """Return the names whose values a file holds in clear; that it cannot be read is said elsewhere."""
    held: list[str] = []
    for name in () if consumer.sealed else names:
        with contextlib.suppress(KeyturnError):
            held += consumers.read(consumer, [name])
    return ", ".join(held)


def _other_way(consumer: Consumer) -> str:
    """Return the remedy for a file in clear: a credential takes the place of names of the environment, and of nothing else."""
    if consumer.format == "json" or (consumer.format == "dotenv" and not consumer.keys and not consumer.inside):
        return "keyturn_delivery: systemd_credential, and run migrate_delivery.yml"
    return "let the application read the value from its environment by its own name: then systemd_credential can deliver it"


def _file(consumer: Consumer, app_user: str | None) -> Iterator[Finding]:
    try:
        with consumer.acting():
            status, held, readers = (
                consumer.path.stat(),
                attributes.of(consumer.path),
                attributes.readers(consumer.path),
            )
            owners = {0, os.geteuid()} | ({pwd.getpwnam(app_user).pw_uid} if app_user else set())
    except (OSError, KeyturnError):
        return  # that it cannot be read is said already
    if held.mode & 0o077:
        # with an access list, chmod would set what that allows
        command = "setfacl -m g::-,o::-" if attributes.ACCESS_LIST in held.extended else "chmod 600"
        what = f"{consumer.path} has mode {held.mode:04o}"
        yield Finding(
            "error",
            "permissions",
            what,
            f"{command} {shown.argument(consumer.path)}, once the user of the service owns it",
        )
    others = [entry for entry in readers if entry.tag != attributes.USER or entry.number not in owners]
    if others:
        named = ",".join(f"{'u' if entry.tag == attributes.USER else 'g'}:{entry.number}" for entry in others)
        what = f"{consumer.path} can be read by {named}, by its access list"
        remedy = f"take out whom the service does not need: setfacl -x {named} {shown.argument(consumer.path)}"
        yield Finding("warning", "permissions", what, remedy)
    if status.st_uid not in owners:
        what = f"{consumer.path} belongs to the user {status.st_uid}"
        # owned by anybody else, the service could not read it
        remedy = (
            f"chown {app_user} {shown.argument(consumer.path)}"
            if app_user
            else "let the user of the service own it, and name it by keyturn_app_user"
        )
        yield Finding("error", "permissions", what, remedy)


def _state(holding: Holding, production: bool) -> Iterator[Finding]:
    """Backups lie beside what opens them: the price of a rollback without a store, and of its short life."""
    try:
        journals = holding.application.journals()
    except KeyturnError as error:
        yield Finding("error", "permissions", str(error), f"chmod 700 {holding.state_dir}")
        return
    late = [journal.folder.name for journal in retention.expired(holding.application)]
    for name in late:
        what = f"old value and backup of rotation {name} have expired"
        yield Finding("warning", "retention", what, "run prune.yml: it removes them")
    kept = [journal for journal in journals if journal.kept("backup") and journal.path("previous.json").exists()]
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


def _copies(held: Sequence[tuple[Holding, Mapping[str, str]]]) -> Iterator[Finding]:
    """No value but where the catalogue says that the application reads it: a copy is not turned, and nobody looks after it."""
    found, unseen = copies.undeclared(held) if held else ([], [])
    for copy in found:
        remedy = "take it out there and rotate it, or declare the file among the consumers in keyturn_secrets"
        yield Finding("error", "one place each", str(copy), remedy)
    for sentence in unseen:
        yield Finding("warning", "one place each", sentence, "look there yourself, or run this as root")


def _spread(holdings: Sequence[Holding], held: Mapping[str, str]) -> Iterator[Finding]:
    """No value in a service's log, nor in what starts it."""
    for service in _all_services(holdings):
        try:
            yield from _spread_by(service, held)
        except KeyturnError as error:
            yield Finding("error", "logs", f"service {service.name}: {error}", "mend that, and run this again")


def _spread_by(service: Service, held: Mapping[str, str]) -> Iterator[Finding]:
    for name in leaks.names_in_lines(service.logged(), held):
        remedy = (
            f"mend what logs it, or the new value is logged too, then rotate {name}; keep the log while it is evidence"
        )
        yield Finding("error", "logs", f"{name} stands in the log of {service.name}", remedy)
    for path, text in service.definition_texts():
        for name in leaks.names_in(text, held):
            remedy = f"take it out, and rotate {name}: what starts a service is open to every user"
            yield Finding("error", "environment of servers", f"{name} stands in {path}", remedy)


def _all_services(holdings: Sequence[Holding]) -> list[Service]:
    return list({service.name: service for holding in holdings for service in _services(holding)}.values())


def _run_by_root(holdings: Sequence[Holding]) -> Iterator[Finding]:
    """Nothing that another user may change runs as root."""
    for service in _all_services(holdings):
        with contextlib.suppress(KeyturnError):  # that a user is not there, a rotation tells
            if danger := service.danger():
                yield Finding("error", "permissions", f"service {service.name}: {danger}", REMEDY)


def _services(holding: Holding) -> list[Service]:
    try:
        return holding.service_list()
    except KeyturnError:
        return []  # verify.yml tells
