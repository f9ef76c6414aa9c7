"""The action ``keyturn_log``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..base.errors import KeyturnError
from ..fleet import answers
from ..host.journal import utc_now
from ..inputs import request
from ..inputs.reason import check_reason
from ..inputs.validation import Answer, Parameters
from ..records import audit, report, rotation_log, signatures, status

SHAPE = {"hosts": {"*": (None, {"rotation": answers.JOURNAL, "closed": answers.CLOSED})}}


def begin(folder: Path, hosts: audit.Hosts, told: Mapping[str, str], check_mode: bool) -> int:
    """Begin the log with what the hosts know; return how many rotations that are. KeyturnError where there is one."""
    check_reason(told["reason"], "keyturn_log_from_hosts")
    kept = [path.name for path in (folder / rotation_log.LINES, *sorted(folder.glob("2*.json"))) if path.exists()]
    if kept:
        raise KeyturnError(
            f"{folder} has {kept[0]}, so nothing was begun: a log goes on, and reports vouch for the log that they were written with. "
            "Bring back what is missing, or move the folder away as it is"
        )
    silent = sorted(name for name, said in hosts.items() if said is None)
    if silent:
        raise KeyturnError(
            f"{', '.join(silent)} gave no answer, and what it knows would be missing for good: nothing was begun"
        )
    closed = {name: said["closed"] for name, said in hosts.items() if said}
    known = sorted({rotation_id for past in closed.values() for rotation_id in past})
    entries = [rotation_log.setup(told["environment"], utc_now()) | {"taken_over": told["reason"]}]
    for rotation_id in known:
        ends = {name: past[rotation_id] for name, past in closed.items() if rotation_id in past}
        who = told["operator"] or request.operator(os.environ)
        entries.append(rotation_log.taken_over(rotation_id, ends, told["environment"], told["reason"], who))
    if not check_mode:
        rotation_log.begin_anew(folder, entries)
    return len(known)


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Follow the chain, ask for each head that a report, or a person, has kept, and for what the hosts have committed."""
    folder = Path(parameters["folder"])
    reports = report.documents(folder)
    if parameters["begin"]["reason"]:
        begun = begin(folder, parameters["hosts"], parameters["begin"], check_mode)
        if check_mode:
            return {
                "changed": True,
                "log": {},
                "text": f"the log would begin with {begun} rotations that the hosts know",
            }
    records = rotation_log.read(folder)
    anchors = audit.anchors(parameters["hosts"], records)
    heads = audit.heads(folder, reports) | anchors
    if parameters["head"]:
        heads["keyturn_log_head"] = {"hash": parameters["head"]}
    found = rotation_log.verify(folder, heads)
    signed = signatures.told(folder / rotation_log.LINES, records, parameters["allowed_signers"])
    unknown = [*status.unreported_lines(audit.unreported(reports, parameters["hosts"], records))]
    if unknown:
        lost = (
            ""
            if found["records"]
            else "; if log and reports are lost, begin them anew: -e keyturn_log_from_hosts=REASON"
        )
        raise KeyturnError(f"{folder} does not know what its hosts do: {'; '.join(unknown)}{lost}")
    silent = sorted(name for name, said in parameters["hosts"].items() if said is None)
    last = f"record {found['head']['number']}, {found['head']['hash']}" if found["head"] else "none"
    lines = [
        f"log        {folder / rotation_log.LINES}",
        f"chain      whole: {found['records']} records, {found['sealed']} lines older than the chain",
        f"heads      {len(heads)} are where they were, {len(anchors)} of them kept by hosts",
        f"signatures {signed}",
        f"log head   {last}",
        *(f"begun      anew from the hosts: {one['taken_over']}" for one in records[:1] if "taken_over" in one),
        *([f"hosts      no answer from {', '.join(silent)}: what they know was not compared"] if silent else []),
    ]
    return {"changed": bool(parameters["begin"]["reason"]), "log": found, "text": "\n".join(lines)}
