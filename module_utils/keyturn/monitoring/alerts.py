"""The alerts, made from the policy's thresholds: for Prometheus, CloudWatch and Datadog, each from the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..base.errors import KeyturnError
from ..base.log_lines import TIME, Line, starts
from ..inputs.application import Threshold

# how an alarm of CloudWatch counts, and one of which nobody is told
REACHED = {
    "Statistic": "Sum",
    "EvaluationPeriods": 1,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "TreatMissingData": "notBreaching",
}
NOBODY: Mapping[str, Sequence[str]] = {"AlarmActions": [], "OKActions": []}
SECONDS = {"": 3600, "minute": 60, "hour": 3600, "day": 86400}
WINDOW = {"": "1h", "minute": "1m", "hour": "1h", "day": "1d"}
# what Datadog may take for a level and for a logger
PARTS = {"level": "[A-Z]+", "logger": "[A-Za-z0-9_.]+"}

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


def prometheus(
    thresholds: Sequence[Threshold], counted: Counted, runbooks: str, expected_clients: int, stale_hours: int = 26
) -> Document:
    """Return the rules file. ``runbooks`` is the address of the runbook page; its headings are the anchors.

    ``expected_clients`` is how many requests with an old token a JWT rotation may cause; more alerts through its silence.
    """
    recorded: list[Document] = []
    alerts: list[Document] = []
    for threshold in thresholds:
        metric, window = counted.metric(threshold), _window(threshold)
        record = f"keyturn:{threshold['metric']}:{window}"
        recorded.append({"record": record, "expr": _count(metric.counters, window)})
        alerts += _pair(metric.alert, threshold, record, runbooks + "#" + metric.runbook)
        if metric.expected:
            more, extra = _through_the_silence(metric, threshold, window, runbooks, expected_clients)
            recorded += more
            alerts += extra
    return {
        "groups": [
            {"name": "keyturn-counts", "rules": recorded},
            {"name": "keyturn-policy", "rules": alerts},
            {"name": "keyturn-spikes", "rules": _spikes(counted, runbooks)},
            {"name": "keyturn-addresses", "rules": _addresses(runbooks)},
            {"name": "keyturn-rotations", "rules": _rotations(runbooks, stale_hours)},
            {"name": "keyturn-metrics", "rules": _gone(counted, runbooks)},
        ]
    }


def _window(threshold: Threshold) -> str:
    per = threshold.get("per") or ""
    if per not in WINDOW:
        raise KeyturnError(f"policy.yml: thresholds: per of {threshold['metric']} is {per}, not minute, hour or day")
    return WINDOW[per]


def _count(counters: Sequence[str], window: str) -> str:
    """Return the number of events in the window, over all hosts of an environment.

    Between two scrapes increase() estimates: it is up to 0.5 % above a count of whole events, which rounding takes away.
    """
    each = " + ".join(f"increase({name}[{window}])" for name in counters)
    return f"sum by (environment) (round({each}))"


def _pair(alert: str, threshold: Threshold, expression: str, runbook: str, add: int = 0) -> list[Document]:
    title, per = threshold["title"], f"per {threshold['per']}" if threshold.get("per") else "in an hour"
    warning, critical = int(threshold["warning"]) + add, int(threshold["critical"]) + add
    return [
        _alert(
            alert,
            f"{expression} >= {warning} < {critical}" if severity == "warning" else f"{expression} >= {critical}",
            severity,
            f"{title}: {{{{ $value }}}} {per} in {{{{ $labels.environment }}}} ({severity} from {limit})",
            runbook,
        )
        for severity, limit in (("warning", warning), ("critical", critical))
    ]


def _alert(
    name: str, expression: str, severity: str, summary: str, runbook: str, wait: str = "0s", **labels: str
) -> Document:
    return {
        "alert": f"Keyturn{name}",
        "expr": expression,
        "for": wait,
        "labels": {"severity": severity, **labels},
        "annotations": {"summary": summary, "runbook_url": runbook},
    }


def _through_the_silence(
    metric: Metric, threshold: Threshold, window: str, runbooks: str, expected_clients: int
) -> tuple[list[Document], list[Document]]:
    """Return the alerts that a rotation's silence does not cover: other causes, and more of the expected one than expected."""
    name, title = threshold["metric"], threshold["title"]
    other, expected = f"keyturn:{name}_other:{window}", f"keyturn:{name}_expected:{window}"
    runbook = f"{runbooks}#{metric.runbook}"
    others = [counter for counter in metric.counters if counter != metric.expected]
    recorded: list[Document] = [
        {"record": other, "expr": _count(others, window)},
        {"record": expected, "expr": _count([metric.expected], window)},
    ]
    alerts = _pair(
        f"{metric.alert}OtherCause", {**threshold, "title": f"{title} that no rotation causes"}, other, runbook
    ) + _pair(
        f"{metric.alert}BeyondRotation",
        {**threshold, "title": f"{title} beyond those of a rotation"},
        expected,
        runbook,
        expected_clients,
    )
    return recorded, alerts


def _spikes(counted: Counted, runbooks: str) -> list[Document]:
    rules: list[Document] = []
    for provider, counter in counted.data.get("spikes", {}).items():
        record = f"keyturn:{provider}_requests:1h"
        rules.append({"record": record, "expr": _count([counted.counter(counter)], "1h")})
        past = " or ".join(f'label_replace({record} offset {day}d, "day", "{day}", "", "")' for day in range(1, 8))
        usual = f"avg by (environment) ({past})"
        rules.append(
            _alert(
                "CallSpike",
                f"{record} > 3 * ({usual}) and {record} >= 20",
                "warning",
                f"{provider.title()} calls: {{{{ $value }}}} in an hour in {{{{ $labels.environment }}}}, more than three "
                "times the same hour of the past days",
                runbooks + "#call-spikes",
                provider=provider,
            )
        )
    return rules


def _addresses(runbooks: str) -> list[Document]:
    expressions = (
        ("DeniedAddress", "keyturn_denied_address_requests_total", "critical", "a denied address", "denied-addresses"),
        (
            "UnexpectedCountry",
            "keyturn_unexpected_country_requests_total",
            "warning",
            "an unexpected country",
            "countries",
        ),
    )
    return [
        _alert(
            name,
            f"{_count([counter], '1h')} > 0",
            severity,
            f"{{{{ $value }}}} requests from {what} in {{{{ $labels.environment }}}}",
            f"{runbooks}#{anchor}",
        )
        for name, counter, severity, what, anchor in expressions
    ]


def _rotations(runbooks: str, stale_hours: int) -> list[Document]:
    return [
        _alert(
            "SecretOverdue",
            "keyturn_secret_age_seconds > keyturn_secret_max_age_seconds",
            "warning",
            "{{ $labels.secret }} in {{ $labels.environment }} is overdue",
            runbooks + "#overdue",
        ),
        _alert(
            "RotationOpen",
            "keyturn_secret_open_rotations > 0",
            "critical",
            "a rotation of {{ $labels.secret }} in {{ $labels.environment }} is unfinished on {{ $value }} hosts",
            runbooks + "#unfinished-rotations",
            "30m",
        ),
        _alert(
            "RevocationOpen",
            "keyturn_secret_open_revocations_seconds > 7 * 86400",
            "warning",
            "an old credential of {{ $labels.secret }} in {{ $labels.environment }} is not proved dead since a week",
            runbooks + "#open-revocations",
        ),
        _alert(
            "Broken",
            "keyturn_secret_broken > 0 or keyturn_environment_broken > 0",
            "critical",
            "{{ $labels.environment }} is broken: hosts disagree, a host gives no answer, or the log does not verify",
            runbooks + "#broken",
            "30m",
        ),
        _alert(
            "StatusStale",
            f"time() - keyturn_status_time_seconds > {stale_hours * 3600}",
            "warning",
            f"status.yml has not run in {{{{ $labels.environment }}}} for {stale_hours} hours: ages and open work are unknown",
            runbooks + "#metrics-gone",
        ),
    ]


def _gone(counted: Counted, runbooks: str) -> list[Document]:
    runbook, lines = runbooks + "#metrics-gone", counted.counter("lines")
    return [
        _alert(
            "ExporterDown",
            'up{job=~"keyturn-.*"} == 0',
            "critical",
            "{{ $labels.instance }} ({{ $labels.job }}) gives no metrics: nothing is watched there",
            runbook,
            "5m",
        ),
        _alert(
            "CountsGone",
            'absent(up{job="keyturn-mtail"})',
            "critical",
            "no host is watched: Prometheus knows no target of the job keyturn-mtail",
            runbook,
            "5m",
        ),
        _alert(
            "LogSilent",
            f"increase({lines}[1h]) == 0 and {lines} offset 1h",
            "warning",
            "the log of {{ $labels.instance }} has no line since an hour: it is not read, or nobody asks the service",
            runbook,
        ),
        _alert(
            "AddressesStale",
            "time() - keyturn_addresses_time_seconds > 900",
            "warning",
            "addresses on {{ $labels.instance }} have not been read for 15 minutes",
            runbook,
        ),
    ]


def cloudwatch(
    thresholds: Sequence[Threshold],
    counted: Counted,
    lines: Mapping[str, Line],
    log_group: str,
    topic: str,
    runbooks: str,
) -> Document:
    """Return a CloudFormation template: for each threshold a metric filter on ``log_group`` and two alarms to ``topic``.

    CloudWatch's regular expressions know neither spaces nor groups.
    """
    resources: Document = {}
    for threshold in thresholds:
        metric, period = counted.metric(threshold), SECONDS[threshold.get("per") or ""]
        if not metric.lines:
            continue
        known = _counting(threshold, metric, lines)
        patterns = [f"^{start}{line['message']}".replace(" ", ".") for line in known for start in starts(line)]
        resources[f"{metric.alert}Filter"] = {
            "Type": "AWS::Logs::MetricFilter",
            "Properties": {
                "LogGroupName": log_group,
                "FilterName": f"keyturn-{threshold['metric']}",
                "FilterPattern": f"%{'|'.join(patterns)}%",
                "MetricTransformations": [
                    {
                        "MetricNamespace": counted.namespace,
                        "MetricName": metric.alert,
                        "MetricValue": "1",
                        "DefaultValue": 0,
                    }
                ],
            },
        }
        for severity in SEVERITIES:
            resources[f"{metric.alert}{severity.title()}"] = {
                "Type": "AWS::CloudWatch::Alarm",
                "Properties": {
                    "AlarmName": f"keyturn-{threshold['metric']}-{severity}",
                    "AlarmDescription": f"{threshold['title']}: {runbooks}#{metric.runbook}",
                    "Namespace": counted.namespace,
                    "MetricName": metric.alert,
                    "Period": period,
                    "Threshold": int(threshold[severity]),
                    **REACHED,
                    **({"AlarmActions": [topic], "OKActions": [topic]} if topic else NOBODY),
                },
            }
    return {"AWSTemplateFormatVersion": "2010-09-09", "Description": "Keyturn's alarms", "Resources": resources}


def datadog(
    thresholds: Sequence[Threshold], counted: Counted, lines: Mapping[str, Line], notify: str, runbooks: str
) -> list[Document]:
    """Return Datadog's monitors, one for each threshold that lines of a log can count; ``notify`` is a handle such as @pagerduty.

    They count by the attributes of ``datadog_pipeline``: a phrase can stand anywhere in a line, in a stranger's path too.
    """
    monitors: list[Document] = []
    for threshold in thresholds:
        metric, critical = counted.metric(threshold), int(threshold["critical"])
        if not metric.lines:
            continue
        search = " OR ".join(map(_attributes, _counting(threshold, metric, lines)))
        monitors.append(
            {
                "name": f"Keyturn: {threshold['title']}",
                "type": "log alert",
                "query": f'logs("service:{counted.service} ({search})").index("*").rollup("count").last("{_window(threshold)}") '
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
    return monitors


def _counting(threshold: Threshold, metric: Metric, lines: Mapping[str, Line]) -> list[Line]:
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


def _attributes(line: Line) -> str:
    """Return the search for a line in Datadog's language, where ? stands for a space or a sign, and only * for more."""
    begin = "".join(letter if letter.isalnum() else "?" for letter in line["message"])
    said = f" @keyturn.message:{begin}*" if begin else ""
    return f"(@keyturn.level:{line['level']} @keyturn.logger:{line['logger']}{said})"


def datadog_pipeline(counted: Counted) -> Document:
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
