#!/usr/bin/python
"""Render the policy from its data."""

DOCUMENTATION = r"""
module: keyturn_policy
short_description: Render the policy from its data
description:
  - Runs on the controller. With a folder of reports, the dates of the last rotations and the log are filled in.
options:
  policy:
    description: The policy, C(keyturn_policy).
    type: dict
    required: true
  secrets:
    description: The catalogue, C(keyturn_secrets).
    type: dict
    required: true
  dest:
    description: The Markdown file to write.
    type: path
    required: true
  folder:
    description: An environment's folder of reports.
    type: path
extends_documentation_fragment: keyturn.step
"""

EXAMPLES = r"""
- name: Render the policy
  keyturn_policy:
    policy: "{{ keyturn_policy }}"
    secrets: "{{ keyturn_secrets }}"
    dest: docs/policy.md
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_policy.py
