"""What is to be reached, and whether it is: one line for each figure that somebody has wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

HEAD = ("what", "where", "before", "now", "wanted", "reached")


class Goal(NamedTuple):
    """A figure of ``bench.json``, found by the keys of ``at``. ``before`` is what was measured before it was wanted."""

    what: str
    at: tuple[str, ...]
    before: float | None = None
    most: float | None = None
    least: float | None = None

    def reached(self, figure: float) -> str:
        """Say whether it is; nothing where nobody has said what is wanted."""
        if self.most is None and self.least is None:
            return ""
        return "yes" if (self.least or 0) <= figure <= (self.most or figure) else "no"

    def wanted(self) -> str:
        """Return the bound as text."""
        return f"at most {self.most:g}" if self.most is not None else f"at least {self.least:g}" if self.least else ""


CPU, WALL = "cpu, keyturn / naive", "wall, keyturn / naive"
SCRIPT, ROW = "cpu, policy / keyturn", "cpu a row, naive / keyturn"
LAST, WHOLE = "cpu a row, last quarter of the calls / first", "cpu a row, all / a quarter of the rows"
GOALS = (
    Goal("hosts over SSH / naive playbook, CPU", ("hosts", "25", "ratios", CPU), 0.77, most=0.40),
    Goal("hosts over SSH / naive playbook, wall", ("hosts", "25", "ratios", WALL), 0.85, most=0.45),
    Goal("hosts over SSH / naive playbook, wall", ("hosts", "3", "ratios", WALL), 0.90, most=0.55),
    Goal("hosts over SSH / naive playbook, CPU", ("hosts", "3", "ratios", CPU)),
    Goal("hosts over SSH / naive playbook, CPU", ("hosts", "50", "ratios", CPU)),
    Goal("hosts over SSH / naive playbook, wall", ("hosts", "50", "ratios", WALL)),
    Goal("controller's CPU for each host more, s", ("slope", "seconds_a_host"), 0.9, most=0.35),
    Goal(
        "controller's CPU for each host more, in runs without tasks",
        ("slope", "ratios", "cpu of a host / a run without tasks"),
        1.2,
        most=0.46,
    ),
    Goal("a local rotation of 1,000 rows, CPU s", ("local", "few", "keyturn", "cpu", "median"), 6.4, most=3.6),
    Goal(
        "a local rotation of 1,000 rows, CPU in runs without tasks",
        ("local", "ratios", "cpu of a rotation / a run without tasks"),
        8.4,
        most=4.7,
    ),
    Goal("call that opens no row (state) / ping, CPU", ("calls", "ratios", "cpu, state / ping"), 1.45, most=1.2),
    Goal("call that opens no row (decide) / ping, CPU", ("calls", "ratios", "cpu, decide / ping"), 1.45, most=1.2),
    Goal("policy's script / re-encryption, CPU", ("rows", "100000", "ratios", SCRIPT), 4.7, least=6.5),
    Goal("policy's script / re-encryption, CPU", ("rows", "1000000", "ratios", SCRIPT), 5.0, least=8),
    Goal("a row of the naive playbook / of a whole rotation, CPU", ("local", "ratios", ROW), 1.5, least=2.8),
    Goal("a row of prepare, last calls / first, CPU", ("short_calls", "ratios", LAST), most=1.15),
    Goal("a row of prepare, all / a quarter of the table, CPU", ("short_calls", "ratios", WHOLE), most=1.15),
    Goal(
        "a switch on another user's ground / on root's, CPU",
        ("ground", "ratios", "switch_cpu, another's ground / root's"),
    ),
    Goal(
        "a loop of UPDATEs / re-encryption in PostgreSQL, CPU",
        ("postgresql", "ratios", "cpu, loop of UPDATEs / keyturn"),
        least=3,
    ),
    Goal("the same with a list of keys", ("postgresql", "ratios", "cpu, loop of UPDATEs / list of keys"), least=3),
    Goal(
        "downtime with rows in PostgreSQL / one UPDATE",
        ("postgresql", "ratios", "downtime, keyturn / one UPDATE"),
        most=1.5,
    ),
    Goal("peak memory, MB", ("postgresql", "keyturn", "peak_mb", "max"), most=64),
    Goal("peak memory, MB", ("postgresql", "list", "peak_mb", "max"), most=64),
    Goal("peak memory, MB", ("rows", "10000", "keyturn", "peak_mb", "max"), 34, most=64),
    Goal("peak memory, MB", ("rows", "100000", "keyturn", "peak_mb", "max"), 34, most=64),
    Goal("peak memory, MB", ("rows", "1000000", "keyturn", "peak_mb", "max"), 34, most=64),
)


def _lines(found: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the lines of the table, without those that this run has not measured."""
    for goal in GOALS:
        figure: Any = found
        for key in goal.at:
            figure = figure.get(key, {})
        if isinstance(figure, float | int):
            before = f"{goal.before:g}" if goal.before is not None else ""
            yield goal.what, where(found, *goal.at[:2]), before, f"{figure:.3g}", goal.wanted(), goal.reached(figure)


def where(found: Mapping[str, Any], part: str, size: str) -> str:
    """Return the sizes of a part; those that are measured size by size are named after what they count."""
    return f"{int(size):,} {part}" if size.isdigit() else str(found[part].get("sizes", ""))


def text(found: Mapping[str, Any]) -> str:
    """Return the table for a terminal."""
    lines = (f"{a:<58} {b:<24} {c:>6} {d:>8} {e:>14} {f}" for a, b, c, d, e, f in (HEAD, *_lines(found)))
    return "\n".join(line.rstrip() for line in lines)


def markdown(found: Mapping[str, Any]) -> str:
    """Return the table for a document."""
    lines = [HEAD, ("---",) * len(HEAD), *_lines(found)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def html(found: Mapping[str, Any]) -> str:
    """Return the table for the page."""
    head = "".join(f"<th>{name}</th>" for name in HEAD)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in line)}</tr>" for line in _lines(found))
    return f"<table><tr>{head}</tr>{body}</table>"
