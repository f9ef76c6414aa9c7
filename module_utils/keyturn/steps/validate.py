"""The action ``keyturn_validate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..inputs.application import Application
from ..inputs.mistakes import missing, mistakes


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Say all that is wrong with an application's folder."""
    application = Application(Path(given["folder"]))
    found, left = mistakes(application, given["secrets"]), missing(application)
    lines = [f"application {application.name} in {application.folder}", *found, *left]
    if not found:
        lines.insert(1, f"nothing is wrong with {', '.join(given['secrets'])}")
    return {"changed": False, "mistakes": found, "text": "\n".join(lines)}
