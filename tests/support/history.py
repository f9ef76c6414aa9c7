"""An environment that has lived for a year: the folder of its reports, and what its hosts say, as a status sees them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from keyturn import incident
from keyturn.base import timestamps
from keyturn.inputs.application import Application
from keyturn.records import report, rotation_log

from support.lab import ROOT, catalogue

POLICY = Application(ROOT / "applications/trader_ai").part("policy.yml")

NOW = datetime(2026, 1, 10, 9, 30, tzinfo=UTC)
HOSTS = ("app1", "app2")
HOSTILE = '<script>alert("1")</script>'
LOST = "app2: the service backend is not healthy at its health_url within 30 s"
# secret, day, outcome, seconds down, who, why
ROTATIONS = (
    ("db_key", "2025-02-10", "committed", 0.4, "ada", "scheduled"),
    ("jwt", "2025-03-01", "committed", 1.2, "ada", "scheduled"),
    ("hf_token", "2025-03-20", "committed", 0.9, "grace", "scheduled"),
    ("db_key", "2025-05-09", "committed", 0.5, "grace", "scheduled"),
    ("jwt", "2025-05-28", "committed", 310.0, "ada", "scheduled"),
    ("plaid", "2025-06-01", "committed", 1.1, "grace", "scheduled"),
    ("db_key", "2025-08-06", "rolled_back", 31.0, "ada", "scheduled"),
    ("db_key", "2025-08-07", "committed", 0.6, "ada", "scheduled"),
    ("jwt", "2025-08-25", "committed", 1.3, "grace", "scheduled"),
    ("alpaca", "2025-09-03", "refused", 0.0, "grace", "INC-7"),
    ("alpaca", "2025-09-04", "committed", 2.2, "grace", "INC-7"),
    ("db_key", "2025-11-02", "committed", 0.5, "ada", "scheduled"),
    ("jwt", "2025-11-20", "committed", 1.2, HOSTILE, "scheduled"),
    ("plaid", "2025-12-28", "committed", 1.0, "grace", "scheduled"),
)
# the last of plaid is still open
REVOKED = {"hf_token": 1, "plaid": 3, "alpaca": 2}


def identity(day: str) -> str:
    """Return the id of the rotation of a day."""
    return f"{day.replace('-', '')}T220000Z-0123456789abcdef"


def secrets() -> dict[str, Any]:
    """Return the catalogue with the ages of the policy, as a run has templated it."""
    found = copy.deepcopy(catalogue())
    for name, turned in POLICY["schedule"].items():
        found[name]["max_age_days"] = turned["max_age_days"]
    found["alpaca"]["provider"]["account"] = "paper"
    found["alpaca"]["consumers"][1]["form"] = "kept"
    return found


def document(secret: str, day: str, outcome: str, down: float, by: str, why: str) -> dict[str, Any]:
    """Return the report of a rotation."""
    entry = catalogue()[secret]
    header = {
        **{"rotation_id": identity(day), "secret": secret, "title": entry["title"], "variables": entry["variables"]},
        **{"environment": "staging", "reason": why, "operator": by, "started": f"{day}T22:00:00Z"},
        "downtime_budget_seconds": entry["downtime_budget_seconds"],
    }
    marks = {name: dict.fromkeys(entry["variables"], f"kt:{mark * 12}") for name, mark in (("old", "0"), ("new", "1"))}
    retire = {"retire": {"state": "open", "since": f"{day}T22:01:00Z"}} if entry["retire"]["kind"] == "revoke" else {}
    host = {
        **{
            "phase": "closed",
            "outcome": "committed" if outcome == "committed" else "rolled_back",
            "started": header["started"],
        },
        **{
            "history": [],
            "downtime_seconds": down,
            "findings": [],
            **marks,
            **(retire if outcome == "committed" else {}),
        },
    }
    built = report.build(header, dict.fromkeys(HOSTS, host), "" if outcome == "committed" else LOST, True)
    return built | {"outcome": outcome, "finished": f"{day}T22:01:00Z"}


def write(folder: Path) -> None:
    """Write the reports, the log and the incident of the year."""
    built = {line[1]: document(*line) for line in ROTATIONS}
    for record in sorted(_records(built), key=lambda one: str(one["at"])):
        written = rotation_log.append(folder, record)
        if record["event"] == "ended":
            report.write(folder, built[record["started"][:10]] | {"log_head": rotation_log.head([written])})
    _open_an_incident(folder)


def _records(built: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what the log says of the rotations. The last one of plaid is not revoked yet, and the last three are not signed."""
    yield rotation_log.setup("staging", "2025-02-01T09:00:00Z")
    for number, (day, one) in enumerate(built.items()):
        attempt = {"id": f"a{number}", "controller": "ops", "pid": 1, "process": None}
        yield rotation_log.started(one | {"attempt": attempt}) | {"at": one["started"]}
        ended = rotation_log.record(one, attempt) | {"at": one["finished"]}
        yield ended
        if one["outcome"] != "committed":
            continue
        if number < len(built) - 3:
            record = {"rotation_id": one["rotation_id"], "at": f"{day}T23:00:00Z"}
            yield record | {"event": "signed", "signer": "Grace", "points": {}}
            yield record | {"event": "closed"}
        if one["secret"] in REVOKED and day != "2025-12-28":
            at = timestamps.text(timestamps.parse(one["finished"]) + timedelta(days=REVOKED[one["secret"]]))
            names = ("rotation_id", "secret", "variables", "environment", "reason", "hosts", "rotated_by", "excluded")
            revoked = {name: ended[name] for name in names} | dict.fromkeys(("started", "finished", "at"), at)
            yield revoked | {"event": "revoked", "outcome": "revoked", "verified_by": "its provider: HTTP 401"}


def _open_an_incident(folder: Path) -> None:
    header = {
        "id": "INC-7",
        "leaked": "credentials",
        "title": f"{HOSTILE} was in a chat",
        "environment": "staging",
    }
    header |= {
        "since": "2025-09-01T00:00:00Z",
        "operator": "grace",
        "by_hand": [],
        "affected": ["alpaca"],
        "drill": False,
    }
    opened = incident.begin(
        header | {"without_evidence": "a test"},
        [],
        POLICY["incident"],
        timestamps.parse("2025-09-03T08:00:00Z"),
    )
    opened["dead"] = {"at": "2025-09-06T10:00:00Z", "seconds": 266400}
    for point in list(incident.points(opened))[:-1]:
        point["done"] = {"at": "2025-09-10T10:00:00Z", "by": "grace", "evidence": "seen"}
    incident.write(incident.folder_of(folder, "INC-7"), opened)


def answers() -> dict[str, Any]:
    """Return what the hosts say: app2 is silent, and app1 has a rotation open."""
    built = [document(*line) for line in ROTATIONS]
    closed = {
        one["rotation_id"]: {
            **{name: one[name] for name in ("rotation_id", "secret", "finished")},
            **{name: one["hosts"]["app1"].get(name) for name in ("phase", "outcome", "old", "new", "retire")},
            "decision": "commit",
        }
        for one in built
    }
    for one in closed.values():
        if one["retire"] and one["rotation_id"] != identity("2025-12-28"):
            one["retire"] = {"state": "revoked", "since": one["finished"]}
    held = {name: {"used": True, "values": {}, "problem": ""} for name in catalogue()}
    held["hf_token"]["problem"] = "HF_TOKEN is not set in /srv/app/.env"
    opened = {
        "phase": "switched",
        "rotation_id": "20260110T090000Z-0123456789abcdef",
        "secret": "jwt",
        "operator": "ada",
    }
    opened |= {"started": "2026-01-10T09:00:00Z"}
    return {"app1": {"rotation": opened, "closed": closed, "expired": [], "held": held}, "app2": None}


def given(folder: Path) -> dict[str, Any]:
    """Return what the action ``keyturn_status`` is given."""
    return {
        **{"secrets": secrets(), "hosts": answers(), "folder": str(folder), "policy": POLICY},
        **{
            "allowed_signers": "",
            "production": True,
            "grace_days": 7,
            "window": {"days": ["sat", "sun"], "from": "22:00", "to": "02:00"},
        },
    }
