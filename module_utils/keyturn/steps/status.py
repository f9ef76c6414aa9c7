"""The action ``keyturn_status``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import incident
from ..base import durable
from ..fleet import abandoned, answers, schedule
from ..inputs import catalogue
from ..inputs.validation import Answer, Parameters, validated
from ..notices import outbox
from ..records import audit, status_page
from ..records import status as reckoning


def shape(given: Parameters) -> Any:
    """Return what this rests on."""
    policy = {"checklist": answers.POINTS, "review": {"next": str}}
    return {"hosts": answers.state(given["secrets"]), "policy": policy}


def run(given: Parameters, check_mode: bool) -> Answer:
    """Reckon and write the status, for a program and for a person."""
    secrets = entries(given["secrets"])
    folder = Path(given["folder"])
    now = datetime.now(UTC)
    schedule.check_window(given["window"])
    answered = {name: said for name, said in given["hosts"].items() if said}
    ended = abandoned.close(folder, answered, "status.yml", check_mode)
    records = audit.look(folder, secrets, given["policy"], now, given["hosts"], given["allowed_signers"])
    found = reckoning.status(secrets, given["hosts"], now, records)
    found["calendar"] = schedule.calendar(found["secrets"], given["grace_days"], given["window"], now)
    found["unsent"] = outbox.open_lines(folder)
    found["incidents"] = incident.summaries(folder, now)
    if not check_mode:
        durable.make_reports_folder(folder)
        durable.write_json(folder / "status.json", found)
        durable.write_file(folder / "status.html", status_page.render(found, folder.name).encode())
    told = [f"rotation {one}: {abandoned.WORDS}" for one in ended]
    told += [] if check_mode else [f"page        {folder / 'status.html'}"]
    return {"changed": bool(ended), "status": found, "text": "\n".join([reckoning.table(found), *told])}


def entries(secrets: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the catalogue with its defaults."""
    return {name: validated(f"keyturn_secrets.{name}", catalogue.ENTRY, entry) for name, entry in secrets.items()}
