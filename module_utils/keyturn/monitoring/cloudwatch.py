"""CloudWatch's metric filters and alarms for the policy's thresholds, as a template of CloudFormation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..base.log_lines import Line, starts
from ..inputs.application import Threshold
from .alerts import SEVERITIES, Counted, Document, counting

# how an alarm counts, and one of which nobody is told
REACHED = {
    "Statistic": "Sum",
    "EvaluationPeriods": 1,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "TreatMissingData": "notBreaching",
}
NOBODY: Mapping[str, Sequence[str]] = {"AlarmActions": [], "OKActions": []}
SECONDS = {"": 3600, "minute": 60, "hour": 3600, "day": 86400}


def template(
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
        known = counting(threshold, metric, lines)
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
