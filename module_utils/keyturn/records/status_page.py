"""The status as one HTML page that needs nothing else: no network, no script, both colour schemes, wide, narrow or on paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from ..base import timestamps
from . import life_line, lives
from .shapes import Chain, Event, Past, Status
from .status_csv import age
from .status_style import STYLE

# what a kind of events is called above its filter
NAMES = {
    "rotation": "rotations, and how long they were down",
    "failure": "failures",
    "revocation": "revocations",
    "incident": "incidents",
    "due": "due dates",
}


def render(found: Status, environment: str) -> str:
    """Return the page of a status with its ``attention``, ``events`` and ``calendar``, and what the records say (``audit.look``)."""
    secrets = _secrets(found)
    parts = [
        *_now(found, environment),
        *_lives(found, secrets),
        *_coming(found),
        *_events(found["events"], secrets),
        *_checklists(found["timeline"]),
        *_log(found["log"]),
        *_others(found["environments"]),
        '<p class="quiet">The same as tables: <a href="status.csv">status.csv</a>, <a href="status.json">status.json</a></p>',
    ]
    count = len(found["attention"])
    title = f"{environment}: {f'{count} need you' if count else 'nothing needs you'}"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}{_filters(secrets)}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _secrets(found: Status) -> dict[str, str]:
    """Return the class of each secret: those of the catalogue, then those that only the records know."""
    names = dict.fromkeys([*found["secrets"], *(one["secret"] for one in found["events"])])
    return {name: f"secret-{number}" for number, name in enumerate(names)}


def _state(state: str, text: str = "") -> str:
    return f'<span class="state {escape(state)}">{escape(text or state)}</span>'


def _time(said: str | None, begin: int = 0) -> str:
    """Return a moment to the minute, from a place of its text on; the whole of it is for a program."""
    if not said:
        return ""
    return f'<time datetime="{escape(said)}">{escape(said[begin:16].replace("T", " "))}</time>'


def _table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], classes: Iterator[str] | None = None
) -> str:
    """Return a table; the cells are HTML already, the first of each row is its heading."""
    lines = []
    for first, *others in rows:
        cells = [f'<td data-name="{escape(name)}">{cell}</td>' for name, cell in zip(head[1:], others, strict=True)]
        named = f' class="{next(classes)}"' if classes else ""
        lines.append(f'<tr{named}><th scope="row">{first}</th>{"".join(cells)}</tr>')
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "\n".join(lines)
    return f"<table>\n<caption>{escape(caption)}</caption>\n<thead><tr>{columns}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _now(found: Status, environment: str) -> list[str]:
    """Return what needs somebody: the first of it is the heading of the page."""
    review = found["review"]
    said = f'<p class="quiet">at {_time(found["at"])}, as all times in UTC; the policy is reviewed on {escape(review["next"])}</p>'
    if not found["attention"]:
        return [f"<h1>{escape(environment)}: nothing needs you</h1>", said]
    first, *others = found["attention"]
    more = (
        ["<p>And then:</p>", '<ol start="2">', *(f"<li>{_said(one)}</li>" for one in others), "</ol>"] if others else []
    )
    return [f"<h1>{escape(environment)} is {_said(first)}</h1>", said, *more]


def _said(one: Mapping[str, str]) -> str:
    return f"{_state(one['state'])}: {escape(one['text'])}"


# -- lives, and what of them is shown ----------------------------------------------------------------------------------


def _filters(secrets: Mapping[str, str]) -> str:
    """Return the rules by which a box that is not ticked hides what bears its class; on paper all of it is shown."""
    rules = [
        f":root:has(#show-{name}:not(:checked)) main .{name} {{ display: none; }}"
        for name in [*map(life_line.klass, NAMES), *secrets.values()]
    ]
    return "\n".join(["@media screen {", *rules, "}", ""])


def _boxes(legend: str, names: Mapping[str, str]) -> str:
    """Return a group of boxes, by the class that each hides; their labels are HTML already."""
    boxes = "".join(
        f'<span><input type="checkbox" id="show-{name}" checked autocomplete="off"><label for="show-{name}">{label}</label></span>'
        for name, label in names.items()
    )
    return f"<fieldset><legend>{escape(legend)}</legend>{boxes}</fieldset>"


def _lives(found: Status, secrets: Mapping[str, str]) -> list[str]:
    time = life_line.span(found["events"], timestamps.parse(found["at"]))
    kinds = {life_line.klass(kind): f"{life_line.symbol(kind)}{escape(text)}" for kind, text in NAMES.items()}
    return [
        "<h2>The life of each secret</h2>",
        _boxes("Show what", kinds),
        _boxes("Show which", {name: escape(secret) for secret, name in secrets.items()}),
        '<p class="quiet">A bar is a downtime, and full where it has used its budget. The dashed line is now.</p>',
        f'<div class="lines">{life_line.axis(time)}</div>',
        *(_life(found, name, klass, time) for name, klass in secrets.items()),
    ]


def _life(found: Status, name: str, klass: str, time: life_line.Span) -> str:
    events = [one for one in found["events"] if one["secret"] == name]
    line = found["secrets"].get(name)
    said = f"{_state(line['state'])}, {escape(age(line))}" if line else "not in the catalogue any more"
    title = escape(line["title"]) if line else ""
    return (
        f'<div class="secret {klass}"><h3>{title} ({escape(name)}) <span class="quiet">{said}</span></h3>'
        f'<div class="lines">{life_line.svg(events, time, f"{name}: {_counts(events)}")}</div></div>'
    )


def _counts(events: Sequence[Event]) -> str:
    kinds = [one["kind"] for one in events]
    counted = [
        f"{kinds.count(kind)} {kind}{'' if kinds.count(kind) == 1 else 's'}" for kind in lives.KINDS if kind in kinds
    ]
    return f"{', '.join(counted) or 'nothing'}; the table of events says when"


def _events(events: Sequence[Event], secrets: Mapping[str, str]) -> list[str]:
    past = [one for one in reversed(events) if one["kind"] != "due"]
    if not past:
        return ["<h2>Events</h2>", "<p>None yet.</p>"]
    rows = [
        (
            _when(one),
            escape(one["secret"]),
            f'<span class="whole">{life_line.symbol(one["kind"], life_line.colour(one))} {escape(one["kind"])}</span>',
            _state(life_line.colour(one), one["state"]),
            escape(_down(one)),
            escape(", ".join(filter(None, (one["by"], one["reason"], one["id"], one["detail"])))),
        )
        for one in past
    ]
    head = ("When", "Secret", "What", "State", "Down for", "By, why, which, and what stopped it")
    classes = (f"{life_line.klass(one['kind'])} {secrets[one['secret']]}" for one in past)
    return ["<h2>Events</h2>", _table("The newest first", head, rows, classes)]


def _when(one: Event) -> str:
    """Return from when to when; of one day the day once."""
    begun, ended = one["at"], one["until"]
    if not ended or ended[:16] == begun[:16]:
        return _time(begun)
    same = ended[:10] == begun[:10]
    return f"{_time(begun)} to {_time(ended, 11 if same else 0)}"


def _down(one: Event) -> str:
    return f"{one['downtime_seconds']:.1f} s of {one['downtime_budget_seconds']} s" if one["downtime_seconds"] else ""


# -- what else there is ------------------------------------------------------------------------------------------------


def _coming(found: Status) -> list[str]:
    now = timestamps.parse(found["at"])
    rows = []
    for line in found["calendar"]:
        if not line["due"]:
            continue
        left = (timestamps.parse(line["due"]) - now).days
        when = f"{-left} days ago" if left < 0 else f"in {left} days"
        state = "overdue" if left < 0 else "due" if line["turn"] else "ok"
        rows.append((escape(line["title"]), f"{_state(state, line['due'][:10])} ({when})", _time(line["next_window"])))
    if not rows:
        return []
    head = ("Secret", "Due", "Next window")
    return [
        "<h2>Coming rotations</h2>",
        _table("Due dates, and when the next run of rotate_due.yml may rotate them", head, rows),
    ]


def _checklists(timeline: Iterable[Past]) -> list[str]:
    parts = ["<h2>Checklists</h2>"]
    for one in timeline:
        points = one["checklist"]
        if not points:
            continue
        left = [point for point in points if point["state"] == "open"]
        signed = f"signed by {one['signer']}" if one["signer"] else "not signed"
        state = _state("ok", "closed") if one["closed"] else _state("due", f"not closed, {len(left)} open")
        lines = [
            f'<li>{_state(point["state"])} {escape(point["text"])}: <span class="quiet">{escape(point["detail"])}</span></li>'
            for point in points
        ]
        parts.append(
            f"<details{'' if one['closed'] else ' open'}><summary>{escape(one['title'])}, <code>{escape(one['rotation_id'])}</code>: "
            f"{state}, {escape(signed)}</summary>\n<ul>\n{''.join(lines)}\n</ul></details>"
        )
    return parts if len(parts) > 1 else [*parts, "<p>No rotation has committed yet.</p>"]


def _log(log: Chain) -> list[str]:
    head = log["head"]
    said = f"record {head['number']}, {head['hash']}" if head else "the log is empty"
    state = _state("broken", "broken") if log["problem"] else _state("ok", "the chain is whole")
    lines = [
        f"<p>{state}: {log['records']} records, {log['sealed']} lines older than the chain. Signatures: {escape(log['signatures'])}.</p>"
    ]
    lines += [f"<p>{escape(log['problem'])}</p>"] if log["problem"] else []
    return ["<h2>Rotation log</h2>", *lines, f"<p>Head: <code>{escape(said)}</code></p>"]


def _others(environments: Mapping[str, Mapping[str, str]]) -> list[str]:
    if not environments:
        return []
    rows = [(escape(name), _state(said["state"]), _time(said["at"])) for name, said in environments.items()]
    return [
        "<h2>Other environments</h2>",
        _table("As their own status said last", ("Environment", "State", "At"), rows),
    ]
