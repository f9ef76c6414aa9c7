"""What people have to be reminded of: secrets that are overdue, and points of an incident whose deadline is near."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NotRequired, TypedDict

from .. import incident
from ..base import timestamps
from .shapes import Document

LINE = {"title": str, "state?": str, "last_rotated?": (None, timestamps.SHAPE), "max_age_days?": (None, int)}
# what is read of the last status
STATUS = {"secrets?": (None, {"*": LINE})}


class Line(TypedDict):
    """A secret in the last status."""

    title: str
    state: NotRequired[str]
    last_rotated: NotRequired[str | None]
    max_age_days: NotRequired[int | None]


class Status(TypedDict, total=False):
    """What is read of the last status."""

    secrets: Mapping[str, Line] | None


class Reminder(TypedDict):
    """A message that is still to be written: its event, its identity, and what stands in it."""

    event: str
    id: str
    facts: Mapping[str, object]


def reminders(status: Status, incidents: Sequence[Document], links: str, now: datetime) -> list[Reminder]:
    """Return the event, the identity and the facts of each. ``status`` is that of the environment, as status.yml wrote it last.

    The identity holds the day or the deadline: one message for each.
    """
    found = [
        _overdue(name, line) for name, line in (status.get("secrets") or {}).items() if line.get("state") == "overdue"
    ]
    return found + [_near(one, links) for one in incident.near(incidents, now)]


def _overdue(secret: str, line: Line) -> Reminder:
    last = line.get("last_rotated") or "never"
    facts = {"title": line["title"], "last_rotated": last, "max_age_days": line.get("max_age_days") or "some"}
    return {"event": "overdue", "id": f"{secret}-{last[:10]}", "facts": facts}


def _near(point: incident.Open, links: str) -> Reminder:
    facts = {
        "incident": point.incident,
        "point": point.point,
        "task": point.task,
        "due": timestamps.text(point.due),
        "link": f"{links}/{incident.FOLDER}/{point.incident}/{incident.MARKDOWN}",
    }
    return {"event": "deadline_near", "id": f"{point.incident}-{point.point}", "facts": facts}
