"""Proofs that a host runs on a value: what was asked, and the verdict.

``accepted`` is the only verdict that proves; ``rejected`` is a refusal of the thing itself, ``unknown`` no usable answer,
``not configured`` a probe that the inventory gives nothing to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from . import http, procfs
from .fernet_forms import Side, other
from .procfs import Moment
from .rotation import Rotation
from .service import Service

if TYPE_CHECKING:
    from .fernet_sqlite import FernetSqlite

Proof = dict[str, str]
PASSING = ("accepted", "not configured")


def proof(name: str, subject: str, verdict: str, detail: str) -> Proof:
    """Return one line of evidence."""
    return {"proof": name, "subject": subject, "verdict": verdict, "detail": detail}


def process(services: Sequence[Service], change: Moment) -> list[Proof]:
    """Ask whether each service's process started after ``change``: only then does it know the value in its files."""
    proofs = []
    for service in services:
        pid = service.pid()
        if pid is None:
            verdict, detail = "unknown", f"no process listens on port {service.port}"
        elif procfs.started_after(pid, change):
            verdict, detail = "accepted", f"process {pid} started after the change"
        else:
            verdict, detail = "rejected", f"process {pid} started before the change"
        proofs.append(proof("process", service.name, verdict, detail))
    return proofs


def fernet_rows(rotation: Rotation, services: Sequence[Service], migration: FernetSqlite, side: Side) -> list[Proof]:
    """Open every row: all under the key of ``side``, none under the other, no replaced ciphertext left in the files."""
    census = migration.census()
    path = rotation.entry["migration"]["database"]
    under = census["under"]
    wrong = under[other(side)]
    encrypted = under[side]
    if census["refused"]:
        rows = proof("rows", path, "rejected", f"{census['refused']} rows do not open: {census['refusals']}")
    elif wrong:
        rows = proof("rows", path, "rejected", f"{wrong} rows still open under the {other(side)} value")
    else:
        rows = proof("rows", path, "accepted", f"{encrypted} rows open under the {side} value, none under the other")
    return [rows]


def http_status(
    rotation: Rotation, services: Sequence[Service], migration: FernetSqlite | None, side: Side
) -> list[Proof]:
    """Ask each service's ``proof_path``, which works only where the process has the right value."""
    proofs = []
    for service in services:
        path = service.spec.get("proof_path")
        if not path:
            proofs.append(proof("http", service.name, "not configured", "proof_path is not set for this service"))
            continue
        status = http.get(service.base_url + path, service.spec["proof_timeout_seconds"])
        verdict = "unknown" if status is None else "accepted" if http.good(status) else "rejected"
        answer = "no answer" if status is None else f"HTTP {status}"
        proofs.append(proof("http", service.name, verdict, f"GET {path}: {answer}"))
    return proofs


PROBES: dict[str, Callable[..., list[Proof]]] = {"fernet_rows": fernet_rows, "http": http_status}


def ask(rotation: Rotation, services: Sequence[Service], migration: FernetSqlite | None, side: Side) -> list[Proof]:
    """Run the probes of the catalogue entry."""
    return [
        line
        for probe in rotation.entry["probes"]
        for line in PROBES[probe["kind"]](rotation, services, migration, side)
    ]


def first_failure(proofs: Sequence[Proof]) -> str | None:
    """Return the first line that does not prove, as one sentence; None when all do."""
    for line in proofs:
        if line["verdict"] not in PASSING:
            return f"proof {line['proof']} of {line['subject']} is {line['verdict']}: {line['detail']}"
    return None
