"""When secrets are due, in which order they are turned, and the window in which that may happen. All times are UTC."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypedDict

from ..base import timestamps
from ..base.errors import KeyturnError
from ..records.shapes import CalendarLine, StatusLine

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
# the maintenance window; an empty one is always open
Window = TypedDict("Window", {"days": Sequence[str], "from": str, "to": str}, total=False)


def calendar(
    secrets: Mapping[str, StatusLine], grace_days: int, window: Window, now: datetime, brought: Collection[str] = ()
) -> list[CalendarLine]:
    """Return a line for each secret, those to turn first in front. ``secrets`` are of ``status``, with the catalogue's ``switch``.

    A secret is turned from ``grace_days`` before its due date on, and at once when it never was. One that is turned
    on events only is never due; its age is shown. A batch of one host finds out what is wrong with less harm than a switch of
    all hosts does, so what is switched host by host goes first; then what is older beyond its limit. What a person has to bring
    (``brought``) is due as well, and turned by nobody else.
    """
    lines = [_line(name, line, grace_days, window, now) for name, line in secrets.items()]
    lines = [{**line, "turn": line["turn"] and line["secret"] not in brought} for line in lines]
    return sorted(
        lines, key=lambda line: (not line["turn"], line["switch"] != "rolling", line["due"] or "9999", line["secret"])
    )


def _line(name: str, line: StatusLine, grace_days: int, window: Window, now: datetime) -> CalendarLine:
    limit, last = line["max_age_days"], line["last_rotated"]
    due = timestamps.parse(last) + timedelta(days=limit) if limit and last else now if limit else None
    opens = next_opening(window, max(now, due - timedelta(days=grace_days))) if due else None
    return {
        "secret": name,
        "title": line["title"],
        "unused": line["unused"],
        "switch": line["switch"],
        "age_days": line["age_days"],
        "max_age_days": limit,
        "due": timestamps.text(due) if due else None,
        "next_window": timestamps.text(opens) if opens else None,
        "turn": bool(due and due - timedelta(days=grace_days) <= now),
    }


def check_window(window: Window) -> None:
    """Raise KeyturnError for a window that can never open. An empty one is always open."""
    if not window:
        return
    where = "keyturn_maintenance_window"
    unknown = sorted(set(window) - {"days", "from", "to"})
    if unknown:
        raise KeyturnError(f"{where} has {', '.join(unknown)}, and knows days, from and to")
    for name in ("from", "to"):
        if not CLOCK.fullmatch(str(window.get(name, ""))):
            raise KeyturnError(f'{where}.{name} must be a time in UTC such as "02:00", in quotes')
    if window["from"] == window["to"]:
        raise KeyturnError(f"{where} begins and ends at {window['from']}: it never opens")
    days = window.get("days", DAYS)
    if not isinstance(days, list | tuple) or not days or any(day not in DAYS for day in days):
        raise KeyturnError(f"{where}.days must be a list of {', '.join(DAYS)}")


def is_open(window: Window, now: datetime) -> bool:
    """Tell whether ``now`` is in the window. One that ends before it begins goes on after midnight, of the day it began on."""
    if not window:
        return True
    return any(begin <= now < begin + _length(window) for begin in _beginnings(window, now - timedelta(days=1), 2))


def next_opening(window: Window, after: datetime) -> datetime:
    """Return the first time from ``after`` on at which the window is open."""
    if is_open(window, after):
        return after
    return next(begin for begin in _beginnings(window, after, 9) if begin >= after)


def _beginnings(window: Window, first: datetime, days: int) -> list[datetime]:
    hour, minute = map(int, str(window["from"]).split(":"))
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    found = [midnight + timedelta(days=number, hours=hour, minutes=minute) for number in range(days)]
    return [begin for begin in found if DAYS[begin.weekday()] in window.get("days", DAYS)]


def _length(window: Window) -> timedelta:
    (from_hour, from_minute), (to_hour, to_minute) = (map(int, str(window[name]).split(":")) for name in ("from", "to"))
    return timedelta(minutes=((to_hour - from_hour) * 60 + to_minute - from_minute) % (24 * 60))


def table(lines: Sequence[CalendarLine]) -> str:
    """Return the calendar for a person."""
    wide = max([11, *(len(line["secret"]) for line in lines)]) + 1
    rows = [f"{'secret':<{wide}}{'age':<12}{'due':<13}{'next window':<22}what happens"]
    for line in lines:
        age = "-" if line["age_days"] is None else f"{line['age_days']} d"
        limit = f" / {line['max_age_days']} d" if line["max_age_days"] else ""
        idle = "is not used here" if line["unused"] else "is turned on events only"
        what = "is turned" if line["turn"] else "waits" if line["due"] else idle
        due, opens = (line["due"] or "-")[:10], line["next_window"] or "-"
        rows.append(f"{line['secret']:<{wide}}{age + limit:<12}{due:<13}{opens:<22}{what}")
    return "\n".join(rows)
