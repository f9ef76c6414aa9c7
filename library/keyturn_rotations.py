#!/usr/bin/python
"""Run a whole rotation of each of some secrets."""

DOCUMENTATION = r"""
module: keyturn_rotations
short_description: Run a whole rotation of each of some secrets
description:
  - Runs the lifecycle as a run of its own for one secret after another, with the options of this run. Stops at the first failure.
  - Nobody can type in a password there, so vault and become passwords must come from files.
options:
  secrets:
    description: Names of the secrets, in their order.
    type: list
    elements: str
    required: true
  window:
    description: The maintenance window, C(days), C(from) and C(to) in UTC; always open if empty.
    type: dict
    default: {}
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Is passed on to each run.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Turn what is due
  keyturn_rotations:
    secrets: "{{ rotation_due.turn }}"
"""

RETURN = r"""
turned:
  description: The secrets that were turned.
  returned: success
  type: list
  elements: str
left:
  description: The secrets that were not tried.
  returned: success
  type: list
  elements: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_rotations.py
