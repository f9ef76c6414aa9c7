#!/usr/bin/python
"""Say which secrets are to be turned now."""

DOCUMENTATION = r"""
module: keyturn_due_info
short_description: Say which secrets are to be turned now
description:
  - Runs on the controller, on what M(keyturn_rotation_info) said. Fails while a host is silent or a rotation is open.
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
    description: The reports and the log of the environment. By the log a secret's age is reckoned, more than by the word of a host.
    type: str
    required: true
  window:
    description: The maintenance window, C(days), C(from) and C(to) in UTC; always open if empty.
    type: dict
    default: {}
  grace_days:
    description: Days before its due date from which on a secret is turned.
    type: int
    default: 7
extends_documentation_fragment: keyturn.info
"""

EXAMPLES = r"""
- name: Say what is due
  keyturn_due_info:
    secrets: "{{ keyturn_secrets }}"
    hosts: "{{ rotation_answers }}"
    folder: "{{ rotation_folder }}"
    window: {days: [sat], from: "22:00", to: "02:00"}
  register: rotation_due
"""

RETURN = r"""
calendar:
  description: Age, due date and next window of each secret, those to turn in front.
  returned: success
  type: list
  elements: dict
turn:
  description: The secrets to turn now, in this order.
  returned: success
  type: list
  elements: str
text:
  description: The same for a person.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_due_info.py
