"""The action ``keyturn_due_info``."""

from __future__ import annotations

from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

from ..base import timestamps
from ..base.errors import KeyturnError
from ..fleet import answers, recovery, schedule
from ..host.journal import RECOVERY
from ..inputs.validation import Answer, Parameters
from ..providers.supplied import by_a_person
from ..records import report, rotation_log, status
from .status import entries


def shape(parameters: Parameters) -> object:
    """Return what this rests on."""
    return {"hosts": answers.state(parameters["secrets"])}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Return the calendar, and what is to be turned now, in its order; nothing while the window is closed."""
    now = datetime.now(UTC)
    schedule.check_window(parameters["window"])
    if parameters["grace_days"] < 0:
        raise KeyturnError("keyturn_grace_days is the number of days before the due date: it cannot be negative")
    silent = sorted(name for name, said in parameters["hosts"].items() if said is None)
    if silent:
        raise KeyturnError(f"no answer from {', '.join(silent)}: nobody knows what is due there; nothing was rotated")
    folder = Path(parameters["folder"])
    if opened := recovery.places(dict(filter(itemgetter(1), parameters["hosts"].items())), report.begun(folder)):
        raise KeyturnError(f"rotation {opened} is open: {RECOVERY}; nothing was rotated")
    records = rotation_log.read(folder)
    told = entries(parameters["secrets"])
    secrets = status.status(told, parameters["hosts"], now, records=records)["secrets"]
    brought = {name for name, entry in told.items() if by_a_person(entry)}
    lines = schedule.calendar(secrets, parameters["grace_days"], parameters["window"], now, brought)
    wanted = [line["secret"] for line in lines if line["turn"]]
    inside = schedule.is_open(parameters["window"], now)
    text = [schedule.table(lines), "", _sentence(wanted, inside, parameters["window"], now)]
    if late := [name for name in secrets if name in brought and secrets[name]["state"] in ("due", "overdue")]:
        text.append(f"a person brings the new value of {', '.join(late)}, which is due: none of them is turned here")
    return {"changed": False, "calendar": lines, "turn": wanted if inside else [], "text": "\n".join(text)}


def _sentence(wanted: list[str], inside: bool, window: schedule.Window, now: datetime) -> str:
    if not wanted:
        return "nothing is due"
    if inside:
        return f"due now, in this order: {', '.join(wanted)}"
    opens = timestamps.text(schedule.next_opening(window, now))
    return f"due: {', '.join(wanted)}; the maintenance window is closed until {opens}, so nothing is turned now"
