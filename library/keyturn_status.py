#!/usr/bin/python
"""Say what the secrets of an environment need."""

DOCUMENTATION = r"""
module: keyturn_status
short_description: Say what the secrets of an environment need
description:
  - Runs on the controller, on what M(keyturn_rotation_info) said. Writes C(status.json), C(status.csv) and C(status.html)
    into the environment's folder of reports.
options:
  secrets:
    description: The catalogue, C(keyturn_secrets).
    type: dict
    required: true
  hosts:
    description: What M(keyturn_rotation_info) returned, by host; nothing for a host that gave no answer.
    type: dict
    required: true
  folder:
    description: The environment's folder of reports.
    type: path
    required: true
  policy:
    description: The policy, C(keyturn_policy).
    type: dict
    required: true
  window:
    description: The maintenance window, C(days), C(from) and C(to) in UTC; always open if empty.
    type: dict
    default: {}
  grace_days:
    description: Days before its due date from which on a secret is turned.
    type: int
    default: 7
  allowed_signers:
    description: The file that says whose keys sign checklists (ssh-keygen(1)); signatures are not looked at if empty.
    type: path
    default: ''
  production:
    description: Whether a review of the policy that is late makes the state overdue; elsewhere its day is only shown.
    type: bool
    default: true
extends_documentation_fragment: keyturn.step
"""

EXAMPLES = r"""
- name: Say what is needed
  keyturn_status:
    secrets: "{{ keyturn_secrets }}"
    hosts: "{{ rotation_answers }}"
    folder: reports/staging
    policy: "{{ keyturn_policy }}"
"""

RETURN = r"""
status:
  description: State (C(ok), C(due), C(overdue) or C(broken)) of all and of each secret, ages, open revocations and rotations.
  returned: success
  type: dict
text:
  description: The same for a person.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_status.py
