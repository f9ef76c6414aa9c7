#!/usr/bin/python
"""Write what a replacement of access tokens has come to into the rotation log."""

DOCUMENTATION = r"""
module: keyturn_log_replacement
short_description: Write what a replacement of access tokens has come to into the rotation log
description:
  - Runs on the controller after M(keyturn_replace_tokens) has ended, or failed, on the hosts. Every run has a record.
options:
  issuer:
    description: The secret whose provider gave the tokens out, by its name in the catalogue.
    type: str
    required: true
  environment:
    description: Name of the environment.
    type: str
    required: true
  reason:
    description: Why the tokens were replaced.
    type: str
    required: true
  operator:
    description: Who has done it. Without it the pipeline's actor, or the user.
    type: str
    default: ""
  hosts:
    description: The last answer of M(keyturn_replace_tokens) by host, empty for a host that gave none.
    type: dict
    required: true
  excluded:
    description: Hosts that were left out, with the reason.
    type: dict
    default: {}
  failure:
    description: What stopped the replacement, empty when nothing did.
    type: str
    default: ""
  folder:
    description: The environment's folder of reports.
    type: path
    required: true
extends_documentation_fragment: keyturn.step
"""

EXAMPLES = r"""
- name: Log the replacement
  keyturn_log_replacement:
    issuer: plaid
    environment: staging
    reason: incident INC-1
    hosts: {app1: "{{ rotation_replaced }}"}
    folder: reports/staging
"""

RETURN = r"""
outcome:
  description: C(replaced), C(relink_required) when tokens were lost, or C(failed).
  returned: success
  type: str
failure:
  description: What stopped it, or which items must be linked again.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_log_replacement.py
