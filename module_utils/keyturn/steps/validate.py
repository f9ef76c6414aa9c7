"""The action ``keyturn_validate``."""

from __future__ import annotations

from pathlib import Path

from ..inputs.application import Application
from ..inputs.mistakes import missing, mistakes
from ..inputs.validation import Answer, Parameters


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Say all that is wrong with an application's folder."""
    application = Application(Path(parameters["folder"]))
    found, left = mistakes(application, parameters["secrets"]), missing(application)
    lines = [f"application {application.name} in {application.folder}", *found, *left]
    if not found:
        lines.insert(1, f"nothing is wrong with {', '.join(parameters['secrets'])}")
    return {"changed": False, "mistakes": found, "text": "\n".join(lines)}
