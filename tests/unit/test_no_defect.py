"""No input makes Keyturn call its own code defect: neither a parameter of an action, nor a file that it or the application wrote."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyturn.base import durable, shape
from keyturn.fleet import answers
from keyturn.host.phases import commit, holdings_info, prune, retire, rollback, rotation_info, stage, turn
from keyturn.inputs.application import Application
from keyturn.records import report, rotation_log
from support import hostile, selection, steps
from support.faults import ROTATION_ID, Host
from support.lab import KEY, ROOT, catalogue

MARK, OTHER = "kt:0123456789ab", "kt:ba9876543210"
AT = "2026-01-01T00:00:00Z"
# a walk has no end of its own: how many steps of it a run takes
walk = settings(
    max_examples=hostile.STEPS,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=not selection.exhaustive(),
)


# -- the files of a host -------------------------------------------------------------------------------------------

PHASES = ("staged", "prepared", "switched", "proved", "decided", "closed")
CALLS: dict[str, Callable[[Host], Any]] = {
    "rotation_info": lambda host: rotation_info.run(str(host.lab.app), str(host.lab.state), [host.rotation()]),
    "holdings_info": lambda host: holdings_info.run([host.rotation()]),
    "prune": lambda host: prune.run([host.rotation()]),
    "stage": lambda host: stage.run(host.rotation()),
    "turn": lambda host: turn.run(host.rotation(), "proved"),
    "commit": lambda host: commit.run(host.rotation(), "both"),
    "rollback": lambda host: rollback.run(host.rotation(), "a test", False),
    "retire": lambda host: retire.run(host.rotation(), "ask"),
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host that was kept at each phase of a rotation."""
    made = Host(tmp_path_factory.mktemp("host") / "host")
    made.save("fresh")
    for phase in PHASES:
        made.restore("fresh")
        made.go_forward() if phase == "closed" else made.go_to(phase)
        made.save(phase)
    yield made
    made.stop()


def files(host: Host) -> list[Path]:
    """The files that Keyturn has written, and those of the application that it reads."""
    return [
        *sorted(host.lab.state.rglob("*.json")),
        *sorted(host.lab.state.rglob("*.db")),
        host.lab.env,
        host.lab.database,
    ]


@walk
@given(st.data())
def test_a_damaged_file_of_a_host_is_no_defect(host: Host, data: st.DataObject) -> None:
    host.restore(data.draw(st.sampled_from(PHASES)), running=False)
    path = data.draw(st.sampled_from(files(host)))
    content = path.read_bytes()
    if path.suffix == ".json" and data.draw(st.booleans()):
        content = json.dumps(data.draw(hostile.variants(json.loads(content)))).encode()
    else:
        content = data.draw(hostile.mangled(content))
    path.write_bytes(content)
    for name in ("rotation_info", "holdings_info", data.draw(st.sampled_from(sorted(CALLS)))):
        hostile.check(lambda name=name: CALLS[name](host))  # type: ignore[misc]


# -- what the actions on the controller are given, and the files of an environment --------------------------------------

RECORD = {
    "phase": "closed",
    "decision": "commit",
    "outcome": "committed",
    "rotation_id": ROTATION_ID,
    "secret": "db_key",
    "operator": "somebody",
    "started": AT,
    "finished": AT,
    "history": [{"phase": "switched", "at": AT}],
    "old": {KEY: MARK},
    "new": {KEY: OTHER},
    "rows": {"two_layer": 5, "one_layer": 2, "plaintext": 1, "empty": 0},
    "times": {"switch": 1.5},
    "downtime_seconds": 1.5,
    "backup": {"path": "/state/backup.db", "bytes": 4096, "sha256": "0" * 64, "opens_with": {KEY: MARK}, "expires": AT},
    "proofs": [{"proof": "rows", "subject": "data.db", "verdict": "accepted", "wanted": "accepted", "detail": "all"}],
    "findings": ["1 row is plaintext"],
    "log_head": {"number": 1, "hash": "0" * 64},
    "retire": {"state": "open", "since": AT, "evidence": "GET: HTTP 200"},
    "old_credential": {"verdict": "accepted", "detail": "HTTP 200", "at": AT},
    "evidence": {"logs": {"backend": {"signature": 1}}, "backup": {"ok": True, "rows": 8}},
}
PLAN = {
    **{name: RECORD[name] for name in ("rotation_id", "secret", "operator", "started")},
    "title": "Database Encryption Key",
    "variables": [KEY],
    "environment": "local",
    "reason": "scheduled",
    "revision": "0123456789abcdef",
    "downtime_budget_seconds": 60,
    "value": "per_host",
    "sessions": "kept",
    "overrides": {"staging": "INC-1"},
    "attempt": {"id": "a1", "controller": "c1", "pid": 1, "process": None},
}
STATE = {
    "rotation": {},
    "closed": {ROTATION_ID: RECORD},
    "expired": [ROTATION_ID],
    "held": {name: {"used": True, "values": {KEY: OTHER}, "problem": ""} for name in catalogue()},
}
REVOKED = {"state": "revoked", "secret": "plaid", "since": AT, "rotation_id": ROTATION_ID} | dict.fromkeys(
    ("reason", "operator", "evidence"), "x"
)
FINDING = {"severity": "note", "rule": "x", "what": "x", "remedy": "x"}
SERVICE = {"manager": "systemd", "unit": "app", "health_url": "http://localhost/health"}
HOST = {
    "keyturn_environment": "local",
    "keyturn_app_root": "/srv/app",
    "keyturn_services": {"backend": SERVICE, "engine": SERVICE},
    "keyturn_secrets_here": list(catalogue()),
    "rotation_looked": {"rotation": RECORD | {"phase": "staged"}, "closed": {}},
    "rotation_staged": {"rotation": RECORD, "place": "machine", "clock_offset": 0.5},
}


@cache
def entries() -> dict[str, Any]:
    """Return the catalogue as a run has templated it."""
    found = copy.deepcopy(catalogue())
    for name, turned in data("keyturn_policy")["schedule"].items():
        found[name]["max_age_days"] = turned["max_age_days"]
    for entry in found.values():
        if "provider" in entry:
            entry["provider"]["url"] = "http://127.0.0.1:9"
    found["alpaca"]["provider"]["account"] = "paper"
    found["alpaca"]["consumers"][1]["form"] = "kept"
    return found


@cache
def data(name: str) -> Any:
    """Return a variable of the project's own data."""
    told = yaml.safe_load((ROOT / "playbooks/group_vars/all/application.yml").read_text())[name]
    return Application(ROOT / "applications/trader_ai").part(*re.findall("'([^']+)'", told)[1:])


def parameters(folder: Path) -> dict[str, dict[str, Any]]:
    """What each action is given in a run, with the files of an environment in ``folder``."""
    own, secrets, points = folder / "local", entries(), data("keyturn_policy")["checklist"]
    asked = {"provider": {"kind": "huggingface", "url": "http://127.0.0.1:9"}}
    token = {"values": {"HF_TOKEN": "hf_" + "aZ3" * 12}, "exposed": [], "problem": ""}
    shared = {"environment": "local", "secrets": secrets}
    known: dict[str, dict[str, Any]] = {
        "agree": {"secret": "db_key", "value": "per_host", "hosts": {"a": HOST}, "environment": "local", "reports": str(folder)},
        "checklist": {
            "folder": str(own), "secrets": secrets, "checklist": points, "rotation_id": ROTATION_ID, "step": "sign",
            "signer": "a person", "points": {"users_notified": "seen"}, "signing_key": "", "allowed_signers": "",
        },
        "due_info": {
            "folder": str(own), "secrets": secrets, "hosts": {"a": STATE}, "window": {"days": ["sat"], "from": "22:00", "to": "02:00"},
        },
        "fleet": {"plan": PLAN, "hosts": {"a": HOST}, "folder": str(folder), "staging": "local", "production": True},
        "incident": {
            "action": "report", "folder": str(own), "id": "INC-2", "environment": "local", "secrets": secrets, "hosts": ["a"],
            "ticks": {"dead": "affected_dead"},
        },
        "incident_open": {
            "action": "open", "folder": str(own), "id": "INC-2", "leaked": "database", "without_evidence": "a test", **shared,
            "table": data("keyturn_incident_table"), "order": data("keyturn_incident_order"), "held": {"a": STATE["held"]},
            "checklists": data("keyturn_policy")["incident"], "material": {},
        },
        "log": {"folder": str(own), "head": "0" * 64, "hosts": {"a": STATE}, "allowed_signers": "/nowhere"},
        "notify": {
            "folder": str(own), "channels": {}, "event": "rotation_done", "id": "x", "environment": "local",
            "facts": dict.fromkeys(("title", "rotation_id", "reason", "operator", "outcome", "fingerprints", "link"), "x"),
        },
        "pack": {"folder": str(own), "begin": "2026-01-01", "end": "2099-12-31"},
        "plan": {
            "secrets": secrets, "secret": "db_key", "hosts": {"a": HOST}, "reason": "scheduled", "overrides": {"log": "x"},
            "application": str(ROOT / "applications/trader_ai"),
        },
        "policy": {"policy": data("keyturn_policy"), "secrets": secrets, "dest": str(folder / "policy.md"), "folder": str(own)},
        "recover": {"wish": "forward", "hosts": {"a": HOST["rotation_looked"]}, "secrets": secrets, "reports": str(own)},
        "reminders_info": {"folder": str(own)},
        "log_replacement": {"issuer": "plaid", "environment": "local", "reason": "INC-1", "folder": str(own),
                     "hosts": {"a": {"total": 3, "proven": 2, "relink_required": ["item"]}}},
        "report": {"folder": str(folder), "plan": PLAN, "hosts": {"a": RECORD}, "ended": True, "entry": secrets["db_key"],
                   "checklist": points},
        "log_revocations": {"secrets": secrets, "environment": "local", "folder": str(own), "hosts": {"a": [REVOKED]}},
        "status": {"secrets": secrets, "hosts": {"a": STATE}, "folder": str(own), "policy": data("keyturn_policy")},
        "storage_report": {
            "hosts": {"a": {"findings": [FINDING], "values": {"db_key": {KEY: MARK}}}}, "environment": "staging",
            "secrets": secrets, "reports": str(folder), "production": False, "store": {"kind": "dotenv"},
        },
        "supply": {"entry": secrets["hf_token"] | asked, "brought": token},
        "validate": {"folder": str(ROOT / "applications/trader_ai"), "secrets": secrets},
        "values": {"variables": [KEY], "generator": "fernet", "rotation_id": ROTATION_ID, "hosts": {"a": HOST["rotation_looked"]}},
    }  # fmt: skip
    return known


def environment(folder: Path) -> None:
    """Write all files of an environment's folder, by the code that writes them."""
    own = folder / "local"
    rotation_log.append(own, rotation_log.setup("local", AT))
    rotation_log.begin(own, rotation_log.started(PLAN), lambda _: True)
    given = parameters(folder)
    for name in ("report", "incident_open", "notify", "status", "storage_report"):
        take(name, given[name])
    notes = own / "incidents/INC-2/evidence"
    notes.mkdir()
    durable.write_json(notes / "a-before.json", incident_note())


def incident_note() -> dict[str, Any]:
    member = {"name": "files/times.json", "bytes": 3, "sha256": "0" * 64}
    return {
        "host": "a",
        "pass": "before",
        "members": [member],
        "missing": {"plaid": "no answer"},
        "file": "x",
        "sha256": "0",
        "at": AT,
    }


def take(name: str, given: dict[str, Any], check_mode: bool = False) -> Any:
    return steps.take(name.partition("_open")[0], json.loads(json.dumps(given)), check_mode)


@pytest.mark.parametrize("name", sorted(parameters(Path("/nowhere"))))
def test_a_hostile_parameter_is_no_defect(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("reports")
    environment(folder)
    given = parameters(folder)[name]
    # the policy is the project's own, and no inventory can change it
    hostile.walk(lambda given: take(name, given, check_mode=True), given, ["policy"])


READERS = (
    "agree",
    "checklist",
    "fleet",
    "incident",
    "log",
    "notify",
    "pack",
    "policy",
    "recover",
    "reminders_info",
    "report",
    "status",
    "storage_report",
)
FILES = ("*.json", "*.jsonl", "notifications/*.json", "incidents/INC-2/*.json", "incidents/INC-2/evidence/*.json")


def test_a_damaged_file_of_an_environment_is_no_defect(tmp_path: Path) -> None:
    environment(tmp_path)
    own = tmp_path / "local"
    generator = random.Random(0 if not selection.exhaustive() else os.urandom(8))
    written = {path: path.read_bytes() for pattern in FILES for path in sorted(own.glob(pattern))}
    assert len(written) > 5
    for _ in range(hostile.STEPS):
        path, content = generator.choice(list(written.items()))
        lines = content.splitlines() if path.suffix == ".jsonl" else [content]
        number = generator.randrange(len(lines))
        document = json.loads(lines[number])
        place = generator.choice(list(hostile.places(document)))
        lines[number] = json.dumps(hostile.changed(document, place, generator.choice(hostile.VALUES))).encode()
        path.write_bytes(b"\n".join(lines) + b"\n")
        for name in READERS:
            hostile.check(lambda name=name: take(name, parameters(tmp_path)[name], check_mode=True))  # type: ignore[misc]
        path.write_bytes(content)


@pytest.mark.parametrize("phase", PHASES)
def test_what_a_host_really_says_has_the_shape(host: Host, phase: str) -> None:
    host.restore(phase, running=False)
    said = json.loads(json.dumps(CALLS["rotation_info"](host)))
    assert not list(shape.misfits("", {"hosts": answers.state(["db_key"])}, {"hosts": {"a": said, "lost": None}}))
    assert not list(shape.misfits("", answers.LOOKED, said))
    assert answers.taken("rotation_info", said) == shape.fitting(answers.ANSWERS["rotation_info"], said)
    host.restore("fresh", running=True)
    asked = stage.run(dataclasses.replace(host.rotation(), check_mode=True))
    staged = stage.run(host.rotation())
    more = {"place": "a machine", "clock_offset": 0.1}
    assert not list(shape.misfits("", answers.STAGED, json.loads(json.dumps(asked)) | more))
    assert not list(shape.misfits("", answers.STAGED, json.loads(json.dumps(staged)) | more))
    assert not list(shape.misfits("", answers.JOURNAL, json.loads(json.dumps(staged))["rotation"]))
    for said in (asked, staged):
        told = json.loads(json.dumps(said)) | more
        taken = answers.taken("stage", told, ROTATION_ID)
        assert taken == shape.fitting(answers.ANSWERS["stage"], told)
        assert {name: told["rotation"][name] for name in report.HOST_FIELDS if name in told["rotation"]} == {
            name: taken["rotation"][name] for name in report.HOST_FIELDS if name in taken["rotation"]
        }, "a report lacks what the host has said"
