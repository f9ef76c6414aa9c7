"""Proofs that a host runs on a value: what was asked, and the verdict.

``accepted`` and ``rejected`` are answers of the thing itself, ``unknown`` is no usable answer, ``not configured`` a probe
that the inventory gives nothing to ask. A proof holds when the verdict is the wanted one: the live value is to be
accepted, the dead one rejected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import http, jwt, procfs
from .fingerprint import fingerprint
from .procfs import Moment
from .providers import Reply
from .service import Service
from .values import Side, other

if TYPE_CHECKING:
    from .fernet_sqlite import FernetSqlite

Proof = dict[str, str]
SESSION_NAMES = ("session_token", "access_token", "jwt_token")


class Question(NamedTuple):
    """What the probes are asked about: the values that must work, and those that must not (None before there are any).

    ``ask`` asks the secret's provider, ``account`` is whose credential it must be (empty where that is not known).
    """

    side: Side
    live: Mapping[str, str]
    dead: Mapping[str, str] | None
    services: Sequence[Service]
    migration: FernetSqlite | None
    ask: Callable[[Mapping[str, str]], Reply] | None = None
    account: str = ""


def proof(name: str, subject: str, verdict: str, detail: str, wanted: str = "accepted") -> Proof:
    """Return one line of evidence."""
    return {"proof": name, "subject": subject, "verdict": verdict, "wanted": wanted, "detail": detail}


def holds(line: Mapping[str, str]) -> bool:
    """Tell whether a line proves what it is there for."""
    return line["verdict"] in (line["wanted"], "not configured")


def first_failure(proofs: Sequence[Proof]) -> str | None:
    """Return the first line that does not hold, as one sentence; None when all do."""
    for line in proofs:
        if not holds(line):
            return f"proof {line['proof']} of {line['subject']} is {line['verdict']}: {line['detail']}"
    return None


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


def environment(services: Sequence[Service], live: Mapping[str, str]) -> Iterator[Proof]:
    """Compare what the process was started with: a variable in its environment wins over any `.env`."""
    for service in services:
        pid = service.pid()
        given = procfs.environment(pid) if pid is not None else {}
        for name, value in live.items():
            if name in given:
                held = given[name]
                verdict = "accepted" if held == value else "rejected"
                yield proof(
                    "environment", service.name, verdict, f"the process was started with {name} {fingerprint(held)}"
                )


def fernet_rows(question: Question, spec: Mapping[str, Any]) -> Iterator[Proof]:
    """Open every row: all under the live key, none under the other."""
    if question.migration is None:
        return
    census = question.migration.open_rows()
    subject = Path(question.migration.spec["database"]).name
    side, wrong = question.side, census["under"][other(question.side)]
    if census["refused"]:
        yield proof("rows", subject, "rejected", f"{census['refused']} rows do not open: {census['refusals']}")
    elif wrong:
        yield proof("rows", subject, "rejected", f"{wrong} rows still open under the {other(side)} value")
    else:
        detail = f"{census['under'][side]} rows open under the {side} value, none under the other"
        yield proof("rows", subject, "accepted", detail)


def http_status(question: Question, spec: Mapping[str, Any]) -> Iterator[Proof]:
    """Ask each service's ``proof_path``, which works only where the process has the right value."""
    for service in question.services:
        path = service.spec.get("proof_path")
        if path:
            status = http.get(service.base_url + path, service.spec["proof_timeout_seconds"])
            yield _answer("http", service, "GET", path, status, "accepted")
        else:
            yield proof("http", service.name, "not configured", "proof_path is not set for this service")


def jwt_token(question: Question, spec: Mapping[str, Any]) -> Iterator[Proof]:
    """Show tokens of a minute's life at a protected path: of the live secret, then of the dead one."""
    for service in question.services:
        sides = [("token", question.live, "accepted")]
        if question.dead is not None:
            sides.append(("token of the other secret", question.dead, "rejected"))
        for name, values, wanted in sides:
            (secret,) = values.values()
            headers = {"Authorization": f"Bearer {jwt.mint(secret)}"}
            status = http.get(service.base_url + spec["path"], service.spec["proof_timeout_seconds"], headers)
            yield _answer(name, service, "GET", spec["path"], status, wanted)


def login(question: Question, spec: Mapping[str, Any]) -> Iterator[Proof]:
    """Log in as the policy documents it, and see which secret signs the new session. Today's application has no login."""
    (secret,) = question.live.values()
    for service in question.services:
        answer = http.ask(
            service.base_url + spec["path"], service.spec["proof_timeout_seconds"], body={"user_id": jwt.SUBJECT}
        )
        token = _session(answer.body) if http.good(answer.status) else None
        if token is None:
            detail = (
                f"POST {spec['path']}: {'no answer' if answer.status is None else f'HTTP {answer.status}'}, no session"
            )
            yield proof("login", service.name, "not configured", detail)
        else:
            verdict = "accepted" if jwt.signed_with(token, secret) else "rejected"
            yield proof("login", service.name, verdict, f"POST {spec['path']}: a session, signature {verdict}")


def _session(body: bytes) -> str | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    names = [name for name in SESSION_NAMES if isinstance(document, dict) and isinstance(document.get(name), str)]
    return str(document[names[0]]) if names else None


def log(question: Question, spec: Mapping[str, Any]) -> Iterator[Proof]:
    """Read what each service has logged since its start for lines that only this secret can cause."""
    patterns = [re.compile(pattern) for pattern in spec["patterns"]]
    for service in question.services:
        lines = service.log_lines()
        if lines is None:
            yield proof("log", service.name, "not configured", "this manager keeps no log")
            continue
        found = sum(any(pattern.match(line) for pattern in patterns) for line in lines)
        yield proof("log", service.name, "rejected" if found else "accepted", f"{found} error lines since the start")


def log_line(question: Question, spec: Mapping[str, Any]) -> Iterator[Proof]:
    """Read that a service has said since its start that it works; its first group is the account that it works on.

    Before the rotation nothing is asked: a log need not reach back to a start long ago.
    """
    if question.dead is None:
        return
    for service in (service for service in question.services if service.name == spec["service"]):
        found = [match for line in service.log_lines() or () if (match := re.search(spec["pattern"], line))]
        account = found[-1].group(1) if found and found[-1].groups() else ""
        if not found:
            yield proof("log line", service.name, "unknown", "it has not said since its start that it is connected")
        elif account and question.account and account != question.account:
            yield proof("log line", service.name, "rejected", "it is connected to another account")
        else:
            yield proof("log line", service.name, "accepted", "it has said since its start that it is connected")


def provider(question: Question, spec: Mapping[str, Any]) -> Iterator[Proof]:
    """Ask the provider from this host, which may be firewalled. Before the rotation stage asks, and judges otherwise."""
    if question.ask is None or question.dead is None:
        return
    reply = question.ask(question.live)
    yield proof("provider", "the credential", reply.verdict, reply.detail)
    if reply.identity and question.account:
        verdict = "accepted" if reply.identity == question.account else "rejected"
        yield proof("account", "the credential", verdict, f"it belongs to {reply.identity}")


def _answer(name: str, service: Service, verb: str, path: str, status: int | None, wanted: str) -> Proof:
    """Any HTTP answer but 2xx is a rejection; a failed connection is none."""
    verdict = "unknown" if status is None else "accepted" if http.good(status) else "rejected"
    return proof(
        name, service.name, verdict, f"{verb} {path}: {'no answer' if status is None else f'HTTP {status}'}", wanted
    )


PROBES: dict[str, Callable[[Question, Mapping[str, Any]], Iterator[Proof]]] = {
    "fernet_rows": fernet_rows,
    "http": http_status,
    "jwt": jwt_token,
    "log": log,
    "log_line": log_line,
    "login": login,
    "provider": provider,
}


def ask(probes: Sequence[Mapping[str, Any]], question: Question) -> list[Proof]:
    """Run the probes of a catalogue entry."""
    return [line for spec in probes for line in PROBES[spec["kind"]](question, spec)]
