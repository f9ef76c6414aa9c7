"""Belief needs evidence: a rotation is committed when something has shown by its behaviour that the new value works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.fleet import staging_gate
from keyturn.host import probes
from keyturn.host.phases import commit, stage, turn
from keyturn.inputs.validation import validated
from keyturn.records import checklist, report, rotation_log
from keyturn.steps import plan
from support import reports
from support.faults import Host
from support.lab import catalogue
from support.steps import take
from unit.test_report_and_log import COMMITTED, HEADER

SECRET, NEW = "JWT_SECRET_KEY", "a-secret-of-at-least-thirty-two-characters"
SERVICE = {"manager": "script", "start": "./start.sh", "stop": "./stop.sh", "health_url": "http://127.0.0.1:1/health"}
LINE = {"message": "it works"}
LOG = {"kind": "log", "lines": [LINE]}
HTTP, LOGIN, TOKEN = {"kind": "http"}, {"kind": "login", "path": "/login"}, {"kind": "jwt", "path": "/api/positions"}
ROWS, PROVIDER = {"kind": "fernet_rows"}, {"kind": "provider"}


def planned(asked: list[dict[str, Any]], accepted: str = "", secret: str = "jwt", **host: Any) -> dict[str, Any]:
    """Plan a rotation of a secret that is proved by ``asked`` alone."""
    known = {
        "keyturn_environment": "local",
        "keyturn_app_root": "/srv",
        "keyturn_services": {"backend": SERVICE},
    } | host
    entry = catalogue()[secret] | {"max_age_days": 90, "probes": asked}
    if "provider" in entry:
        entry["provider"] = entry["provider"] | {"url": "http://127.0.0.1:1"}
    given = {
        "application": "/nowhere",
        "secrets": {secret: entry},
        "secret": secret,
        "reason": "x",
        "accept_unproved": accepted,
    }
    return dict(take("plan", given | {"hosts": {"app1": known}})["plan"])


CHECKS = {"jwt": [{"command": ["./check.sh"]}]}
WITH_PATH = {"backend": SERVICE | {"proof_path": "/api/positions"}}
OTHER_SERVICE = {"backend": SERVICE, "engine": SERVICE | {"proof_path": "/api/positions"}}


@pytest.mark.parametrize(
    ("asked", "host"),
    [
        ([HTTP], {}),
        ([LOG], {}),
        ([LOGIN], {}),
        ([HTTP, LOG, LOGIN], {}),
        ([], {}),
        # of a service that does not read the secret
        ([HTTP], {"keyturn_services": OTHER_SERVICE}),
        # where only the service is given the value, a command beside it is not run
        ([HTTP], {"keyturn_checks": CHECKS, "keyturn_delivery": "systemd_credential"}),
        ([HTTP], {"keyturn_checks": {"plaid": CHECKS["jwt"]}}),
    ],
)
def test_what_nothing_could_show_is_refused_at_the_plan(asked: list[dict[str, Any]], host: dict[str, Any]) -> None:
    with pytest.raises(
        KeyturnError, match=r"nothing on app1 could show .* a new value of jwt works .* keyturn_accept_unproved"
    ):
        planned(asked, **host)
    assert planned(asked, "the vendor tests it", **host)["overrides"] == {"unproved": "the vendor tests it"}
    with pytest.raises(KeyturnError, match="keyturn_accept_unproved must be 1 to 120 letters"):
        planned(asked, "{{ a template }}", **host)


def test_a_plan_asks_what_no_spec_can_say() -> None:
    """Of the secret that it is for, and of a reload that names none."""
    with pytest.raises(KeyturnError, match=r"^app1: keyturn_services\.backend: reloads names jtw, .* is jwt meant"):
        planned([TOKEN], keyturn_services={"backend": SERVICE | {"reloads": ["jtw"]}})


@pytest.mark.parametrize(
    ("asked", "secret", "host"),
    [
        ([HTTP], "jwt", {"keyturn_services": WITH_PATH}),
        ([HTTP], "jwt", {"keyturn_checks": CHECKS}),
        ([LOG, TOKEN], "jwt", {}),
        ([ROWS], "db_key", {}),
        ([PROVIDER], "hf_token", {}),
        ([{"kind": "log_line", "service": "backend", "line": LINE}], "hf_token", {}),
    ],
)
def test_what_can_be_shown_needs_no_reason(asked: list[dict[str, Any]], secret: str, host: dict[str, Any]) -> None:
    assert planned(asked, "not needed", secret, **host)["overrides"] == {}


def test_every_shipped_secret_can_be_shown_to_work_where_the_inventory_says_what_to_ask() -> None:
    for secret, entry in catalogue().items():
        kinds = [probe["kind"] for probe in entry["probes"]]
        assert probes.can_show(kinds, list(WITH_PATH.values()), sealed=True), secret


def test_a_probe_is_of_one_of_both_sorts() -> None:
    assert probes.SHOWING.keys() | {"log", "login"} == probes.PROBES.keys()
    assert not probes.SHOWING.keys() & {"log", "login"}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host whose secret is proved by a path that nobody has named."""
    made = Host(tmp_path / "host", secret="jwt", entry=catalogue()["jwt"] | {"max_age_days": 90, "probes": [HTTP]})
    yield made
    made.stop()


def test_what_nothing_has_shown_is_not_proved(host: Host) -> None:
    stage.run(host.rotation(), new_values={SECRET: NEW})
    with pytest.raises(
        KeyturnError, match=r"nothing has shown .* \(http of backend: proof_path is not set for this service\)"
    ):
        turn.run(host.rotation(), "proved")
    (journal,) = host.lab.journals()
    assert journal["phase"] == "switched"
    host.go_back()


def test_what_a_person_accepts_is_told_as_unproved(host: Host) -> None:
    host.more["overrides"] = {"unproved": "the vendor tests it"}
    stage.run(host.rotation(), new_values={SECRET: NEW})
    turn.run(host.rotation(), "proved")
    commit.run(host.rotation(), "both")
    (journal,) = host.lab.journals()
    document = reports.valid(report.build(HEADER | {"secret": "jwt"}, {"here": journal}, "", True))
    assert document["outcome"] == "committed_unproved"
    entry = validated("entry", plan.catalogue.ENTRY, dict(host.more["entry"]))
    point = next(
        one
        for one in checklist.points(
            [{"id": "works_everywhere", "text": "New key works"}], checklist.Case(document, entry, [], [])
        )
        if one["id"] == "works_everywhere"
    )
    assert (point["state"], "the vendor tests it" in point["detail"]) == ("open", True)
    assert "committed_unproved" in rotation_log.COMMITTED


def test_what_is_unproved_opens_no_gate(tmp_path: Path) -> None:
    unproved = COMMITTED | {"unproved": "the vendor tests it"}
    document = report.build(HEADER | {"revision": "0" * 16}, {"a": unproved, "b": COMMITTED}, "", True)
    assert document["outcome"] == "committed_unproved"
    with pytest.raises(KeyturnError, match="was never committed on staging"):
        staging_gate.check([document], "staging", HEADER | {"revision": "0" * 16}, 7)


@pytest.mark.parametrize("name", ["process", "environment", "log", "token of the other secret", "account"])
def test_what_only_speaks_against_nothing_has_shown_nothing(name: str) -> None:
    assert not probes.have_shown([probes.proof(name, "backend", "accepted", "")])
    assert not probes.have_shown([probes.proof("http", "backend", "not configured", "")])
    assert probes.have_shown([probes.proof("http", "backend", "accepted", "")])
