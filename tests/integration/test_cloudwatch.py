"""The template for CloudWatch on an AWS API server, whose client checks every property against AWS's own description of the API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
import yaml
from keyturn.monitoring import alerts, cloudwatch
from support.lab import ROOT
from support.stores import secretsmanager

GROUP, TOPIC = "trader-ai", "arn:aws:sns:eu-west-1:123456789012:alerts"
LINES = yaml.safe_load((ROOT / "applications/trader_ai/catalogue.yml").read_text())["log_lines"]
THRESHOLDS = yaml.safe_load((ROOT / "applications/trader_ai/policy.yml").read_text())["thresholds"]
COUNTED = alerts.Counted("trader_ai", yaml.safe_load((ROOT / "applications/trader_ai/monitoring.yml").read_text()))


@pytest.fixture(scope="module")
def client() -> Iterator[Callable[[str], Any]]:
    with secretsmanager() as url:
        keys = {"aws_access_key_id": "of-nobody", "aws_secret_access_key": "of-nobody"}
        yield lambda name: boto3.client(name, endpoint_url=url, region_name="eu-west-1", **keys)


@pytest.mark.parametrize("topic", [TOPIC, ""], ids=["topic", "no_topic"])
def test_filters_and_alarms_are_taken(client: Callable[[str], Any], topic: str) -> None:
    """The server knows no CloudFormation of these types, so each resource is made by the call that CloudFormation makes."""
    template = cloudwatch.template(
        THRESHOLDS, COUNTED, LINES, GROUP, topic, "https://keyturn.example.com/docs/monitoring.md"
    )
    client("cloudformation").validate_template(TemplateBody=json.dumps(template))
    logs, watch = client("logs"), client("cloudwatch")
    made = {kind: [] for kind in ("AWS::Logs::MetricFilter", "AWS::CloudWatch::Alarm")}
    for one in template["Resources"].values():
        made[one["Type"]].append(one["Properties"])
    for given in made["AWS::Logs::MetricFilter"]:
        logs.put_metric_filter(**lowered(given))
    for given in made["AWS::CloudWatch::Alarm"]:
        watch.put_metric_alarm(**given)

    filters = {one["filterName"]: one for one in logs.describe_metric_filters(logGroupName=GROUP)["metricFilters"]}
    found = {one["AlarmName"]: one for one in watch.describe_alarms()["MetricAlarms"]}
    counted = [one for one in THRESHOLDS if one["metric"] != "new_ips"]
    assert set(filters) == {f"keyturn-{one['metric']}" for one in counted}
    for one in counted:
        (transformation,) = filters[f"keyturn-{one['metric']}"]["metricTransformations"]
        for severity in ("warning", "critical"):
            alarm = found[f"keyturn-{one['metric']}-{severity}"]
            assert (alarm["Threshold"], alarm["Period"], alarm["Statistic"]) == (one[severity], 3600, "Sum")
            assert alarm["AlarmActions"] == ([topic] if topic else [])
            assert (alarm["Namespace"], alarm["MetricName"]) == (
                transformation["metricNamespace"],
                transformation["metricName"],
            )
    assert len(found) == 2 * len(counted)


def lowered(given: Any) -> Any:
    """Return properties as the API of the logs names them: with a small first letter."""
    if isinstance(given, dict):
        return {name[0].lower() + name[1:]: lowered(value) for name, value in given.items()}
    return [lowered(one) for one in given] if isinstance(given, list) else given
