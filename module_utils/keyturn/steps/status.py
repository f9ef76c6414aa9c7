"""The action ``keyturn_status``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from .. import incident
from ..base import durable
from ..fleet import abandoned, answers, schedule
from ..inputs import catalogue
from ..inputs.catalogue import Entry
from ..inputs.typed import typed
from ..inputs.validation import Answer, Parameters, validated
from ..notices import outbox
from ..providers.supplied import by_a_person
from ..records import attention, audit, lives, rotation_log, status_csv, status_page
from ..records import status as reckoning
from ..records.shapes import Status

NAMED = True  # it is told which inventories this run was given
WRITTEN = {"page": "html", "table": "csv", "data": "json"}


def shape(parameters: Parameters) -> object:
    """Return what this rests on."""
    policy = {"checklist": answers.POINTS, "review": {"next": str}}
    return {"hosts": answers.state(parameters["secrets"]), "policy": policy}


def run(parameters: Parameters, check_mode: bool, named: Sequence[str] = ()) -> Answer:
    """Reckon and write the status, for a program and for a person, who gets commands that can be typed (``typed.py``)."""
    folder = Path(parameters["folder"])
    schedule.check_window(parameters["window"])
    answered = {name: said for name, said in parameters["hosts"].items() if said}
    ended = abandoned.close(folder, answered, "status.yml", check_mode)
    found = reckoned(parameters, folder, datetime.now(UTC))
    told = [f"rotation {one}: {abandoned.WORDS}" for one in ended]
    told += [] if check_mode else _write(folder, found, named)
    return {"changed": bool(ended), "status": found, "text": "\n".join([reckoning.table(found), *told])}


def reckoned(parameters: Parameters, folder: Path, now: datetime) -> Status:
    """Return the status as it is at a moment, from the hosts' answers and all that the environment's folder holds."""
    secrets, hosts = entries(parameters["secrets"]), parameters["hosts"]
    records = audit.look(folder, secrets, parameters["policy"], now, hosts, parameters["allowed_signers"])
    records["review"]["late"] = records["review"].get("late", False) and parameters["production"]
    found = reckoning.status(secrets, hosts, now, records, rotation_log.read(folder))
    found["calendar"] = schedule.calendar(found["secrets"], parameters["grace_days"], parameters["window"], now)
    found["unsent"] = outbox.open_lines(folder)
    found["incidents"] = incident.summaries(folder, now)
    coming = lives.of_calendar(found["calendar"], found["at"])
    found["events"] = lives.in_order([*found["events"], *lives.of_incidents(incident.read_all(folder)), *coming])
    found["attention"] = attention.now(found, hosts, [name for name, entry in secrets.items() if by_a_person(entry)])
    return found


def _write(folder: Path, found: Status, named: Sequence[str]) -> list[str]:
    """Write the status in its three forms, and return the lines that say where."""
    durable.make_reports_folder(folder)
    durable.write_json(folder / "status.json", found)
    durable.write_file(
        folder / "status.html", typed(status_page.render(found, folder.name), map(escape, named)).encode()
    )
    durable.write_file(folder / "status.csv", status_csv.render(found).encode())
    return ["", *(f"{what:<12}{folder / f'status.{end}'}" for what, end in WRITTEN.items())]


def entries(secrets: Mapping[str, object]) -> dict[str, Entry]:
    """Return the catalogue with its defaults."""
    return {name: validated(f"keyturn_secrets.{name}", catalogue.ENTRY, entry) for name, entry in secrets.items()}
