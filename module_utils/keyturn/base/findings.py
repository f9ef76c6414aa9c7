"""What a check of the storage rules has found, and the table of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

SEVERITIES = ("note", "warning", "error")


class Finding(NamedTuple):
    """How bad it is (a name of ``SEVERITIES``), which rule is concerned, what was seen where, and the remedy."""

    severity: str
    rule: str
    what: str
    remedy: str


def at_least(severity: str, findings: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Return the findings that are as bad as ``severity`` or worse."""
    return [found for found in findings if SEVERITIES.index(found["severity"]) >= SEVERITIES.index(severity)]


def table(findings: Mapping[str, Sequence[Mapping[str, str]]]) -> str:
    """Return the findings of each place for a person, the worst first."""
    lines = []
    for place, found in sorted(findings.items()):
        lines.append(f"{place}: {_counts(found)}")
        for one in sorted(found, key=lambda one: -SEVERITIES.index(one["severity"])):
            lines += [f"  {one['severity']:<8} {one['rule']}: {one['what']}", f"           {one['remedy']}"]
    return "\n".join(lines)


def _counts(findings: Sequence[Mapping[str, str]]) -> str:
    counts = [(sum(one["severity"] == name for one in findings), name) for name in reversed(SEVERITIES)]
    return ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for count, name in counts if count) or "nothing found"
