"""The life of a secret as a line through time: inline SVG, placed by shares of its width, so that it fits any page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import NamedTuple

from ..base import timestamps
from .rotation_log import COMMITTED
from .shapes import Event

AT_LEAST = timedelta(days=90)
AT_MOST = timedelta(days=3 * 365)
AHEAD = timedelta(days=98)
# months between the marks of the axis, the first that gives few enough of them for a narrow page
STEPS = (1, 2, 3, 6, 12)
MARKS = 6
# where things lie, from above: failures, the line with its bars of downtime, what a revocation and an incident last
HEIGHT, FAILED, LINE, REVOKED, INCIDENT = 70, 8, 40, 55, 65
LOWEST, HIGHEST = 8, 24
# the form says what the colour says: a page may be printed, or read by somebody who sees no difference
SHAPES = {
    "rotation": '<circle r="5"/>',
    "failure": '<path class="thin" d="M-5-5 5 5M-5 5 5-5"/>',
    "revocation": '<path class="thin" d="M0-4V4M0 0H6"/>',
    "incident": '<path d="M0-5 5 0 0 5-5 0Z"/>',
    "due": '<path class="hollow" d="M-5-6H5L0 3Z"/>',
}
GOOD = (*COMMITTED, "proved dead", "affected secrets dead", "waits")
BAD = ("open", "affected secrets live", "overdue", "rolled_back", "interrupted", "needs_attention", "committed_in_part")


class Span(NamedTuple):
    """The time that is shown, and when now is."""

    begin: datetime
    end: datetime
    now: datetime

    def place(self, said: str) -> float:
        """Return where a moment lies, in hundredths of the width; what is outside lies at the edge."""
        whole = (self.end - self.begin).total_seconds()
        return 100.0 * min(1.0, max(0.0, (timestamps.parse(said) - self.begin).total_seconds() / whole))


def span(events: Sequence[Event], now: datetime) -> Span:
    """Return the time from the first of the events, or a quarter of a year ago, to a quarter of a year ahead."""
    first = min((timestamps.parse(one["at"]) for one in events), default=now)
    return Span(max(now - AT_MOST, min(first, now - AT_LEAST)), now + AHEAD, now)


def klass(kind: str) -> str:
    """Return the class of a kind of events, which is no colour's: a due date may be overdue."""
    return f"kind-{kind}"


def colour(event: Event) -> str:
    """Return the class of an event's colour."""
    if event["state"] in GOOD:
        seconds, budget = event["downtime_seconds"], event["downtime_budget_seconds"]
        over = seconds and budget is not None and seconds > budget
        return "overdue" if over else "ok"
    return "overdue" if event["state"] in BAD else "due"


def symbol(kind: str, tone: str = "") -> str:
    """Return the sign of a kind of events, for a line of text."""
    return (
        f'<svg class="sign {tone}" width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">{SHAPES[kind]}</svg>'
    )


def axis(time: Span) -> str:
    """Return the months above the lines."""
    marks = [
        _at(time.place(at), 0, f'<path class="tick" d="M0 14V20"/><text y="10">{name}</text>')
        for at, name in _months(time)
    ]
    return f'<svg class="axis" height="20" aria-hidden="true">{"".join(marks)}</svg>'


def _months(time: Span) -> Iterator[tuple[str, str]]:
    first, last = (moment.year * 12 + moment.month - 1 for moment in (time.begin, time.end))
    step = next((step for step in STEPS if (last - first) / step <= MARKS), STEPS[-1])
    for month in range(first + 1, last + 1):
        if month % step == 0:
            year, number = divmod(month, 12)
            yield f"{year}-{number + 1:02}-01T00:00:00Z", f"{year}-{number + 1:02}"


def svg(events: Sequence[Event], time: Span, title: str) -> str:
    """Return the line of one secret, with all its ``events``."""
    now = time.place(timestamps.text(time.now))
    parts = [
        *(_at(time.place(at), 0, f'<path class="tick" d="M0 0V{HEIGHT}"/>') for at, _ in _months(time)),
        f'<line class="track" x1="0" x2="100%" y1="{LINE}" y2="{LINE}"/>',
        f'<line class="now" x1="{now:.2f}%" x2="{now:.2f}%" y1="0" y2="{HEIGHT}"/>',
        *(_mark(one, time) for one in events),
    ]
    return f'<svg class="life" height="{HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _at(place: float, y: int, drawn: str) -> str:
    return f'<svg x="{place:.2f}%" y="{y}" overflow="visible">{drawn}</svg>'


def _mark(event: Event, time: Span) -> str:
    kind, place = event["kind"], time.place(event["at"])
    drawn = {"revocation": _lasting, "incident": _lasting, "rotation": _downtime, "failure": _downtime}.get(kind)
    more = drawn(event, place, time) if drawn else ""
    y = {"failure": FAILED, "revocation": REVOKED, "incident": INCIDENT}.get(kind, LINE)
    sign = _at(place, y, SHAPES[kind])
    return f'<g class="{klass(kind)} {colour(event)}"><title>{escape(words(event))}</title>{more}{sign}</g>'


def _lasting(event: Event, place: float, time: Span) -> str:
    """Return how long a revocation or an incident lasts; one that is open goes on until now, and is dashed."""
    y = REVOKED if event["kind"] == "revocation" else INCIDENT
    end = time.place(event["until"] or timestamps.text(time.now))
    dashed = "" if event["until"] else " open"
    return f'<line class="lasting{dashed}" x1="{place:.2f}%" x2="{end:.2f}%" y1="{y}" y2="{y}"/>'


def _downtime(event: Event, place: float, time: Span) -> str:
    """Return the downtime as a bar on the line: as high as it may be where it has used its budget."""
    seconds, budget = event["downtime_seconds"], event["downtime_budget_seconds"]
    if not seconds:
        return ""
    top = LINE - LOWEST - (HIGHEST - LOWEST) * min(1.0, seconds / budget if budget else 1.0)
    return f'<line class="down" x1="{place:.2f}%" x2="{place:.2f}%" y1="{LINE}" y2="{top:.1f}"/>'


def words(event: Event) -> str:
    """Return an event as one sentence."""
    until = f" to {event['until']}" if event["until"] and event["until"] != event["at"] else ""
    down = f", down for {event['downtime_seconds']:.1f} s" if event["downtime_seconds"] else ""
    detail = f": {event['detail']}" if event["detail"] else ""
    return f"{event['kind']}, {event['state']}, {event['at']}{until}{down}{detail}"
