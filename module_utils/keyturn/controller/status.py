"""The action ``keyturn_status``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import audit, catalogue, durable, incident, outbox, schedule, status_page
from .. import status as reckoning
from ..ansible_module import validated

ARGUMENTS: dict[str, Any] = {
    "secrets": {"type": "dict", "required": True},
    "hosts": {"type": "dict", "required": True},
    "folder": {"type": "path", "required": True},
    "policy": {"type": "dict", "required": True},
    "window": {"type": "dict", "default": {}},
    "grace_days": {"type": "int", "default": 7},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Reckon and write the status, for a program and for a person."""
    secrets = entries(given["secrets"])
    folder = Path(given["folder"])
    now = datetime.now(UTC)
    schedule.check_window(given["window"])
    found = reckoning.status(secrets, given["hosts"], now, audit.look(folder, secrets, given["policy"], now))
    found["calendar"] = schedule.calendar(found["secrets"], given["grace_days"], given["window"], now)
    found["unsent"] = outbox.open_lines(folder)
    found["incidents"] = incident.summaries(folder, now)
    if not check_mode:
        durable.make_reports_folder(folder)
        durable.write_json(folder / "status.json", found)
        durable.write_file(folder / "status.html", status_page.render(found, folder.name).encode())
    return {"changed": False, "status": found, "text": reckoning.table(found)}


def entries(secrets: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the catalogue with its defaults."""
    return {name: validated(f"keyturn_secrets.{name}", catalogue.ENTRY, entry) for name, entry in secrets.items()}
