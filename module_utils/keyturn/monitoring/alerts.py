"""What the alerts of Prometheus, CloudWatch and Datadog are made from: the policy's thresholds, and what counts for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..base.errors import KeyturnError
from ..base.log_lines import Line
from ..inputs.application import Threshold

WINDOW = {"": "1h", "minute": "1m", "hour": "1h", "day": "1d"}

Severity = Literal["warning", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
# in the words of whoever reads it
Document = dict[str, object]


@dataclass(frozen=True)
class Metric:
    """What counts for one metric of the policy: counters of Prometheus, and log lines where a log service counts itself."""

    alert: str
    counters: tuple[str, ...]
    runbook: str
    # CloudWatch and Datadog see the lines, not the counters: names of ``keyturn_log_lines``
    lines: tuple[str, ...] = ()
    # the counter of what a rotation causes that ends all sessions
    expected: str = ""


# an address is new only to one that remembers: no log service can count it by its lines
OURS = {"new_ips": Metric("NewAddresses", ("keyturn_new_address_requests_total",), "new-addresses")}


@dataclass(frozen=True)
class Counted:
    """What is counted of an application: its name, of which counters are named, and ``monitoring.yml`` of its folder."""

    name: str
    data: Mapping[str, Any]

    def counter(self, name: str) -> str:
        """Return the name by which a counter is exported."""
        return f"{self.name}_{name}_total"

    @property
    def namespace(self) -> str:
        """What CloudWatch calls the metrics."""
        return str(self.data.get("namespace") or self.name.title().replace("_", ""))

    @property
    def service(self) -> str:
        """What a log service calls the application."""
        return self.name.replace("_", "-")

    def metrics(self) -> dict[str, Metric]:
        """Return what counts, by the metrics that the policy may have thresholds for."""
        found = {
            name: Metric(
                told["alert"],
                tuple(map(self.counter, told["counters"])),
                told["runbook"],
                tuple(told.get("lines", ())),
                self.counter(told["expected"]) if "expected" in told else "",
            )
            for name, told in self.data.get("metrics", {}).items()
        }
        return found | OURS

    def metric(self, threshold: Threshold) -> Metric:
        """Return what counts for a threshold; KeyturnError where nothing does, or where its numbers make no sense."""
        name, known = threshold["metric"], self.metrics()
        if name not in known:
            raise KeyturnError(
                f"policy.yml: thresholds: nothing counts {name}; known are {', '.join(sorted(known))} "
                "(a new one is an entry in metrics of monitoring.yml)"
            )
        if not 0 < int(threshold["warning"]) < int(threshold["critical"]):
            raise KeyturnError(f"policy.yml: thresholds: warning of {name} must lie between 0 and critical")
        return known[name]


def window_of(threshold: Threshold) -> str:
    """Return over how long a threshold counts; KeyturnError for a time that is none of ours."""
    per = threshold.get("per") or ""
    if per not in WINDOW:
        raise KeyturnError(f"policy.yml: thresholds: per of {threshold['metric']} is {per}, not minute, hour or day")
    return WINDOW[per]


def counting(threshold: Threshold, metric: Metric, lines: Mapping[str, Line]) -> list[Line]:
    """Return the lines that count for a threshold; KeyturnError for one that is not there, or that others could imitate."""
    for name in metric.lines:
        if name not in lines:
            raise KeyturnError(
                f"monitoring.yml: metrics.{threshold['metric']} names {name}, which log_lines of catalogue.yml does not have"
            )
        if not (lines[name].get("level") and lines[name].get("logger")):
            raise KeyturnError(
                f"catalogue.yml: log_lines.{name} has no level and logger, by which metrics.{threshold['metric']} of monitoring.yml would "
                "count it: add both, or take the line out there"
            )
    return [lines[name] for name in metric.lines]
