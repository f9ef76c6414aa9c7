"""A drill of every row of the incident table on three hosts: an invented leak, and the time until what leaked is dead."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.brought import VARIABLES, environment_of
from support.desk import Desk, tokens_held
from support.fleet import HOSTS, JWT, KEY, ROOT, Fleet, moved, record

pytestmark = pytest.mark.new_application(rows=24, plaid=True)
ROWS = yaml.safe_load((ROOT / "applications/trader_ai/incident.yml").read_text())["table"]
# which credentials have leaked is what only a person knows
NAMED = {"credentials": ["plaid", "alpaca"]}
# precautions wait for credentials that nobody has brought, but for the leak with which everything is turned at once
ALL_BROUGHT = "key_and_database"
# `make test` takes the row in which every kind of step is; a drill takes minutes, and `make exhaustive` runs all
IN_EVERY_RUN = ("key_and_database",)


@pytest.fixture(scope="module")
def age_recipient(tmp_path_factory: pytest.TempPathFactory) -> str:
    identity = tmp_path_factory.mktemp("age") / "key"
    subprocess.run(["age-keygen", "-o", identity], check=True, capture_output=True)
    return identity.read_text().split("public key: ")[1].split()[0]


def document(fleet: Fleet) -> dict[str, Any]:
    return dict(json.loads((folder(fleet) / "incident.json").read_text()))


def folder(fleet: Fleet) -> Path:
    return fleet.reports / "lab/incidents/DRILL-1"


def respond(fleet: Fleet, leaked: str, brought: dict[str, str], recipient: str) -> tuple[int, str]:
    said = {"keyturn_incident_id": "DRILL-1", "keyturn_incident_leaked": leaked, "keyturn_incident_drill": True}
    said |= {"keyturn_incident_affected": NAMED.get(leaked, []), "keyturn_incident_age_recipient": recipient}
    return fleet.start("respond_to_incident", "-e", json.dumps(said), **brought).end(1800)


@pytest.mark.parametrize(
    "leaked", [pytest.param(row, marks=[] if row in IN_EVERY_RUN else pytest.mark.exhaustive) for row in ROWS]
)
def test_everything_that_leaked_is_dead(fleet: Fleet, leaked: str, age_recipient: str) -> None:
    plaid: Any = fleet.providers["plaid"]
    desk = Desk(fleet)
    before, tokens = fleet.look(), tokens_held(fleet)
    plaid.tokens, plaid.invalidated = dict(tokens), []
    affected = [*ROWS[leaked]["affected"], *NAMED.get(leaked, [])]
    turned = {*affected, *(["jwt", "db_key", *VARIABLES] if leaked == ALL_BROUGHT else [])}
    brought: dict[str, str] = {}
    for secret in set(VARIABLES) & turned:
        desk.make(secret)
        brought |= environment_of(secret, desk.new[secret])

    code, output = respond(fleet, leaked, brought, age_recipient)
    states = {step["name"]: step["state"] for step in document(fleet)["steps"]}
    assert {states[f"rotate {secret}"] for secret in turned} == {"done"}, output
    proving = {f"prove the old {secret} dead" for secret in set(VARIABLES) & turned}
    open_still = {name for name in proving if states[name] != "done"}
    assert code == (2 if any(secret in name for name in open_still for secret in affected) else 0), output
    for secret in set(VARIABLES) & turned:
        assert desk.on_new(secret) == list(HOSTS)
        desk.revoke(secret)
    if open_still:
        code, output = respond(fleet, leaked, {}, age_recipient)
        assert code == 0, output
    found = document(fleet)
    states = {step["name"]: step["state"] for step in found["steps"]}
    assert {states[name] for name in proving} <= {"done"}, output
    assert 0 < found["dead"]["seconds"] < 3600, "the policy's immediate part has an hour"

    after = fleet.assert_ended()
    assert moved(KEY, before, after) == (list(HOSTS) if states.get("rotate db_key") == "done" else [])
    assert moved(JWT, before, after) == (list(HOSTS) if states.get("rotate jwt") == "done" else [])
    replaced = states.get("replace access tokens") == "done"
    assert replaced == (ROWS[leaked]["tokens"] != "never"), "the rows that the hosts begin with hold plaintext"
    assert set(plaid.invalidated) == (set(tokens) if replaced else set())
    held = tokens_held(fleet)
    known, kept = held == plaid.tokens, bool(set(held.values()) & set(tokens.values()))  # pytest would print tokens
    assert known
    assert kept != replaced
    evidence = {one["file"] for one in found["evidence"]}
    assert {f"{host}-before.tar.gz.age" for host in HOSTS} <= evidence
    assert "- [x] Rotate ALL affected keys immediately" in (folder(fleet) / "incident.md").read_text()
    fleet.assert_verified()
    seconds = round(found["dead"]["seconds"])
    record("leaked (drill)", leaked, f"all affected secrets dead after {seconds} s", {"new": HOSTS}, after)
