"""The action ``keyturn_adopt``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ..base import durable
from ..base.errors import KeyturnError
from ..fleet import answers
from ..fleet.draft import draft
from ..inputs.application import NAME
from ..inputs.validation import Answer, Parameters

SHAPE = {"hosts": {"*": answers.SURVEY}}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Write a first folder for the application that was looked at; a relative path starts where the run was started."""
    folder = Path(parameters["dest"]).resolve()
    if not NAME.fullmatch(folder.name):
        raise KeyturnError(
            f"{folder}: the last part is the application's name: small letters, digits and _, a letter first"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KeyturnError(f"{folder} is there already: name a new folder, nothing is written over")
    found = draft(folder.name, Path(parameters["root"]), parameters["hosts"], datetime.now(UTC).date())
    if not check_mode:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in found.files.items():
            durable.write_file(folder / name, text.encode())
    would = "would be written" if check_mode else "written"
    lines = [f"{folder} {would}: {', '.join(found.files)}", *(f"open: {question}" for question in found.questions)]
    return {"changed": True, "folder": str(folder), "questions": found.questions, "text": "\n".join(lines)}
