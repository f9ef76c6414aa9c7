"""From a failed login at the application to the message, with the real programs: written by the playbook, run on loopback."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from keyturn.monitoring import silence
from support.lab import Lab
from support.watching import Watched, Webhook, get, wait_for

# the policy's numbers in minutes, so that an alert is over while the test waits. On a busy machine Prometheus misses scrapes, and
# then estimates up to twice the events: four failures are no twelve
IN_MINUTES = [
    {"metric": "failed_auth", "title": "Failed auth attempts", "warning": 3, "critical": 12, "per": "minute"},
    {"metric": "plaid_errors", "title": "Plaid API errors", "warning": 3, "critical": 10, "per": "minute"},
    {"metric": "alpaca_errors", "title": "Alpaca API errors", "warning": 5, "critical": 20, "per": "minute"},
    {"metric": "new_ips", "title": "API calls from new IPs", "warning": 1, "critical": 5, "per": ""},
]
POLICY = {"thresholds": IN_MINUTES, "contacts": {"security_team": {"address": "security@example.com"}}}
ID = "20260101T000000Z-0123456789abcdef"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watched, Webhook]]:
    lab = Lab(tmp_path_factory.mktemp("watched"))
    lab.start()
    webhook = Webhook()
    watched = Watched(
        lab,
        monitoring_webhook_url=webhook.url,
        monitoring_export_dir=str(lab.folder / "export"),
        monitoring_expected_clients=5,
    )
    watched.write(keyturn_policy=POLICY)
    try:
        watched.watch.start()
        yield watched, webhook
    finally:
        watched.watch.stop()
        webhook.shutdown()
        lab.stop()


def both(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return found if len(found) == 2 else []


def test_failed_logins_alert_and_are_over(watched: tuple[Watched, Webhook]) -> None:
    here, webhook = watched
    wait_for("the first scrape", lambda: here.query("trader_ai_auth_missing_header_total"))
    up = wait_for("both exporters", lambda: both(here.query('up{job=~"keyturn-.*"}')))
    assert [one["value"][1] for one in up] == ["1", "1"]
    for _ in range(4):
        assert here.lab.get("/api/positions", login=False) == 500
    fired = wait_for("the alert", lambda: webhook.heard("KeyturnFailedAuth", "warning", "firing"))[0]
    assert fired["labels"]["environment"] == "test"
    assert fired["annotations"]["summary"].startswith("Failed auth attempts: ")
    assert fired["annotations"]["runbook_url"].endswith("#failed-authentication")
    wait_for("the end", lambda: webhook.heard("KeyturnFailedAuth", "warning", "resolved"), 150)
    assert not webhook.heard("KeyturnFailedAuth", "critical", "firing")


def test_a_silence_hears_what_a_rotation_cannot_cause(watched: tuple[Watched, Webhook]) -> None:
    here, webhook = watched
    alertmanager = here.watch.url("alertmanager")
    assert silence.begin(alertmanager, "FailedAuth", "test", ID, datetime.now(UTC), 300)
    assert not silence.begin(alertmanager, "FailedAuth", "test", ID, datetime.now(UTC), 300), (
        "a second call finds the first one's"
    )
    before = len(webhook.heard("KeyturnFailedAuth", "critical", "firing"))
    for _ in range(20):
        here.lab.get("/api/positions", login=False)
    wait_for("the other alert", lambda: webhook.heard("KeyturnFailedAuthOtherCause", "critical", "firing"))
    held = get(f"{alertmanager}/api/v2/alerts?filter=alertname%3DKeyturnFailedAuth")
    assert {one["status"]["state"] for one in held} == {"suppressed"}
    assert len(webhook.heard("KeyturnFailedAuth", "critical", "firing")) == before
    assert silence.lift(alertmanager, ID)
    wait_for("the alert itself", lambda: len(webhook.heard("KeyturnFailedAuth", "critical", "firing")) > before)
    assert not silence.lift(alertmanager, ID)


def test_the_addresses_are_scraped(watched: tuple[Watched, Webhook]) -> None:
    here, _ = watched
    found = wait_for("the addresses", lambda: here.query('keyturn_known_address_requests_total{environment="test"}'))
    assert int(found[0]["value"][1]) > 0


def test_what_is_exported_for_others(watched: tuple[Watched, Webhook], tmp_path: Path) -> None:
    here, _ = watched
    folder = here.lab.folder / "export"
    assert (folder / "keyturn.rules.yml").read_bytes() == (here.root / "etc/prometheus/keyturn.rules.yml").read_bytes()
    own = tmp_path / "prometheus.yml"
    own.write_text((folder / "keyturn.scrape.yml").read_text())
    subprocess.run(["promtool", "check", "config", own], check=True, capture_output=True)
    assert json.loads((folder / "datadog.json").read_text())
    assert json.loads((folder / "cloudwatch.json").read_text())["Resources"]


def test_a_jwt_rotation_sets_its_silence_and_leaves_it(watched: tuple[Watched, Webhook]) -> None:
    here, _ = watched
    alertmanager = here.watch.url("alertmanager")
    here.lab.write_inventory(keyturn_alertmanager_url=alertmanager)
    done = here.lab.play("rotate_jwt_secret")
    assert done.returncode == 0, done.stdout + done.stderr
    silences = [
        one for one in get(f"{alertmanager}/api/v2/silences") if here.lab.report()["rotation_id"] in one["comment"]
    ]
    assert [one["status"]["state"] for one in silences] == ["active"]
    named = {one["name"]: one["value"] for one in silences[0]["matchers"]}
    assert named == {"alertname": "KeyturnFailedAuth", "environment": "test"}


ROUTES = [
    ({"severity": "critical"}, "security"),
    ({"severity": "warning"}, "security"),
]


def test_routes_to_mail_slack_and_webhook(make_lab: Callable[..., Lab]) -> None:
    quiet = {"start": "20:00", "end": "07:00"}
    everywhere: dict[str, Any] = {
        "monitoring_smtp": "127.0.0.1:25",
        "monitoring_slack_url_file": "/etc/keyturn-monitoring/slack",
        "monitoring_webhook_url": "http://127.0.0.1:9/",
        "monitoring_quiet_hours": quiet,
    }
    here = Watched(make_lab(), **everywhere)
    here.write()
    config = here.root / "etc/prometheus/alertmanager.yml"
    written = yaml.safe_load(config.read_text())
    assert {name for name in written["receivers"][0] if name != "name"} == {
        "email_configs",
        "slack_configs",
        "webhook_configs",
    }
    muted = [route["matchers"][0] for route in written["route"]["routes"] if route.get("mute_time_intervals")]
    assert muted == ['severity = "warning"'], "a critical alert waits for nobody"
    for labels, receiver in ROUTES:
        command = ["amtool", "config", "routes", "test", f"--config.file={config}"]
        said = subprocess.run(
            [*command, *(f"{k}={v}" for k, v in labels.items())], check=True, capture_output=True, text=True
        )
        assert said.stdout.strip() == receiver
    assert "changed=0" in here.write(), "a second run changes nothing"
