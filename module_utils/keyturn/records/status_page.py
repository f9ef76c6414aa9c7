"""The status as one HTML page that needs nothing else: no network, no script, both colour schemes, wide or narrow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from ..base import moments
from .status import expired_lines, incident_line, signing, unreported_line

Found = Mapping[str, Any]
AHEAD_DAYS = 98
STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1b1f24; --quiet: #57606a; --line: #d0d7de; --track: #e7ebef;
  --ok: #1a7f37; --due: #8a5a00; --overdue: #cf222e; --broken: #a40e26; }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --text: #e6edf3; --quiet: #9da7b3; --line: #3d444d;
  --track: #262c36; --ok: #4ac26b; --due: #e3b341; --overdue: #ff7b72; --broken: #ffa198; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; } .quiet { color: var(--quiet); } code { font-size: .85em; overflow-wrap: anywhere; }
.state { font-weight: 700; } .ok, .proved, .signed { color: var(--ok); } .due { color: var(--due); }
.overdue, .open { color: var(--overdue); } .broken { color: var(--broken); }
table { width: 100%; border-collapse: collapse; } caption { text-align: left; color: var(--quiet); padding-bottom: .25rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0; border-top: 1px solid var(--line); }
.bar { height: .7rem; border-radius: .35rem; background: var(--track); overflow: hidden; min-width: 6rem; }
.bar > span { display: block; height: 100%; background: currentColor; }
.weeks { position: relative; height: 2.2rem; border-bottom: 2px solid var(--line); margin: .5rem 0 1.8rem; }
.weeks b { position: absolute; bottom: -.45rem; width: .8rem; height: .8rem; margin-left: -.4rem; border-radius: 50%;
  background: currentColor; }
.weeks i { position: absolute; bottom: -1.7rem; font-style: normal; font-size: .8rem; color: var(--quiet);
  border-left: 1px solid var(--line); padding-left: .25rem; }
details { border-top: 1px solid var(--line); padding: .4rem 0; } details ul { list-style: none; padding-left: .5rem; }
summary { cursor: pointer; } summary:focus-visible { outline: 2px solid currentColor; }
@media (max-width: 40rem) { thead { position: absolute; left: -9999px; } tr { display: block; border-top: 1px solid var(--line);
  padding: .4rem 0; } th, td { display: block; border: 0; padding: .1rem 0; }
  td::before { content: attr(data-name) ": "; color: var(--quiet); } td.wide::before { display: block; } }
@media print { body { max-width: none; } }
"""


def render(found: Found, environment: str) -> str:
    """Return the page of a status that has what the controller's records say (``audit.look``) and the ``calendar``."""
    parts = [
        f"<h1>Secrets of {escape(environment)}: {_state(found['state'])}</h1>",
        f'<p class="quiet">at <time>{escape(found["at"])}</time>. The policy\'s next review: {escape(found["review"]["next"])}'
        f"{_state('overdue', ' late') if found['review']['late'] else ''}</p>",
        *_attention(found),
        *_ages(found["secrets"]),
        *_coming(found),
        *_past(found["timeline"]),
        *_checklists(found["timeline"]),
        *_log(found["log"]),
        *_others(found["environments"]),
    ]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(environment)}: secrets</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def _state(state: str, text: str = "") -> str:
    return f'<span class="state {escape(state)}">{escape(text or state)}</span>'


def _table(caption: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; the cells are HTML already, the first of each row is its heading."""
    names = list(head)
    lines = []
    for first, *others in rows:
        cells = [
            f'<td data-name="{escape(name)}"{_wide(cell)}>{cell}</td>'
            for name, cell in zip(names[1:], others, strict=True)
        ]
        lines.append(f'<tr><th scope="row">{first}</th>{"".join(cells)}</tr>')
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "\n".join(lines)
    return f"<table>\n<caption>{escape(caption)}</caption>\n<thead><tr>{columns}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _wide(cell: str) -> str:
    return ' class="wide"' if 'class="bar' in cell else ""


def _bar(value: float, limit: float, state: str, text: str) -> str:
    share = min(100.0, 100.0 * value / limit) if limit else 100.0
    return (
        f"{escape(text)}"
        f'<div class="bar {escape(state)}" role="img" aria-label="{escape(text)}"><span style="width: {share:.1f}%"></span></div>'
    )


def _attention(found: Found) -> list[str]:
    lines = [f"no answer from {host}" for host in found["unreachable"]] + expired_lines(found)
    lines += [unreported_line(name, one) for name, one in found["unreported"].items()]
    lines += [f"the policy's review was due on {found['review']['next']}"] if found["review"]["late"] else []
    lines += [
        f"the age of {one['secret']} asks for a run of rotate_due.yml" for one in found["calendar"] if one["turn"]
    ]
    for name, line in found["secrets"].items():
        lines += [f"{name} on {host}: {problem}" for host, problem in line["problems"].items()]
        lines += [f"a rotation of {name} is open on {host}" for host in line["open_on"]]
        lines += [
            f"the old {name} is not proved dead since {one['since'][:10]}: {'; '.join(line['revoke'])}"
            for one in line["open_revocations"].values()
        ]
        lines += [
            f"{host} holds {held} of {name}, and others hold another value" for host, held in line["differ"].items()
        ]
    lines += [
        f"the attempt of {one['by']} on {one['controller']} to rotate {one['secret']} since {one['since']} has no end"
        for one in found["unfinished"]
    ]
    lines += [found["log"]["problem"]] if found["log"]["problem"] else []
    lines += [f"the rotation {one['rotation_id']} of {one['secret']} {signing(one)}" for one in found["unsigned"]]
    lines += [f"incident {incident_line(one)}" for one in found["incidents"]]
    lines += [f"not delivered: {line}" for line in found["unsent"]]
    if not lines:
        return []
    return ["<h2>What needs somebody</h2>", "<ul>", *(f"<li>{escape(line)}</li>" for line in lines), "</ul>"]


def _ages(secrets: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, line in secrets.items():
        age, limit = line["age_days"], line["max_age_days"]
        known = "never turned" if age is None else f"{age} days"
        if line["unused"]:
            shown = "not used here"
        elif limit and age is not None:
            shown = _bar(age, limit, line["state"], f"{age} of {limit} days")
        else:
            shown = escape(f"{known}, limit {limit} days" if limit else f"{known}, turned on events only")
        rows.append((f"{escape(line['title'])} ({escape(name)})", _state(line["state"]), shown))
    return ["<h2>Ages</h2>", _table("Age of each secret against its limit", ("Secret", "State", "Age"), rows)]


def _coming(found: Found) -> list[str]:
    now = moments.parse(found["at"])
    marks, rows = [], []
    for line in found["calendar"]:
        if not line["due"]:
            continue
        left = moments.parse(line["due"]) - now
        days = left.days if left.days >= 0 else -(-left).days
        state = "overdue" if left.days < 0 else "due" if line["turn"] else "ok"
        place = 100.0 * max(0, min(days, AHEAD_DAYS)) / AHEAD_DAYS
        marks.append(f'<b class="{state}" style="left: {place:.1f}%"></b>')
        when = f"{-days} days ago" if left.days < 0 else f"in {days} days"
        rows.append((escape(line["title"]), f"{escape(line['due'][:10])} ({when})", escape(line["next_window"])))
    weeks = [
        f'<i style="left: {100 * week * 7 / AHEAD_DAYS:.1f}%">{"now" if not week else f"+{week} w"}</i>'
        for week in range(0, 14, 2)
    ]
    return [
        "<h2>Coming rotations</h2>",
        f'<div class="weeks" aria-hidden="true">{"".join(weeks)}{"".join(marks)}</div>',
        _table(
            "Due dates, and when the next run of rotate_due.yml may turn them", ("Secret", "Due", "Next window"), rows
        ),
    ]


def _past(timeline: Iterable[Found]) -> list[str]:
    rows = []
    for one in timeline:
        outcome = "ok" if one["outcome"].startswith("committed") else "overdue"
        down, budget = one["downtime_seconds"], one["downtime_budget_seconds"]
        bar = _bar(down, budget, "ok" if down <= budget else "overdue", f"{down:.1f} s of {budget} s")
        rows.append(
            (
                f"<time>{escape(one['started'])}</time>",
                escape(one["secret"]),
                _state(outcome, one["outcome"]),
                bar if down else "none",
                escape(f"{one['operator']}, {one['reason']}"),
            )
        )
    if not rows:
        return ["<h2>Past rotations</h2>", "<p>None yet.</p>"]
    head = ("Time", "Secret", "Outcome", "Downtime", "By")
    return [
        "<h2>Past rotations</h2>",
        _table("The newest first; the longest downtime of a host against the budget", head, rows),
    ]


def _checklists(timeline: Iterable[Found]) -> list[str]:
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


def _log(log: Found) -> list[str]:
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
    rows = [
        (escape(name), _state(said["state"]), f"<time>{escape(said['at'])}</time>")
        for name, said in environments.items()
    ]
    return [
        "<h2>Other environments</h2>",
        _table("As their own status said last", ("Environment", "State", "At"), rows),
    ]
