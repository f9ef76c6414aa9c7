"""What people have to be reminded of: secrets that are overdue, and points of an incident whose deadline is near."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from .. import incident
from ..base import timestamps

Reminder = dict[str, Any]
LINE = {"title": str, "state?": str, "last_rotated?": (None, timestamps.SHAPE), "max_age_days?": (None, int)}
# what is read of the last status
STATUS = {"secrets?": (None, {"*": LINE})}


def reminders(
    status: Mapping[str, Any], incidents: Sequence[incident.Document], links: str, now: datetime
) -> list[Reminder]:
    """Return the event, the identity and the facts of each. ``status`` is that of the environment, as status.yml wrote it last.

    The identity holds the day or the deadline: one message for each.
    """
    found = [
        _overdue(name, line) for name, line in (status.get("secrets") or {}).items() if line.get("state") == "overdue"
    ]
    return found + [_near(one, links) for one in incident.near(incidents, now)]


def _overdue(secret: str, line: Mapping[str, Any]) -> Reminder:
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
