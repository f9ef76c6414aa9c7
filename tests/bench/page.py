"""The figures as one page that needs nothing else, and as text."""

from __future__ import annotations

import html as markup
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench import goals

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 560, 330, 62, 46, 14, 118
# by the role that a way plays: one colour for each scheme stands in STYLE
COLOURS = dict.fromkeys(("policy", "naive"), "var(--other)") | dict.fromkeys(("keyturn", "switch"), "var(--keyturn)")
COLOURS |= dict.fromkeys(("crypto", "ping", "restart"), "var(--floor)") | {"write": "var(--write)"}
Points = list[tuple[float, float, float, float]]
STYLE = """:root{color-scheme:light dark;--page:#fff;--text:#1c2126;--quiet:#5a6270;--line:#dde1e6;--other:#b4452f;--keyturn:#1f6f54;
--floor:#8a8f98;--write:#5b6b95}@media(prefers-color-scheme:dark){:root{--page:#0d1117;--text:#e6edf3;--quiet:#9da7b3;--line:#3d444d;
--other:#ff8a73;--keyturn:#4ac29a;--floor:#9da7b3;--write:#9db2ea}}*{box-sizing:border-box}
body{font:15px/1.5 system-ui,"DejaVu Sans",sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;background:var(--page);
color:var(--text)}figure{margin:0;max-width:100%}svg{max-width:100%;height:auto;fill:var(--quiet)}
h1{font-size:1.5em}h2{font-size:1.1em;margin:1.6em 0 .4em}
.plots{display:flex;flex-wrap:wrap;gap:1em}.scroll{overflow-x:auto}table{border-collapse:collapse}
td,th{padding:.2em .8em .2em 0;border-bottom:1px solid var(--line);text-align:left}
td:first-child{min-width:11em}td:nth-child(n+2){text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}.note{color:var(--quiet)}"""


def ratios(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the ratios of all parts: what, where, how much."""
    found_by_size = [
        (goals.where(found, part, size), figures)
        for part in ("rows", "hosts")
        for size, figures in found.get(part, {}).items()
    ]
    others = [(str(figures["sizes"]), figures) for figures in found.values() if "sizes" in figures]
    lines = [
        (name, where, f"{value:g}")
        for where, figures in (*found_by_size, *others)
        for name, value in figures["ratios"].items()
    ]
    return sorted(lines, key=lambda line: line[0])


def ratios_text(found: Mapping[str, Any]) -> str:
    """Return the ratios as text."""
    return "\n".join(f"{name:<45} {where:<26} {value:>10}" for name, where, value in ratios(found))


def html(found: Mapping[str, Any]) -> str:
    """Return the page."""
    host = found["machine"]["host_interpreter"]
    line = (
        f"{found['machine']['cpu']}, {found['machine']['cores']} cores; hosts run Python {host['python']}, cryptography "
        f"{host['cryptography']}, SQLite {host['sqlite']}; load {found['machine']['load_at_begin'][0]} at the begin, "
        f"{found['machine']['load_at_end'][0]} at the end; {found['at']}"
    )
    plots = [
        (
            "CPU seconds against rows",
            lines(_series(found["rows"], ("policy", "keyturn", "crypto", "write"), "cpu"), "rows"),
        ),
        ("Peak memory in MB against rows", lines(_series(found["rows"], ("policy", "keyturn"), "peak_mb"), "rows")),
        ("Wall seconds against hosts", lines(_series(found["hosts"], ("naive", "keyturn", "ping"), "wall"), "hosts")),
        (
            "CPU seconds of controller and hosts against hosts",
            lines(_series(found["hosts"], ("naive", "keyturn", "ping"), "cpu"), "hosts"),
        ),
        (
            "CPU seconds of the controller alone against hosts",
            lines(_series(found["slope"]["hosts"], ("keyturn",), "cpu"), "hosts"),
        ),
        ("Downtime of one host over SSH, seconds", bars(found["one_host"], ("naive", "keyturn", "restart"), "down")),
        ("Database part of the downtime, seconds against rows", lines(_downtime(found["rows"]), "rows")),
    ]
    figures = "".join(f"<figure><h2>{title}</h2>{plot}</figure>" for title, plot in plots)
    body = "".join(f"<tr><td>{markup.escape(a)}</td><td>{b}</td><td>{c}</td></tr>" for a, b, c in ratios(found))
    tasks = "".join(
        f"<tr><td>{markup.escape(name)}</td><td>{seconds:.2f}</td></tr>" for name, seconds in found["one_host"]["tasks"]
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Keyturn: what a rotation costs</title><style>{STYLE}</style>"
        f"<h1>What a rotation costs</h1><p class=note>{markup.escape(line)}</p><p>Medians of alternating runs; the thin lines are "
        "the smallest and the largest run. Both axes are logarithmic. The machine may have been shared: trust ratios, not seconds.</p>"
        f"<h2>Wanted and reached</h2><div class=scroll>{goals.html(found)}</div><div class=plots>{figures}</div><h2>Ratios</h2>"
        f"<div class=scroll><table>{body}</table></div>"
        f"<h2>A rotation of one host, task by task, seconds</h2><table>{tasks}</table></html>\n"
    )


def _series(found: Mapping[str, Any], names: Sequence[str], figure: str) -> dict[str, Points]:
    return {name: [_point(size, ways[name][figure]) for size, ways in found.items()] for name in names}


def _downtime(found: Mapping[str, Any]) -> dict[str, Points]:
    return {
        "policy": [_point(size, ways["policy"]["wall"]) for size, ways in found.items()],
        "keyturn": [_point(size, ways["keyturn"]["switch_wall"]) for size, ways in found.items()],
        "write": [_point(size, ways["write"]["inner_wall"]) for size, ways in found.items()],
    }


def _point(size: str, figure: Mapping[str, float]) -> tuple[float, float, float, float]:
    return float(size), figure["median"], figure["min"], figure["max"]


def lines(series: Mapping[str, Points], unit: str) -> str:
    """Return a plot on two logarithmic axes."""
    points = [point for line in series.values() for point in line]
    x_range = (min(point[0] for point in points), max(point[0] for point in points))
    y_range = (min(point[2] for point in points) / 1.5, max(point[3] for point in points) * 1.2)

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * _part(value, *x_range)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * _part(value, *y_range)

    parts = []
    for value in _ticks(*y_range):
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="var(--line)"/>'
        )
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in sorted({point[0] for point in points}):
        parts.append(f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{value:,.0f}</text>')
    parts.append(f'<text x="{(WIDTH - RIGHT + LEFT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{unit}</text>')
    last = HEIGHT + 99.0
    for name, line in sorted(series.items(), key=lambda item: -item[1][-1][1]):
        colour, path = COLOURS[name], " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b, _, _ in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for a, b, low, high in line:
            parts.append(
                f'<line x1="{x(a):.1f}" x2="{x(a):.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}" stroke="{colour}"/>'
            )
            parts.append(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3.5" fill="{colour}"/>')
        label = y(line[-1][1]) + 4 if last > HEIGHT else max(y(line[-1][1]) + 4, last + 16)
        last = label
        parts.append(f'<text x="{WIDTH - RIGHT + 12}" y="{label:.1f}" fill="{colour}">{name} {line[-1][1]:.3g}</text>')
    return _svg(parts)


def bars(found: Mapping[str, Any], names: Sequence[str], figure: str) -> str:
    """Return a bar for each way, from zero."""
    top = max(found[name][figure]["max"] for name in names) * 1.5
    height = (HEIGHT - TOP - BOTTOM) / len(names)
    parts = []
    for number, name in enumerate(names):
        value, y = found[name][figure], TOP + number * height
        width, far = (WIDTH - LEFT - RIGHT) * value["median"] / top, LEFT + (WIDTH - LEFT - RIGHT) * value["max"] / top
        parts.append(
            f'<rect x="{LEFT}" y="{y + height * 0.2:.1f}" width="{width:.1f}" height="{height * 0.6:.1f}" fill="{COLOURS[name]}"/>'
        )
        parts.append(f'<text x="{LEFT - 8}" y="{y + height / 2 + 4:.1f}" text-anchor="end">{name}</text>')
        parts.append(
            f'<text x="{max(LEFT + width, far) + 10:.1f}" y="{y + height / 2 + 4:.1f}">{value["median"]:.3f} s '
            f"({value['min']:.3f} to {value['max']:.3f})</text>"
        )
    return _svg(parts)


def _part(value: float, low: float, high: float) -> float:
    return 0.5 if high <= low else math.log(value / low) / math.log(high / low)


def _ticks(low: float, high: float) -> list[float]:
    found = [step * 10.0**power for power in range(-4, 6) for step in (1, 2, 5)]
    inside = [value for value in found if low <= value <= high]
    return inside if len(inside) <= 7 else [value for value in inside if math.log10(value) % 1 < 1e-9]


def _svg(parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-size="13" '
        f'font-family="system-ui, DejaVu Sans, sans-serif">{"".join(parts)}</svg>'
    )
