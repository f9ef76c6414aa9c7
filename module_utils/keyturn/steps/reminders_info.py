"""The action ``keyturn_reminders_info``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from .. import incident
from ..base import durable, timestamps
from ..incident import reminders
from ..inputs.validation import Answer, Parameters


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Reckon what is overdue and what is nearly due."""
    folder, now = Path(parameters["folder"]), datetime.now(UTC)
    status: reminders.Status | None = durable.read_json(folder / "status.json", reminders.STATUS)
    found = reminders.reminders(status or {}, incident.read_all(folder), parameters["links"] or str(folder), now)
    return {"changed": False, "reminders": found, "at": timestamps.text(now)}
