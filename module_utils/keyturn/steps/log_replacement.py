"""The action ``keyturn_log_replacement``."""

from __future__ import annotations

import os
from pathlib import Path

from ..host.journal import utc_now
from ..inputs import request as planning
from ..inputs.reason import check_reason
from ..inputs.validation import Answer, Parameters
from ..records import rotation_log

SHAPE = {"hosts": {"*": {"total?": int, "proven?": int, "relink_required?": [str]}}}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Append the record of a replacement of access tokens, whatever it has come to."""
    said = [found for found in parameters["hosts"].values() if found]
    total, proven = (sum(found.get(name, 0) for found in said) for name in ("total", "proven"))
    lost = sorted(
        f"{host}: {item}" for host, found in parameters["hosts"].items() for item in found.get("relink_required", [])
    )
    failure = parameters["failure"] or (f"relink_required: {', '.join(lost)}" if lost else None)
    now = utc_now()
    entry: rotation_log.Record = {
        "event": "tokens_replaced",
        "at": now,
        "rotation_id": planning.rotation_id(),
        "secret": parameters["issuer"],
        "variables": [f"access tokens of {parameters['issuer']}"],
        "environment": parameters["environment"],
        "reason": check_reason(parameters["reason"]),
        "outcome": "failed" if parameters["failure"] else "relink_required" if lost else "replaced",
        "failure": failure,
        "started": now,
        "finished": now,
        "rotated_by": parameters["operator"] or planning.operator(os.environ),
        "verified_by": f"keyturn, {proven} of {total} tokens work at their provider",
        "hosts": sorted(host for host, found in parameters["hosts"].items() if found),
        "excluded": dict(parameters["excluded"]),
    }
    if not check_mode:
        rotation_log.append(Path(parameters["folder"]), entry)
    return {"changed": not check_mode, "outcome": entry["outcome"], "failure": failure or ""}
