"""Proofs that a host runs on a value: what was asked, and the verdict.

``accepted`` and ``rejected`` are answers of the thing itself, ``unknown`` is no usable answer, ``not configured`` a probe
that the inventory gives nothing to ask. A proof holds when the verdict is the wanted one: the live value is to be
accepted, the dead one rejected.
"""

from __future__ import annotations

import math
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..base import http, jwt, procfs, shape
from ..base.errors import KeyturnError
from ..base.fingerprint import fingerprint
from ..base.log_lines import pattern
from ..base.procfs import Moment
from ..base.sides import Side, other
from ..ground.rows import KINDS
from ..inputs.catalogue import ProbeSpec, ServiceSpec
from ..providers import Reply
from ..services.service import Service, strangers

if TYPE_CHECKING:
    from ..ground.rows.contract import RowStore
    from ..ground.scripts import Scripts

Proof = dict[str, str]
NOT_FOUND, UNAUTHORIZED, FAULT = 404, (401, 403), 500
ASKED_OFTEN, MANY = ("http", "jwt"), 2
# a service may have as many workers as it likes, each of which takes its time
LONGEST_SECONDS = 900
SESSION_NAMES = ("session_token", "access_token", "jwt_token")


class Question(NamedTuple):
    """What the probes are asked about: the values that must work, and those that must not (None before there are any).

    ``ask`` asks the secret's provider, ``account`` is whose credential it must be (empty where that is not known); ``value_of``
    returns the value that a variable of the host has now, also one of another secret. ``scripts`` runs what belongs to the
    application, None where that would not find the value. ``opened_by`` is the other host that opens all rows, of those that hosts share;
    ``dies`` says that an issuer has ended the dead values.
    """

    side: Side
    live: Mapping[str, str]
    dead: Mapping[str, str] | None
    services: Sequence[Service]
    migration: RowStore | None
    ask: Callable[[Mapping[str, str]], Reply] | None = None
    account: str = ""
    value_of: Callable[[str], str] = lambda variable: ""
    scripts: Scripts | None = None
    opened_by: str = ""
    dies: bool = False


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


def process(services: Sequence[Service], change: Moment, reloaded: Sequence[str] = ()) -> list[Proof]:
    """Ask whether each service's process started after ``change``: only then does it know the value in its files.

    Of one that was ``reloaded`` that says nothing: its answers have to show it.
    """
    proofs = []
    seen = {service.name: service.look() for service in services}
    others = strangers(seen)
    for service in services:
        pids = seen[service.name].pids
        again, foreign = service.name in reloaded, others.get(service.name, [])
        stranger = service.foreign() if pids else ""
        old = [] if again else procfs.older(pids, change)
        if not pids:
            verdict, detail = "unknown", f"no process listens on port {service.port}"
        elif stranger:
            verdict, detail = "rejected", stranger
        elif old or foreign:
            what = "started before the change" if old else f"listens on port {service.port} as well, and is not of it"
            verdict, detail = "rejected", f"process {', '.join(map(str, old or foreign))} {what}"
        elif again:
            verdict, detail = "not configured", "it was reloaded: what it answers has to show its value"
        else:
            many = f"{len(pids)} processes" if len(pids) > 1 else f"process {pids[0]}"
            verdict, detail = "accepted", f"{many} started after the change"
        proofs.append(proof("process", service.name, verdict, detail))
    return proofs


# what a process was started with: by the name in its environment the variable, and the value or what stands there
Given = Callable[[int], Mapping[str, tuple[str, str]]]


def environment(services: Sequence[Service], live: Mapping[str, str], given: Given) -> Iterator[Proof]:
    """Compare what the process was started with: a variable in its environment wins over any `.env`."""
    for service in services:
        for key, (name, held) in sorted({found for pid in service.processes() for found in given(pid).items()}):
            verdict = "accepted" if held == live[name] else "rejected"
            detail = f"the process was started with {key} {fingerprint(held)}"
            yield proof("environment", service.name, verdict, detail)


def rows(question: Question, spec: ProbeSpec) -> Iterator[Proof]:
    """Open every row of each store: all under the live key, none under the other. Of rows that another host opens, some."""
    parts = question.migration.parts if question.migration else ()
    for part in parts:
        yield _rows_of(part, part.label if len(parts) == 1 else part.name, question)


def _rows_of(store: RowStore, subject: str, question: Question) -> Proof:
    from ..ground.rows.contract import OTHER_WRITER, Unreached  # most secrets have no rows

    try:
        census = store.sample() if question.opened_by else store.census()
    except Unreached:
        if not question.opened_by:
            raise
        return proof("rows", subject, "not configured", f"not reached from here: {question.opened_by} opens them")
    side, wrong = question.side, census["under"][other(question.side)]
    if census["refused"]:
        return proof("rows", subject, "rejected", f"{census['refused']} rows are refused: {census['refusals']}")
    if wrong:
        return proof("rows", subject, "rejected", f"{wrong} rows open under the {other(side)} value: {OTHER_WRITER}")
    some = f", of those looked at: {question.opened_by} opens all" if question.opened_by else ""
    if shown := census.get("shown"):
        return proof("rows", subject, "accepted", shown)
    detail = f"{census['under'][side]} rows open under the {side} value, none under the other{some}"
    return proof("rows", subject, "accepted", detail)


def http_status(question: Question, spec: ProbeSpec) -> Iterator[Proof]:
    """Ask each service's ``proof_path``, which works only where the process has the right value.

    Where a login is missing the answer says nothing of the value; the application then answers 401, or 500.
    """
    for service in question.services:
        path = service.spec.get("proof_path")
        if not path:
            yield proof("http", service.name, "not configured", "proof_path is not set for this service")
            continue
        headers = LOGINS[service.spec["proof_auth"]](question, service)
        seen = _to_the_service(service) if headers else _to_whoever_was_there(service)
        status = http.get(service.base_url + path, service.spec["proof_timeout_seconds"], headers, seen)
        said = _answer("http", service, "GET", path, status, "accepted")
        if status in UNAUTHORIZED or (status == FAULT and not headers):
            hint = "the login is not taken" if headers else "it may want a login (proof_auth: jwt)"
            said |= {"verdict": "unknown", "detail": f"{said['detail']}, {hint}"}
        yield said


def _token(question: Question, service: Service) -> dict[str, str]:
    return {"Authorization": f"Bearer {jwt.mint(question.value_of(service.spec['proof_secret']))}"}


LOGINS: dict[str, Callable[[Question, Service], Mapping[str, str]]] = {
    "jwt": _token,
    "none": lambda question, service: {},
}


def _to_the_service(service: Service) -> http.Connected:
    """Return what looks, once the connection stands, that the service has taken it: a socket of its own that was there before."""
    before = service.sockets(service.base_url)

    def connected(connection: socket.socket) -> None:
        if before is not None and not before & (service.sockets(service.base_url, connection) or set()):
            raise KeyturnError(
                f"service {service.name}: who listens there has changed, so nothing was sent: run this again"
            )

    return connected


def _to_whoever_was_there(service: Service) -> http.Connected:
    """Return the same for what is no secret, where the service listens there itself; another user's proxy may stand before it."""
    try:
        there = service.sockets(service.base_url)
    except KeyturnError:
        there = None
    return _to_the_service(service) if there else lambda connection: None


def with_http(services: Sequence[Service]) -> list[Service]:
    """Return the services that can be asked by HTTP."""
    return [service for service in services if service.base_url]


def jwt_token(question: Question, spec: ProbeSpec) -> Iterator[Proof]:
    """Show tokens of a minute's life at a protected path: of the live secret, then of the dead one."""
    for service in with_http(question.services):
        sides = [("token", question.live, "accepted")]
        if question.dead is not None:
            sides.append(("token of the other secret", question.dead, "rejected"))
        for name, values, wanted in sides:
            (secret,) = values.values()
            headers = {"Authorization": f"Bearer {jwt.mint(secret)}"}
            seen = _to_the_service(service)
            status = http.get(service.base_url + spec["path"], service.spec["proof_timeout_seconds"], headers, seen)
            yield _answer(name, service, "GET", spec["path"], status, wanted)


def login(question: Question, spec: ProbeSpec) -> Iterator[Proof]:
    """Log in as the policy documents it, and see which secret signs the new session. Today's application has no login."""
    (secret,) = question.live.values()
    for service in with_http(question.services):
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
    found = shape.parse(body)
    document = found if isinstance(found, dict) else {}
    return next((document[name] for name in SESSION_NAMES if isinstance(document.get(name), str)), None)


def log(question: Question, spec: ProbeSpec) -> Iterator[Proof]:
    """Read what each service has logged since its start for lines that only this secret can cause."""
    known = [re.compile(pattern(line)) for line in spec["lines"]]
    for service in question.services:
        read = found = 0
        for line in service.log_lines() or ():
            read += 1
            found += any(one.match(line) for one in known)
        if not read:
            yield proof("log", service.name, "not configured", "no line is known to be from since the start")
            continue
        yield proof("log", service.name, "rejected" if found else "accepted", f"{found} error lines since the start")


def log_line(question: Question, spec: ProbeSpec) -> Iterator[Proof]:
    """Read that a service has said since its start that it works; its first group is the account that it works on.

    Before the rotation nothing is asked: a log need not reach back to a start long ago.
    """
    if question.dead is None:
        return
    for service in (service for service in question.services if service.name == spec["service"]):
        known = re.compile(pattern(spec["line"]))
        found = None
        for line in service.log_lines() or ():
            found = known.match(line) or found
        account = found.group(1) if found and found.groups() else ""
        if found is None:
            yield proof("log line", service.name, "unknown", "it has not said since its start that it is connected")
        elif account and question.account and account != question.account:
            yield proof("log line", service.name, "rejected", "it is connected to another account")
        else:
            yield proof("log line", service.name, "accepted", "it has said since its start that it is connected")


def provider(question: Question, spec: ProbeSpec) -> Iterator[Proof]:
    """Ask the provider from this host, which may be firewalled. Before the rotation stage asks, and judges otherwise."""
    if question.ask is None or question.dead is None:
        return
    reply = question.ask(question.live)
    yield proof("provider", "the credential", reply.verdict, reply.detail)
    if reply.identity and question.account:
        verdict = "accepted" if reply.identity == question.account else "rejected"
        yield proof("account", "the credential", verdict, f"it belongs to {reply.identity}")
    if question.dies:
        reply = question.ask(question.dead)
        yield proof("provider", "the other credential", reply.verdict, reply.detail, "rejected")


def command(question: Question, spec: ProbeSpec) -> Iterator[Proof]:
    """Run the application's own checks, and take their exit code for an answer. In check mode it is seen that they can be run.

    Of a command only the program is told: its arguments may hold a value.
    """
    for check in spec["checks"]:
        name, *_ = check["command"]
        if question.scripts is None:
            yield proof(
                "command", name, "not configured", "only the service is given the value, not a command beside it"
            )
        elif question.scripts.dry:
            found = question.scripts.runnable(name)
            yield proof(
                "command", name, "accepted" if found else "unknown", f"{'a' if found else 'no'} program that can be run"
            )
        else:
            code = question.scripts.run(check["command"], check["seconds"])
            verdict = "unknown" if code is None else "rejected" if code else "accepted"
            ended = f"did not end within {check['seconds']} s" if code is None else f"exit code {code}"
            yield proof("command", name, verdict, ended)


def _answer(name: str, service: Service, verb: str, path: str, status: int | None, wanted: str) -> Proof:
    """Any HTTP answer but 2xx is a rejection; a failed connection is none, nor is a path that is not there."""
    detail = f"{verb} {path}: {'no answer' if status is None else f'HTTP {status}'}"
    if status is None or status == NOT_FOUND:
        missing = "" if status is None else ", the application has no such path"
        return proof(name, service.name, "unknown", detail + missing, wanted)
    return proof(name, service.name, "accepted" if http.good(status) else "rejected", detail, wanted)


PROBES: dict[str, Callable[[Question, ProbeSpec], Iterator[Proof]]] = {
    "command": command,
    "http": http_status,
    "jwt": jwt_token,
    "log": log,
    "log_line": log_line,
    "login": login,
    "provider": provider,
    **dict.fromkeys((kind.probe for kind in KINDS.values()), rows),
}


# The probes that show by behaviour that a value works, as far as they have something to ask on this host; the others only show that
# nothing speaks against it. By the services of the secret, and whether only they are given the value.
SHOWING: dict[str, Callable[[Sequence[ServiceSpec], bool], bool]] = {
    "command": lambda services, sealed: not sealed,
    "http": lambda services, sealed: any(service.get("proof_path") for service in services),
    "jwt": lambda services, sealed: True,
    "log_line": lambda services, sealed: True,
    "provider": lambda services, sealed: True,
    **dict.fromkeys((kind.probe for kind in KINDS.values()), lambda services, sealed: True),
}
# the lines of evidence of these, and of a login where there is one
SHOWN = ("command", "http", "log line", "login", "provider", "rows", "token")


def can_show(kinds: Sequence[str], services: Sequence[ServiceSpec], sealed: bool) -> bool:
    """Tell whether one of the probes can show that a value works, with what the inventory gives it to ask."""
    return any(kind in SHOWING and SHOWING[kind](services, sealed) for kind in kinds)


def have_shown(proofs: Sequence[Mapping[str, str]]) -> bool:
    """Tell whether the application, its data or a provider has shown that the live value works; that a process runs is not enough."""
    return any(line["proof"] in SHOWN and line["verdict"] == "accepted" for line in proofs)


def ask(probes: Sequence[ProbeSpec], question: Question) -> list[Proof]:
    """Run the probes of a catalogue entry; what only one of several workers would answer, until each has been met."""
    workers = max((len(found) for service in question.services for found in service.look().taking), default=1)
    return [
        line for spec in probes for line in _ask(spec, question, askings(workers) if spec["kind"] in ASKED_OFTEN else 1)
    ]


def askings(workers: int) -> int:
    """Return how often to ask, so that of ``workers`` who answer by chance one is missed in a thousand cases at most."""
    return 1 if workers < MANY else math.ceil(workers * (math.log(workers) + math.log(1000)))


def _ask(spec: ProbeSpec, question: Question, times: int) -> list[Proof]:
    """The lines of the first asking that does not hold, else those of the last."""
    lines: list[Proof] = []
    ends = time.monotonic() + LONGEST_SECONDS
    for asked in range(times):
        if asked and time.monotonic() > ends:
            detail = f"in {LONGEST_SECONDS} s it was asked {asked} of {times} times: let the service have fewer workers, or faster ones"
            return [*lines, proof(spec["kind"], "each worker", "unknown", detail)]
        lines = list(PROBES[spec["kind"]](question, spec))
        if first_failure(lines):
            break
    return lines
