"""promtool on the rules: each threshold of the policy just below, at and above; spikes, silence, dead exporters."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from keyturn.monitoring import alerts, prometheus
from support.lab import ROOT

THRESHOLDS = yaml.safe_load((ROOT / "applications/trader_ai/policy.yml").read_text())["thresholds"]
COUNTED = alerts.Counted("trader_ai", yaml.safe_load((ROOT / "applications/trader_ai/monitoring.yml").read_text()))
CLIENTS = 100
LABELS = '{environment="test", instance="a", job="keyturn-mtail"}'
# not a multiple of the scrape interval: what increase() estimates at the window's ends is part of the count
AFTER_AN_HOUR, INTERVAL = "3605s", "15s"


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rules") / "keyturn.rules.yml"
    path.write_text(yaml.safe_dump(prometheus.rules(THRESHOLDS, COUNTED, "https://example.com/monitoring.md", CLIENTS)))
    return path


class Case:
    """One test of promtool: series, and how many alerts fire when."""

    def __init__(self, name: str, series: dict[str, str], interval: str = INTERVAL) -> None:
        self.document: dict[str, Any] = {
            "name": name,
            "interval": interval,
            "input_series": [{"series": series_, "values": values} for series_, values in series.items()],
            "promql_expr_test": [],
        }

    def fires(self, alert: str, severity: str, count: int, at: str = AFTER_AN_HOUR) -> Case:
        expression = (
            f'count(ALERTS{{alertname="Keyturn{alert}", severity="{severity}", alertstate="firing"}}) or vector(0)'
        )
        wanted = [{"labels": "{}", "value": count}]
        self.document["promql_expr_test"].append({"expr": expression, "eval_time": at, "exp_samples": wanted})
        return self


def check(rules: Path, *cases: Case, every: str = "103s") -> None:
    document = {"rule_files": [str(rules)], "evaluation_interval": every, "tests": [case.document for case in cases]}
    path = rules.with_name("test.yml")
    path.write_text(yaml.safe_dump(document))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def events(counts: dict[str, int], counters: tuple[str, ...]) -> dict[str, str]:
    """Return the series of all counters, 15 s apart: so many events for each, one after the other from the fifth minute."""
    return {
        name + LABELS: f"0x20 1+1x{counts[name] - 1} {counts[name]}x600" if counts.get(name) else "0x600"
        for name in counters
    }


def test_the_rules_are_rules(rules: Path) -> None:
    subprocess.run(["promtool", "check", "rules", "--lint-fatal", rules], check=True, capture_output=True)


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda one: str(one["metric"]))
def test_each_threshold_below_at_and_above(rules: Path, threshold: dict[str, Any]) -> None:
    metric = COUNTED.metrics()[threshold["metric"]]
    warning, critical = threshold["warning"], threshold["critical"]
    cases = []
    for count in sorted({warning - 1, warning, warning + 1, critical - 1, critical, critical + 1}):
        series = events({metric.counters[0]: count}, metric.counters)
        case = Case(f"{threshold['metric']}: {count}", series)
        case.fires(metric.alert, "warning", int(warning <= count < critical))
        case.fires(metric.alert, "critical", int(count >= critical))
        # an hour after the last event it is over
        case.fires(metric.alert, "warning", 0, "135m").fires(metric.alert, "critical", 0, "135m")
        cases.append(case)
    check(rules, *cases)


def test_events_of_all_causes_and_hosts_are_one_number(rules: Path) -> None:
    counters = COUNTED.metrics()["failed_auth"].counters
    here = events(dict.fromkeys(counters, 1), counters)
    there = {name.replace('"a"', '"b"'): values for name, values in here.items()}
    check(
        rules,
        Case("nine causes on one host", here).fires("FailedAuth", "warning", 0),
        Case("and on two", here | there).fires("FailedAuth", "warning", 1),
    )


def test_a_restart_of_the_counter_loses_nothing(rules: Path) -> None:
    series = {"trader_ai_plaid_errors_total" + LABELS: "0x20 1x10 2x10 0x10 1x10 1x600"}
    check(rules, Case("reset", series).fires("PlaidErrors", "warning", 1))


def test_through_a_rotations_silence(rules: Path) -> None:
    """The silence covers FailedAuth alone: what a rotation cannot cause is told under other names."""
    counters = COUNTED.metrics()["failed_auth"].counters
    expected = Case("clients with old tokens", events({COUNTED.metrics()["failed_auth"].expected: CLIENTS}, counters))
    beyond = Case(
        "more than there are clients", events({COUNTED.metrics()["failed_auth"].expected: CLIENTS + 10}, counters)
    )
    other = Case("another cause", events({"trader_ai_auth_malformed_total": 10}, counters))
    check(
        rules,
        expected.fires("FailedAuth", "critical", 1)
        .fires("FailedAuthBeyondRotation", "warning", 0)
        .fires("FailedAuthOtherCause", "warning", 0),
        beyond.fires("FailedAuthBeyondRotation", "warning", 1).fires("FailedAuthOtherCause", "warning", 0),
        other.fires("FailedAuthOtherCause", "warning", 1).fires("FailedAuthBeyondRotation", "warning", 0),
    )


def test_a_spike_against_the_same_hour_of_past_days(rules: Path) -> None:
    # ten minutes apart: 144 steps are a day, 6 an hour; four days of 10 or of 30 calls an hour, then an hour of 60
    usual, busy = {"trader_ai_plaid_requests_total" + LABELS: "0+2x576 1153+10x20"}, {}
    busy["trader_ai_plaid_requests_total" + LABELS] = "0+5x576 2881+10x20"
    check(
        rules,
        Case("60 where 12 are usual", usual, "10m").fires("CallSpike", "warning", 1, "97h10m"),
        Case("60 where 30 are usual", busy, "10m").fires("CallSpike", "warning", 0, "97h10m"),
        Case("a usual hour", usual, "10m").fires("CallSpike", "warning", 0, "95h"),
        every="10m",
    )


@pytest.mark.parametrize(
    ("alert", "counter"),
    [
        ("DeniedAddress", "keyturn_denied_address_requests_total"),
        ("UnexpectedCountry", "keyturn_unexpected_country_requests_total"),
    ],
)
def test_one_request_is_enough(rules: Path, alert: str, counter: str) -> None:
    severity = "critical" if alert == "DeniedAddress" else "warning"
    check(
        rules,
        Case("one", {counter + LABELS: "0x20 1x600"}).fires(alert, severity, 1),
        Case("none", {counter + LABELS: "0x600"}).fires(alert, severity, 0),
    )


def test_what_keyturn_knows(rules: Path) -> None:
    def series(name: str, value: float) -> dict[str, str]:
        return {f'keyturn_{name}{{environment="test", secret="jwt"}}': f"{value}x600"}

    def age(days: float) -> dict[str, str]:
        return series("secret_age_seconds", days * 86400) | series("secret_max_age_seconds", 90 * 86400)

    check(
        rules,
        Case("90 days", age(90)).fires("SecretOverdue", "warning", 0),
        Case("more", age(90.1)).fires("SecretOverdue", "warning", 1),
        Case("open for long", series("secret_open_rotations", 2)).fires("RotationOpen", "critical", 1),
        Case("open just now", series("secret_open_rotations", 2)).fires("RotationOpen", "critical", 0, "20m"),
        Case("broken", series("secret_broken", 1)).fires("Broken", "critical", 1),
        Case("log", {'keyturn_environment_broken{environment="test"}': "1x600"}).fires("Broken", "critical", 1),
        Case("revocation", series("secret_open_revocations_seconds", 8 * 86400)).fires("RevocationOpen", "warning", 1),
        Case("all is well", age(1) | series("secret_broken", 0) | series("secret_open_rotations", 0))
        .fires("Broken", "critical", 0)
        .fires("RotationOpen", "critical", 0),
        Case("never looked", {'keyturn_status_time_seconds{environment="test"}': "0x6000"}).fires(
            "StatusStale", "warning", 0
        ),
    )
    stale = Case("not for a day", {'keyturn_status_time_seconds{environment="test"}': "0x400"}, "10m")
    check(rules, stale.fires("StatusStale", "warning", 1, "27h").fires("StatusStale", "warning", 0, "26h"), every="10m")


def test_a_dead_exporter_alerts(rules: Path) -> None:
    check(
        rules,
        Case("down", {f"up{LABELS}": "1x20 0x600"}).fires("ExporterDown", "critical", 1),
        Case("up", {f"up{LABELS}": "1x600"}).fires("ExporterDown", "critical", 0).fires("CountsGone", "critical", 0),
        Case("silent", {"trader_ai_lines_total" + LABELS: "7x600"})
        .fires("LogSilent", "warning", 1)
        .fires("LogSilent", "warning", 0, "50m"),
        Case("a line", {"trader_ai_lines_total" + LABELS: "7x30 8x600"}).fires("LogSilent", "warning", 0),
        Case("no target", {'up{job="other"}': "1x600"}).fires("CountsGone", "critical", 1),
        Case("addresses", {"keyturn_addresses_time_seconds" + LABELS: "0x600"}).fires("AddressesStale", "warning", 1),
    )
