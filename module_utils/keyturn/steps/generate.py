"""The action ``keyturn_generate``."""

from __future__ import annotations

from pathlib import Path

from ..base import durable
from ..base.errors import KeyturnError
from ..base.fingerprint import fingerprint
from ..base.generate import GENERATORS
from ..inputs.validation import Answer, Parameters


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Write the file; a relative path starts where the run was started."""
    named = Path(parameters["dest"])
    dest = named.parent.resolve() / named.name
    if dest.exists() or dest.is_symlink():
        raise KeyturnError(f"{dest} exists: choose a new file, a value is never overwritten")
    if not dest.parent.is_dir():
        raise KeyturnError(f"{dest.parent} is not a folder")
    if check_mode:
        return {"changed": True, "path": str(dest)}
    value = GENERATORS[parameters["kind"]]()
    name = f"{parameters['variable']}=" if parameters["variable"] else ""
    durable.write_file(dest, f"{name}{value}\n".encode())
    return {"changed": True, "path": str(dest), "fingerprint": fingerprint(value)}
