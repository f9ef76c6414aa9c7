"""What one host holds now. Nothing is changed, and a rotation may be open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...base import procfs
from ...base.errors import KeyturnError
from ...base.fingerprint import fingerprints
from ...base.procfs import Moment
from ...ground import consumers
from ...ground.consumers import Consumer
from ..journal import RECOVERY
from ..rotation import Holding
from . import retention
from .answers import HostAnswer, Verified

if TYPE_CHECKING:
    from ...ground.rows.contract import RowStore


def run(holdings: Sequence[Holding]) -> HostAnswer:
    """Return what the host holds of each secret; ``problems`` is what makes its state wrong."""
    found = {holding.secret: look_at(holding) for holding in holdings}
    problems = list(dict.fromkeys(problem for said in found.values() for problem in said["problems"]))
    if holdings[0].secrets_here is None and not any(said["used"] for said in found.values()):
        problems.append("no secret of the catalogue is held here: where that is right, set keyturn_secrets_here: []")
    return {"changed": False, "verified": found, "problems": problems, "text": _text(found)}


def look_at(holding: Holding) -> Verified:
    """Return fingerprints, rows and services of one secret."""
    problems: list[str] = []
    findings: list[str] = []
    found: Verified = {
        "used": True,
        "values": {},
        "rows": {},
        "services": {},
        "problems": problems,
        "findings": findings,
    }
    opened = holding.application.open_journal()
    if opened is not None:
        where = f"is open, as the journal of this host says (phase {opened.phase})"
        findings.append(f"rotation {opened.folder.name} of {opened.secret} {where}: {RECOVERY}")
    findings += [
        f"the old value of rotation {journal.folder.name} and what it opens have expired ({min(retention.ends_of(journal))}): "
        "prune.yml removes them"
        for journal in retention.expired(holding.application)
    ]
    try:
        problems += [f"{what}: {remedy}" for what, remedy in holding.lost_in_a_boot()]
        current = holding.values_here()
        if current is None:
            return found | {"used": False}
        found["values"] = fingerprints(current)
        if opened is None:
            findings += [f"{path} is left of a call that was killed: prune.yml removes it" for path in _left(holding)]
        store = holding.migration(current, None)
        if store is not None:
            census = store.census()
            found["rows"] = census["rows"]
            problems += filter(None, [store.refusal(census)])
            findings += [*_turnable(store), *(store.left() if opened is None else ())]
    except KeyturnError as error:
        problems.append(str(error))
    _look_at_services(holding, found)
    return found


def _look_at_services(holding: Holding, found: Verified) -> None:
    problems, findings = found["problems"], found["findings"]
    changed = _last_change(holding)
    try:
        services = holding.service_list()
    except KeyturnError as error:
        findings.append(str(error))
        services = []
    for service in services:
        found["services"][service.name] = service.page()
        pids = service.processes()
        old = procfs.older(pids, changed) if changed and service.name not in holding.reloaded else []
        if not pids or not service.healthy():
            problems.append(f"service {service.name} is not healthy at {service.health}: {service.missing}")
        elif old:
            numbers = ", ".join(map(str, old))
            findings.append(f"service {service.name} (process {numbers}) started before its files changed: restart it")


def _left(holding: Holding) -> list[Path]:
    return [path for consumer in holding.consumers() for path in consumers.left(consumer)]


def _turnable(store: RowStore) -> list[str]:
    """Say what would refuse a rotation of rows that all open."""
    try:
        store.check_switch()
    except KeyturnError as error:
        return [str(error)]
    return []


def _text(verified: Mapping[str, Verified]) -> str:
    lines: list[str] = []
    for secret, said in verified.items():
        lines += [] if said["used"] else [f"{secret} is not used here"]
        lines += [f"{name} is {held}" for name, held in sorted(said["values"].items())]
        rows = ", ".join(f"{count} {form}" for form, count in sorted(said["rows"].items()))
        lines += [f"  rows: {rows}"] if rows else []
    services = dict(item for said in verified.values() for item in said["services"].items())
    lines += [f"service {name}: {page}" for name, page in services.items()]
    findings = dict.fromkeys(finding for said in verified.values() for finding in said["findings"])
    return "\n".join([*lines, *(f"finding: {finding}" for finding in findings)])


def _last_change(holding: Holding) -> Moment | None:
    """Return when a file last changed that may concern this secret, None when no change is known to.

    Secrets share a file. The last rotation of another secret has restarted the services that it concerns, and the others may
    run on; what was written after every rotation is somebody's edit, and concerns all.
    """
    edited = procfs.moment_of(max((_changed_at(consumer) for consumer in holding.consumers()), default=0.0))
    changes = [
        (journal.secret, journal.changed) for journal in holding.application.journals() if journal.has("changed")
    ]
    if not any(change.boot_id == edited.boot_id and change.seconds >= edited.seconds for _, change in changes):
        return edited
    return next((change for secret, change in reversed(changes) if secret == holding.secret), None)


def _changed_at(consumer: Consumer) -> float:
    """A file that cannot be read is a problem already."""
    try:
        return consumers.changed_at(consumer)
    except KeyturnError:
        return 0.0
