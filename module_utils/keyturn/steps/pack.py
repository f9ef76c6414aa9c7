"""The action ``keyturn_pack``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ..base import durable, seal
from ..base.errors import KeyturnError
from ..inputs.reason import check_reason
from ..inputs.validation import Answer, Parameters
from ..records import evidence, pack, signatures

FOLDER = "audits"


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Pack the evidence of a period; the same records give the same archive."""
    folder, when = Path(parameters["folder"]), pack.period(parameters["begin"], parameters["end"])
    if parameters["allowed_signers"]:
        signatures.check_file(Path(parameters["allowed_signers"]))
    words = {
        "environment": folder.name,
        "fault": pack.fault(folder, parameters["allowed_signers"]),
        "reason": parameters["reason"],
    }
    if words["fault"]:
        _check_reason(words)
    found, counts = pack.members(folder, when, parameters["allowed_signers"], words)
    path = folder / FOLDER / f"{folder.name}-{when.begin}-{when.end}.tar.gz"
    _check_writable(path.parent)
    archive = evidence.archive(found, int(datetime.fromisoformat(when.end).replace(tzinfo=UTC).timestamp()))
    changed = not path.exists() or path.read_bytes() != archive
    if changed and not check_mode:
        durable.make_reports_folder(path.parent)
        durable.write_file(path, archive)
    lines = [
        f"evidence   {path}{', which would be written' if changed and check_mode else ''}",
        f"period     {when.begin} to {when.end}: {', '.join(f'{count} {name}' for name, count in counts.items())}",
        f"sha256     {seal.digest(archive)}",
        *([f"LOG        does not verify, and VERIFY.md says so: {words['fault']}"] if words["fault"] else []),
        f"verify     mkdir evidence && tar -xzf {path.name} -C evidence, then what VERIFY.md in it says",
    ]
    return {"changed": changed, "path": str(path), "sha256": seal.digest(archive), "text": "\n".join(lines)}


def _check_reason(words: Mapping[str, str]) -> None:
    if not words["reason"]:
        raise KeyturnError(
            f"the log does not verify: {words['fault']}; nothing was packed. Find out why by verify_log.yml, or pack it as it is, with "
            "the fault told inside: -e keyturn_log_broken=REASON"
        )
    check_reason(words["reason"], "keyturn_log_broken")


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made, or written in."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise KeyturnError(
            f"{there} cannot be written by the user {os.geteuid()}: run as its owner, or bring reports and log to a folder that you can "
            "write, and name that by keyturn_reports_dir; nothing was packed"
        )
