"""Alerts from the policy: the numbers of all three systems are the policy's; metrics from the status."""

from __future__ import annotations

import copy
import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from keyturn.base.errors import KeyturnError
from keyturn.monitoring import alerts, cloudwatch, datadog, metrics, prometheus
from support.watching import counts_program

ROOT = Path(__file__).parents[2]
DATADOG = json.loads((Path(__file__).parents[1] / "support/schemas/datadog.json").read_text())
LINES = yaml.safe_load((ROOT / "applications/trader_ai/catalogue.yml").read_text())["log_lines"]
THRESHOLDS = yaml.safe_load((ROOT / "applications/trader_ai/policy.yml").read_text())["thresholds"]
WATCHED = alerts.Counted("trader_ai", yaml.safe_load((ROOT / "applications/trader_ai/monitoring.yml").read_text()))
RUNBOOKS = "https://example.com/monitoring.md"
LOGGED = [one for one in THRESHOLDS if one["metric"] != "new_ips"]


def rules() -> list[dict[str, Any]]:
    groups = prometheus.rules(THRESHOLDS, WATCHED, RUNBOOKS, 100)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_alert_says_what_it_is_and_where_help_is() -> None:
    page = (ROOT / "docs/monitoring.md").read_text()
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", page, re.M)
    }
    fired = [rule for rule in rules() if "alert" in rule]
    assert fired
    for rule in fired:
        address, anchor = rule["annotations"]["runbook_url"].split("#")
        assert address == RUNBOOKS
        assert anchor in anchors, f"{rule['alert']}: docs/monitoring.md has no heading for {anchor}"
        assert rule["annotations"]["summary"]


def test_every_counter_of_a_rule_is_exported() -> None:
    """A name that nobody exports never alerts, and nobody notices."""
    sources = [*(ROOT / "roles/monitoring/files").iterdir(), ROOT / "module_utils/keyturn/monitoring/metrics.py"]
    exported = " ".join(source.read_text() for source in sources if source.is_file()) + counts_program()
    exported += " ".join(f"keyturn_{kind}_address_requests_total" for kind in ("known", "new", "denied"))
    exported += " keyturn_unexpected_country_requests_total"
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        counters = re.findall(r"\b(?:trader_ai|keyturn)_[a-z0-9_]+", rule["expr"])
        sums = re.findall(r"\bkeyturn:[a-z0-9_:]+", rule["expr"])
        # of Prometheus' own: whether a place that it asks gives an answer
        assert counters or sums or "up{" in rule["expr"], f"{rule}: it asks for nothing that keyturn counts"
        assert [name for name in counters if name not in exported] == [], f"{rule}"
        assert set(sums) <= recorded, f"{rule}"


def test_a_metric_that_nothing_counts_is_refused_by_its_name() -> None:
    more = [*THRESHOLDS, {"metric": "moon_phase", "title": "Moon", "warning": 1, "critical": 2, "per": "hour"}]
    with pytest.raises(KeyturnError, match="nothing counts moon_phase; known are alpaca_errors"):
        prometheus.rules(more, WATCHED, RUNBOOKS, 100)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"warning": 50}, "warning of failed_auth must lie"),
        ({"warning": 0}, "must lie"),
        ({"per": "week"}, "is week, not"),
    ],
)
def test_a_threshold_that_makes_no_sense_is_refused(change: dict[str, Any], said: str) -> None:
    changed = copy.deepcopy(THRESHOLDS)
    changed[0] |= change
    with pytest.raises(KeyturnError, match=said):
        prometheus.rules(changed, WATCHED, RUNBOOKS, 100)


def test_cloudwatch_alarms_have_the_policys_numbers() -> None:
    topic = "arn:aws:sns:us-east-1:123456789012:alerts"
    resources = cloudwatch.template(THRESHOLDS, WATCHED, LINES, "trader-ai", topic, RUNBOOKS)["Resources"]
    alarms = [one["Properties"] for one in resources.values() if one["Type"] == "AWS::CloudWatch::Alarm"]
    numbers = {
        alarm["AlarmName"]: (alarm["Threshold"], alarm["Period"], alarm["ComparisonOperator"]) for alarm in alarms
    }
    assert numbers == {
        f"keyturn-{one['metric']}-{severity}": (one[severity], 3600, "GreaterThanOrEqualToThreshold")
        for one in LOGGED
        for severity in ("warning", "critical")
    }


# for each metric, lines that are counted: level, logger, message
COUNTED = {
    "failed_auth": [("WARNING", "src.security.auth_middleware", "Missing Authorization header for /api/positions")],
    "alpaca_errors": [
        ("ERROR", "src.brokers.alpaca_adapter", "Failed to connect to Alpaca: x"),
        ("ERROR", "src.brokers.alpaca_adapter", "Error getting positions: x"),
    ],
    "plaid_errors": [("ERROR", "src.finances.plaid_client", "Failed to get accounts: Status Code: 400")],
}
NOT_COUNTED = [
    ("ERROR", "src.trading_engine", "Failed to initialize trading engine: Failed to connect to Alpaca: x"),
    ("ERROR", "src.trading_engine", "Error getting status: x"),
    ("ERROR", "src.dashboard.run_server_simple", "Error getting gate status: x"),
    ("INFO", "src.security.auth_middleware", "JWT Authentication Middleware initialized"),
]


def both_forms(level: str, logger: str, message: str) -> list[str]:
    return [f"{level}:{logger}:{message}", f"2026-04-18 10:00:00,123 - {logger} - {level} - {message}"]


def forged(line: str) -> list[str]:
    """A line in a stranger's text."""
    return [
        f"x {line}",
        f'INFO:     192.0.2.1:5000 - "GET /{line} HTTP/1.1" 404 Not Found',
        f"WARNING:src.other:JWT verification failed for /{line}: x",
        f"2026-04-18 10:00:00,123 - src.other - WARNING - JWT verification failed for /{line}: x",
    ]


def test_cloudwatch_filters_are_written_in_its_own_language_and_take_both_forms_of_the_lines() -> None:
    resources = cloudwatch.template(THRESHOLDS, WATCHED, LINES, "trader-ai", "", RUNBOOKS)["Resources"]
    filters = {
        one["Properties"]["FilterName"].removeprefix("keyturn-"): one["Properties"]["FilterPattern"]
        for name, one in resources.items()
        if name.endswith("Filter")
    }
    assert set(filters) == set(COUNTED)
    for metric, pattern in filters.items():
        assert re.fullmatch(r"%[A-Za-z0-9:_#=@/;,^$?\[\]{}|\\*+.-]+%", pattern), f"{metric}: {pattern}"
        assert len(pattern) <= 1024
        takes = re.compile(pattern.strip("%")).search
        for other, lines in COUNTED.items():
            for line in (form for said in lines for form in both_forms(*said)):
                assert bool(takes(line)) == (other == metric), f"{metric}: {line}"
                assert not any(map(takes, forged(line))), f"{metric} in a path: {line}"
        assert not any(takes(form) for line in NOT_COUNTED for form in both_forms(*line))


def parsed(pipeline: dict[str, Any], line: str) -> dict[str, str]:
    """Return the attributes that the rules of a Datadog pipeline find: the first that takes the whole line."""
    for rule in pipeline["processors"][0]["grok"]["match_rules"].splitlines():
        text = rule.partition(" ")[2].replace("%{data:", '%{regex(".*"):')
        expression = re.sub(r'%\{regex\("(.*?)"\):keyturn\.(\w+)\}', r"(?P<\2>\1)", text)
        assert "%" not in expression
        if found := re.fullmatch(expression, line, re.DOTALL):
            return found.groupdict()
    return {}


def searched(query: str, attributes: dict[str, str]) -> bool:
    """Tell whether a log with these attributes is found: (a b) OR (c d), ? for one sign, * for any."""
    (alternatives,) = re.findall(r"service:trader-ai \((.*)\)\"\)", query)
    for alternative in alternatives.strip("()").split(") OR ("):
        terms = [term.removeprefix("@keyturn.").split(":", 1) for term in alternative.split()]
        if all(fnmatch.fnmatchcase(attributes.get(name, ""), wanted) for name, wanted in terms):
            return True
    return False


def test_datadog_counts_what_a_logger_says_and_nothing_in_a_path() -> None:
    """By attributes, which its pipeline reads from the whole line; a phrase would be found in a stranger's path."""
    pipeline = datadog.pipeline(WATCHED)
    monitors = datadog.monitors(THRESHOLDS, WATCHED, LINES, "@ops", RUNBOOKS)
    queries = {one["tags"][1].removeprefix("metric:"): one["query"] for one in monitors}
    assert set(queries) == set(COUNTED)
    for metric, query in queries.items():
        for other, lines in COUNTED.items():
            for line in (form for said in lines for form in both_forms(*said)):
                assert searched(query, parsed(pipeline, f"{line}\nmore")) == (other == metric), f"{metric}: {line}"
                assert not any(searched(query, parsed(pipeline, text)) for text in forged(line))
        assert not any(searched(query, parsed(pipeline, form)) for line in NOT_COUNTED for form in both_forms(*line))


def test_datadog_monitors_have_the_policys_numbers() -> None:
    found = {one["name"]: one for one in datadog.monitors(THRESHOLDS, WATCHED, LINES, "@ops", RUNBOOKS)}
    assert set(found) == {f"Keyturn: {one['title']}" for one in LOGGED}
    for one in LOGGED:
        monitor = found[f"Keyturn: {one['title']}"]
        assert monitor["options"]["thresholds"] == {"warning": one["warning"], "critical": one["critical"]}
        assert monitor["query"].endswith(f'.last("1h") >= {one["critical"]}')
        jsonschema.validate(monitor, {"$ref": "#/Monitor", **DATADOG})


def test_the_status_as_metrics() -> None:
    line = {"state": "ok", "last_rotated": None, "max_age_days": None, "open_on": [], "open_revocations": {}}
    revocation = {"since": "2026-01-09T00:00:00Z", "hosts": ["a"]}
    status = {
        "at": "2026-01-10T00:00:00Z",
        "unreachable": [],
        "secrets": {
            "jwt": {**line, "last_rotated": "2026-01-01T00:00:00Z", "max_age_days": 90},
            "plaid": {**line, "state": "broken", "open_on": ["a", "b"], "open_revocations": {"r": revocation}},
        },
    }
    said = metrics.textfile(status, 'a"b')
    samples = dict(line.rsplit(" ", 1) for line in said.splitlines() if not line.startswith("#"))
    assert {name.replace('environment="a\\"b"', ""): int(value) for name, value in samples.items()} == {
        "keyturn_status_time_seconds{}": 1768003200,
        "keyturn_environment_broken{}": 0,
        'keyturn_secret_broken{,secret="jwt"}': 0,
        'keyturn_secret_age_seconds{,secret="jwt"}': 9 * 86400,
        'keyturn_secret_max_age_seconds{,secret="jwt"}': 90 * 86400,
        'keyturn_secret_open_rotations{,secret="jwt"}': 0,
        'keyturn_secret_open_revocations{,secret="jwt"}': 0,
        'keyturn_secret_open_revocations_seconds{,secret="jwt"}': 0,
        'keyturn_secret_broken{,secret="plaid"}': 1,
        'keyturn_secret_open_rotations{,secret="plaid"}': 2,
        'keyturn_secret_open_revocations{,secret="plaid"}': 1,
        'keyturn_secret_open_revocations_seconds{,secret="plaid"}': 86400,
    }


@pytest.mark.parametrize(
    "trouble",
    [{"unreachable": ["a"]}, {"log": {"problem": "line 3 was changed"}}, {"unreported": {"r1": {}}}],
    ids=["silent host", "log", "no report"],
)
def test_what_breaks_an_environment(trouble: dict[str, Any]) -> None:
    said = metrics.textfile({"at": "2026-01-10T00:00:00Z", "unreachable": [], "secrets": {}, **trouble}, "e")
    assert 'keyturn_environment_broken{environment="e"} 1' in said
