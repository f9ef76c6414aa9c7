"""The action ``keyturn_revoked``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..host.journal import utc_now
from ..inputs.validation import Answer, Parameters
from ..records import rotation_log


def shape(given: Parameters) -> Any:
    """Return what this rests on: a revocation tells all of it, another line its state."""
    texts = dict.fromkeys(("rotation_id", "reason", "since", "operator", "evidence"), str)
    revoked = {"state": "revoked", "secret": tuple(given["secrets"]), **texts}
    still_open = {"state": re.compile("(?!revoked$).*"), "rotation_id": str}
    return {"hosts": {"*": [(revoked, still_open)]}, "secrets": {"*": {"variables": [str]}}}


def run(given: Parameters, check_mode: bool) -> Answer:
    """Append a record for each revocation of a rotation that the log knows, where no host says that it is still open.

    ``unknown`` are the others by their host: somebody else's, or nobody's. ``dead`` has the newest of each secret, the only one whose
    old value can still be the store's previous one.
    """
    folder = Path(given["folder"])
    made = {
        (one["rotation_id"], one["secret"])
        for one in rotation_log.read(folder)
        if {"rotation_id", "secret"} <= one.keys()
    }
    told = [(host, line) for host, lines in given["hosts"].items() for line in lines]
    still_open = {line["rotation_id"] for _, line in told if line["state"] != "revoked"}
    closed = [
        (host, line) for host, line in told if line["state"] == "revoked" and line["rotation_id"] not in still_open
    ]
    found: dict[str, tuple[Mapping[str, Any], list[str]]] = {}
    for host, line in closed:
        if (line["rotation_id"], line["secret"]) in made:
            found.setdefault(line["rotation_id"], (line, []))[1].append(host)
    for _, (line, hosts) in sorted(found.items()):
        entry = {
            "event": "revoked",
            "at": utc_now(),
            **{name: line[name] for name in ("rotation_id", "secret", "reason")},
            "variables": given["secrets"][line["secret"]]["variables"],
            "environment": given["environment"],
            "outcome": "revoked",
            "failure": None,
            "started": line["since"],
            "finished": line["since"],
            "rotated_by": line["operator"],
            "verified_by": f"its provider: {line['evidence']}",
            "hosts": sorted(hosts),
            "excluded": dict(given["excluded"]),
        }
        if not check_mode:
            rotation_log.append(folder, entry)
    newest = {line["secret"]: rotation_id for rotation_id, (line, _) in sorted(found.items())}
    return {
        "changed": False,
        "revoked": sorted(found),
        "dead": [{"secret": secret, "rotation_id": rotation_id} for secret, rotation_id in newest.items()],
        "unknown": sorted(
            {f"{line['rotation_id']} of {host}" for host, line in closed if line["rotation_id"] not in found}
        ),
    }
