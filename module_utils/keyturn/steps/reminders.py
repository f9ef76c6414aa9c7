"""The action ``keyturn_reminders``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import incident
from ..base import durable, moments
from ..incident import reminders


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Reckon what is overdue and what is nearly due."""
    folder, now = Path(given["folder"]), datetime.now(UTC)
    status = durable.read_json(folder / "status.json", reminders.STATUS) or {}
    found = reminders.reminders(status, incident.read_all(folder), given["links"] or str(folder), now)
    return {"changed": False, "reminders": found, "at": moments.text(now)}
