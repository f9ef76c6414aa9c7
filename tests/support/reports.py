"""Reports and logs as a reader of them sees them."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator
from keyturn.records import rotation_log
from keyturn.records.report import documents, heads

from support.lab import ROOT, Lab

# what sent hosts back after they had been stopped, in the reports that were read since this was emptied
refused_after_the_stop: list[str] = []


# what the step report is told of a run in which nothing has happened yet
BEGUN: dict[str, Any] = {
    "excluded": {},
    "failure": "",
    "entry": {},
    "checklist": [],
    "link": "",
    "by_key": False,
    "wish": "forward",
    "ended": False,
}


def report(lab: Lab) -> dict[str, Any]:
    """Return the newest report; fail where it is not what its schema says."""
    found = valid(lab.report())
    late = [host for host in found["hosts"].values() if "late" in host]
    refused_after_the_stop.extend(str(found["failure"] or host.get("failure")) for host in late[:1])
    return found


def ids(lab: Lab) -> set[str]:
    """Return the names of all reports."""
    return {path.name for path in (lab.reports / "test").glob("2*.json")}


def valid(document: dict[str, Any]) -> dict[str, Any]:
    """Return a report; fail where it is not what its schema says."""
    schema = json.loads((ROOT / "docs/report.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(document)]
    assert not errors, errors
    return document


def log(lab: Lab) -> list[dict[str, Any]]:
    """Return the ends in the rotation log, and see that its chain is whole and the policy's table has a line for each."""
    folder = lab.reports / "test"
    rotation_log.verify(folder, heads(documents(folder)))
    first, *records = rotation_log.read(folder)
    assert first["event"] == "setup"
    ends = [entry for entry in records if entry["event"] in ("ended", "revoked")]
    table = (folder / "rotation-log.md").read_text().splitlines()
    assert table[0] == "| Date | Key Type | Reason | Rotated By | Verified By |"
    assert table[2] == f"| {first['at'][:10]} | Initial Setup | N/A | System | System |"
    assert len(table) == len(ends) + 3
    return ends
