"""The action ``keyturn_log_revocations``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..base import timestamps
from ..host.journal import utc_now
from ..inputs.validation import Answer, Parameters
from ..records import rotation_log
from ..records.rotation_log import Record

# the old value of such a rotation is the value in use
NEVER_COMMITTED = ("refused", "rolled_back")


def shape(parameters: Parameters) -> object:
    """Return what this rests on: a revocation tells all of it, another line its state."""
    rotation = {"rotation_id": timestamps.ROTATION_ID}
    revoked = {"state": "revoked", "secret": tuple(parameters["secrets"]), "evidence": str, **rotation}
    still_open = {"state": re.compile("(?!revoked$).*"), **rotation}
    return {"hosts": {"*": [(revoked, still_open)]}, "secrets": {"*": {"variables": [str]}}}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Append a record for each revocation of a rotation that the log knows, where no host says that it is still open.

    Who has rotated, and why, the log knows: a host could tell anything. ``unknown`` are the others by their host: somebody else's, or
    nobody's. ``dead`` has the newest of each secret, the only one whose old value can still be the store's previous one.
    """
    folder = Path(parameters["folder"])
    records = rotation_log.read(folder)
    ended = rotation_log.outcomes(records)
    made = {
        (one["rotation_id"], one["secret"]): (one["reason"], one.get("rotated_by") or one["by"])
        for one in reversed(records)
        if {"rotation_id", "secret"} <= one.keys()
        and one.get("event") != "revoked"
        and ended.get(one["rotation_id"]) not in NEVER_COMMITTED
    }
    told = [(host, line) for host, lines in parameters["hosts"].items() for line in lines]
    still_open = {line["rotation_id"] for _, line in told if line["state"] != "revoked"}
    closed = [
        (host, line) for host, line in told if line["state"] == "revoked" and line["rotation_id"] not in still_open
    ]
    found: dict[str, tuple[Mapping[str, str], list[str]]] = {}
    for host, line in closed:
        if (line["rotation_id"], line["secret"]) in made:
            found.setdefault(line["rotation_id"], (line, []))[1].append(host)
    for _, (line, hosts) in sorted(found.items()):
        entry = _record(parameters, line, hosts, made[line["rotation_id"], line["secret"]])
        told_before = any(entry.items() <= one.items() for one in records)
        if not (told_before or check_mode):
            now = utc_now()
            rotation_log.append(folder, {**entry, "at": now, "started": now, "finished": now})
    newest = {line["secret"]: rotation_id for rotation_id, (line, _) in sorted(found.items())}
    return {
        "changed": False,
        "revoked": sorted(found),
        "dead": [{"secret": secret, "rotation_id": rotation_id} for secret, rotation_id in newest.items()],
        "unknown": sorted(
            {f"{line['rotation_id']} of {host}" for host, line in closed if line["rotation_id"] not in found}
        ),
    }


def _record(parameters: Parameters, line: Mapping[str, str], hosts: Sequence[str], made: tuple[str, str]) -> Record:
    """Return the record of a revocation, without its time; ``made`` is why the rotation was made, and by whom."""
    reason, rotated_by = made
    return {
        "event": "revoked",
        "rotation_id": line["rotation_id"],
        "secret": line["secret"],
        "reason": reason,
        "rotated_by": rotated_by,
        "variables": parameters["secrets"][line["secret"]]["variables"],
        "environment": parameters["environment"],
        "outcome": "revoked",
        "failure": None,
        "verified_by": f"its provider: {line['evidence']}",
        "hosts": sorted(hosts),
        "excluded": dict(parameters["excluded"]),
    }
