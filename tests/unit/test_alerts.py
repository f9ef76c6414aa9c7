"""Alerts from the policy: the numbers of all three systems are the policy's; metrics from the status."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from keyturn import alerts, metrics
from keyturn.errors import KeyturnError

ROOT = Path(__file__).parents[2]
DATADOG = json.loads((Path(__file__).parents[1] / "support/schemas/datadog.json").read_text())
THRESHOLDS = yaml.safe_load((ROOT / "playbooks/group_vars/all/policy.yml").read_text())["keyturn_policy"]["thresholds"]
RUNBOOKS = "https://example.com/monitoring.md"
LOGGED = [one for one in THRESHOLDS if one["metric"] != "new_ips"]


def rules() -> list[dict[str, Any]]:
    groups = alerts.prometheus(THRESHOLDS, RUNBOOKS, 100)["groups"]
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
    sources = [*(ROOT / "roles/monitoring/files").iterdir(), ROOT / "module_utils/keyturn/metrics.py"]
    exported = " ".join(source.read_text() for source in sources if source.is_file())
    exported += " ".join(f"keyturn_{kind}_address_requests_total" for kind in ("known", "new", "denied"))
    exported += " keyturn_unexpected_country_requests_total"
    for rule in rules():
        for name in re.findall(r"\b(?:trader_ai|keyturn)_[a-z0-9_]+", rule["expr"]):
            assert name in exported, f"{rule}: {name}"


def test_a_metric_that_nothing_counts_is_refused_by_its_name() -> None:
    more = [*THRESHOLDS, {"metric": "moon_phase", "title": "Moon", "warning": 1, "critical": 2, "per": "hour"}]
    with pytest.raises(KeyturnError, match="nothing counts moon_phase; known are alpaca_errors"):
        alerts.prometheus(more, RUNBOOKS, 100)


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
        alerts.prometheus(changed, RUNBOOKS, 100)


def test_cloudwatch_alarms_have_the_policys_numbers() -> None:
    resources = alerts.cloudwatch(THRESHOLDS, "trader-ai", "arn:aws:sns:us-east-1:123456789012:alerts", RUNBOOKS)[
        "Resources"
    ]
    alarms = [one["Properties"] for one in resources.values() if one["Type"] == "AWS::CloudWatch::Alarm"]
    numbers = {
        alarm["AlarmName"]: (alarm["Threshold"], alarm["Period"], alarm["ComparisonOperator"]) for alarm in alarms
    }
    assert numbers == {
        f"keyturn-{one['metric']}-{severity}": (one[severity], 3600, "GreaterThanOrEqualToThreshold")
        for one in LOGGED
        for severity in ("warning", "critical")
    }


def test_cloudwatch_filters_are_written_in_its_own_language_and_take_the_lines() -> None:
    resources = alerts.cloudwatch(THRESHOLDS, "trader-ai", "", RUNBOOKS)["Resources"]
    filters = {name: one["Properties"]["FilterPattern"] for name, one in resources.items() if name.endswith("Filter")}
    lines = {
        "FailedAuthFilter": "WARNING:src.security.auth_middleware:Missing Authorization header for /api/positions",
        "AlpacaErrorsFilter": "ERROR:src.brokers.alpaca_adapter:Failed to connect to Alpaca: x",
        "PlaidErrorsFilter": "ERROR:src.finances.plaid_client:Failed to get accounts: Status Code: 400",
    }
    assert set(filters) == set(lines)
    for name, pattern in filters.items():
        assert re.fullmatch(r"%[A-Za-z0-9:_#=@/;,^$?\[\]{}|\\*+.-]+%", pattern), f"{name}: {pattern}"
        taken = [other for other, line in lines.items() if re.search(pattern.strip("%"), line)]
        assert taken == [name]
        assert not re.search(pattern.strip("%"), f"x {lines[name]}"), "only at the line's start"


def test_datadog_monitors_have_the_policys_numbers() -> None:
    found = {one["name"]: one for one in alerts.datadog(THRESHOLDS, "@ops", RUNBOOKS)}
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
    "trouble", [{"unreachable": ["a"]}, {"log": {"problem": "line 3 was changed"}}], ids=["silent host", "log"]
)
def test_what_breaks_an_environment(trouble: dict[str, Any]) -> None:
    said = metrics.textfile({"at": "2026-01-10T00:00:00Z", "unreachable": [], "secrets": {}, **trouble}, "e")
    assert 'keyturn_environment_broken{environment="e"} 1' in said
