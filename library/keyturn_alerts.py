#!/usr/bin/python
"""Make alerts from the policy's thresholds."""

DOCUMENTATION = r"""
module: keyturn_alerts
short_description: Make alerts from the policy's thresholds
description:
  - Reckons rules for Prometheus, a CloudFormation template for CloudWatch and monitors for Datadog from the same numbers.
    Reads and writes nothing.
options:
  thresholds:
    description: C(keyturn_policy.thresholds).
    type: list
    elements: dict
    required: true
    suboptions:
      metric:
        description: What is counted.
        type: str
        required: true
      title:
        description: The policy's words for it.
        type: str
        required: true
      warning:
        description: From which number on there is a warning.
        type: int
        required: true
      critical:
        description: From which number on it is critical.
        type: int
        required: true
      per:
        description: C(minute), C(hour) or C(day); empty for a count, which is taken over an hour.
        type: str
        default: ''
  application:
    description: Name of the application, of which its counters are named.
    type: str
    required: true
  counts:
    description: What is counted of it, C(monitoring.yml) of its folder.
    type: dict
    required: true
  log_lines:
    description: C(keyturn_log_lines), the lines that log services count.
    type: dict
    required: true
  runbooks:
    description: Address of the runbook page.
    type: str
    required: true
  expected_clients:
    description: How many requests with an old token a rotation may cause that ends all sessions.
    type: int
    default: 100
  log_group:
    description: CloudWatch's log group of the application.
    type: str
    required: true
  topic:
    description: SNS topic of CloudWatch's alarms.
    type: str
    default: ''
  notify:
    description: Handle that Datadog's monitors notify.
    type: str
    default: ''
extends_documentation_fragment: keyturn.step
"""

EXAMPLES = r"""
- name: Make alerts
  keyturn_alerts:
    thresholds: "{{ keyturn_policy.thresholds }}"
    application: shop
    counts: "{{ keyturn_counts }}"
    log_lines: "{{ keyturn_log_lines }}"
    log_group: shop
    runbooks: https://example.com/docs/monitoring.md
"""

RETURN = r"""
prometheus:
  description: A rules file.
  returned: success
  type: dict
cloudwatch:
  description: A CloudFormation template; what only an address's history can tell is not in it.
  returned: success
  type: dict
datadog:
  description: Monitors, each as Datadog's API takes it; the same holds.
  returned: success
  type: list
  elements: dict
datadog_pipeline:
  description: The pipeline that gives log lines the attributes which the monitors count.
  returned: success
  type: dict
"""

from ansible.module_utils.keyturn.entry.module import run
from ansible.module_utils.keyturn.monitoring import alerts, cloudwatch, datadog, prometheus

THRESHOLD = {
    "metric": {"type": "str", "required": True},
    "title": {"type": "str", "required": True},
    "warning": {"type": "int", "required": True},
    "critical": {"type": "int", "required": True},
    "per": {"type": "str", "default": ""},
}


def make(module):
    """Make all three."""
    parameters = module.params
    thresholds, lines, runbooks = parameters["thresholds"], parameters["log_lines"], parameters["runbooks"]
    counted = alerts.Counted(parameters["application"], parameters["counts"])
    return {
        "changed": False,
        "prometheus": prometheus.rules(thresholds, counted, runbooks, parameters["expected_clients"]),
        "cloudwatch": cloudwatch.template(
            thresholds, counted, lines, parameters["log_group"], parameters["topic"], runbooks
        ),
        "datadog": datadog.monitors(thresholds, counted, lines, parameters["notify"], runbooks),
        "datadog_pipeline": datadog.pipeline(counted),
    }


if __name__ == "__main__":
    run(
        {
            "thresholds": {"type": "list", "elements": "dict", "required": True, "options": THRESHOLD},
            "application": {"type": "str", "required": True},
            "counts": {"type": "dict", "required": True},
            "log_lines": {"type": "dict", "required": True},
            "runbooks": {"type": "str", "required": True},
            "expected_clients": {"type": "int", "default": 100},
            "log_group": {"type": "str", "required": True},
            "topic": {"type": "str", "default": ""},
            "notify": {"type": "str", "default": ""},
        },
        make,
    )
