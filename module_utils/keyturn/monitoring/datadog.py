"""Datadog's monitors for the policy's thresholds, and the pipeline that reads the lines which they count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..base.log_lines import TIME, Line
from ..inputs.application import Threshold
from .alerts import Counted, Document, counting, window_of

# what may be a level and a logger
PARTS = {"level": "[A-Z]+", "logger": "[A-Za-z0-9_.]+"}


def monitors(
    thresholds: Sequence[Threshold], counted: Counted, lines: Mapping[str, Line], notify: str, runbooks: str
) -> list[Document]:
    """Return Datadog's monitors, one for each threshold that lines of a log can count; ``notify`` is a handle such as @pagerduty.

    They count by the attributes of ``pipeline``: a phrase can stand anywhere in a line, in a stranger's path too.
    """
    found: list[Document] = []
    for threshold in thresholds:
        metric, critical = counted.metric(threshold), int(threshold["critical"])
        if not metric.lines:
            continue
        search = " OR ".join(map(_attributes, counting(threshold, metric, lines)))
        found.append(
            {
                "name": f"Keyturn: {threshold['title']}",
                "type": "log alert",
                "query": f'logs("service:{counted.service} ({search})").index("*").rollup("count").last("{window_of(threshold)}") '
                f">= {critical}",
                "message": f"{threshold['title']}. {runbooks}#{metric.runbook} {notify}",
                "tags": ["keyturn", f"metric:{threshold['metric']}"],
                "options": {
                    "thresholds": {"warning": int(threshold["warning"]), "critical": critical},
                    "on_missing_data": "default",
                    "include_tags": True,
                },
            }
        )
    return found


def _attributes(line: Line) -> str:
    """Return the search for a line in Datadog's language, where ? stands for a space or a sign, and only * for more."""
    begin = "".join(letter if letter.isalnum() else "?" for letter in line["message"])
    said = f" @keyturn.message:{begin}*" if begin else ""
    return f"(@keyturn.level:{line['level']} @keyturn.logger:{line['logger']}{said})"


def pipeline(counted: Counted) -> Document:
    """Return the pipeline that reads level, logger and message of both forms: a rule of Datadog's takes a whole line or nothing."""
    level, logger = (f'%{{regex("{allowed}"):keyturn.{name}}}' for name, allowed in PARTS.items())
    rules = {
        "plain": f"{level}:{logger}:%{{data:keyturn.message}}",
        "timed": f'%{{regex("{TIME}"):keyturn.time}} - {logger} - {level} - %{{data:keyturn.message}}',
    }
    return {
        "name": "Keyturn: lines of Python's logging",
        "is_enabled": True,
        "filter": {"query": f"service:{counted.service}"},
        "processors": [
            {
                "type": "grok-parser",
                "name": "level, logger and message",
                "is_enabled": True,
                "source": "message",
                "grok": {"support_rules": "", "match_rules": "\n".join(" ".join(rule) for rule in rules.items())},
            }
        ],
    }
