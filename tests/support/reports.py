"""Reports and logs as a reader of them sees them."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator
from keyturn import rotation_log
from keyturn.report import documents, heads

from support.lab import ROOT, Lab


def report(lab: Lab) -> dict[str, Any]:
    """Return the newest report; fail where it is not what its schema says."""
    schema = json.loads((ROOT / "docs/report.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    document = lab.report()
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(document)]
    assert not errors, errors
    return document


def log(lab: Lab) -> list[dict[str, Any]]:
    """Return the ends in the rotation log, and see that its chain is whole and the policy's table has a line for each."""
    folder = lab.reports / "test"
    rotation_log.verify(folder, heads(documents(folder)))
    ends = [entry for entry in rotation_log.read(folder) if entry["event"] in ("ended", "revoked")]
    table = (folder / "rotation-log.md").read_text().splitlines()
    assert table[0] == "| Date | Key Type | Reason | Rotated By | Verified By |"
    assert len(table) == len(ends) + 2
    return ends
