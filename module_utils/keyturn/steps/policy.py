"""The action ``keyturn_policy``."""

from __future__ import annotations

import os
from pathlib import Path

from ..base import durable
from ..inputs.validation import Answer, Parameters
from ..records import policy, rotation_log


def shape(parameters: Parameters) -> object:
    """Return what this rests on: an entry for each secret that the policy names."""
    entry = {"variables": [str], "max_age_days?": (None, int)}
    named = {secret: entry for part in ("schedule", "triggers") for secret in parameters["policy"].get(part, {})}
    return {"secrets": {**named, "*": entry}}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Render the page, with the dates of an environment where its folder of reports is given."""
    folder = Path(parameters["folder"]) if parameters["folder"] else None
    records = rotation_log.read(folder) if folder else []
    text = policy.render(parameters["policy"], parameters["secrets"], records, folder.name if folder else "").encode()
    dest = Path(parameters["dest"])
    changed = not dest.exists() or dest.read_bytes() != text
    if changed and not check_mode:
        dest.parent.mkdir(parents=True, exist_ok=True)
        durable.write_file(dest, text, lambda fd: os.fchmod(fd, 0o644))
    return {"changed": changed, "path": str(dest)}
