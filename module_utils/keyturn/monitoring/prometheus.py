"""Prometheus's rules: the policy's thresholds, and what Keyturn itself must tell."""

from __future__ import annotations

from collections.abc import Sequence

from ..inputs.application import Threshold
from .alerts import Counted, Document, Metric, window_of

# without a run of status.yml
STALE_HOURS = 26


def rules(thresholds: Sequence[Threshold], counted: Counted, runbooks: str, expected_clients: int) -> Document:
    """Return the rules file. ``runbooks`` is the address of the runbook page; its headings are the anchors.

    ``expected_clients`` is how many requests with an old token a JWT rotation may cause; more alerts through its silence.
    """
    recorded: list[Document] = []
    alerts: list[Document] = []
    for threshold in thresholds:
        metric, window = counted.metric(threshold), window_of(threshold)
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
            {"name": "keyturn-rotations", "rules": _rotations(runbooks)},
            {"name": "keyturn-metrics", "rules": _gone(counted, runbooks)},
        ]
    }


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


def _rotations(runbooks: str) -> list[Document]:
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
            f"time() - keyturn_status_time_seconds > {STALE_HOURS * 3600}",
            "warning",
            f"status.yml has not run in {{{{ $labels.environment }}}} for {STALE_HOURS} hours: ages and open work are unknown",
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
