"""The CloudFormation template, given to the AWS API server: what it makes has the policy's numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from keyturn import alerts
from support.lab import ROOT, free_port
from support.watching import get, wait_for

THRESHOLDS = yaml.safe_load((ROOT / "playbooks/group_vars/all/policy.yml").read_text())["keyturn_policy"]["thresholds"]
TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, Any]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = Path(sys.executable).with_name("moto_server")
    server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=-3, stderr=-3)

    def answers() -> bool:
        try:
            return bool(get(f"{url}/moto-api/data.json"))
        except OSError:
            return False

    wait_for("moto", answers)
    options = {
        "endpoint_url": url,
        "region_name": "us-east-1",
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
    }
    yield {name: boto3.client(name, **options) for name in ("cloudformation", "cloudwatch", "logs")}
    server.terminate()
    server.wait(10)


def test_a_stack_of_the_template_has_filters_and_alarms(aws: dict[str, Any]) -> None:
    aws["logs"].create_log_group(logGroupName="trader-ai")
    template = alerts.cloudwatch(THRESHOLDS, "trader-ai", TOPIC, "https://example.com/monitoring.md")
    aws["cloudformation"].create_stack(StackName="keyturn", TemplateBody=json.dumps(template))
    alarms = {one["AlarmName"]: one for one in aws["cloudwatch"].describe_alarms()["MetricAlarms"]}
    logged = [one for one in THRESHOLDS if one["metric"] != "new_ips"]
    assert {name: (one["Threshold"], one["Period"], one["AlarmActions"]) for name, one in alarms.items()} == {
        f"keyturn-{one['metric']}-{severity}": (one[severity], 3600, [TOPIC])
        for one in logged
        for severity in ("warning", "critical")
    }
    filters = aws["logs"].describe_metric_filters(logGroupName="trader-ai")["metricFilters"]
    assert {one["filterName"] for one in filters} == {f"keyturn-{one['metric']}" for one in logged}
    counted = {one["metricTransformations"][0]["metricName"] for one in filters}
    assert counted == {one["MetricName"] for one in alarms.values()}, "each alarm watches what a filter counts"
