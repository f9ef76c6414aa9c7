#!/usr/bin/python
"""Fix the hosts that take part in a rotation."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_fleet
short_description: Fix the hosts that take part in a rotation
description:
  - Runs on the controller. Leaves out the hosts that a person has excluded, and those that gave no answer where each host has a
    value of its own. Refuses a shared value while a host gives no answer.
options:
  value:
    description: Whether the hosts share the value.
    type: str
    required: true
    choices: [per_host, shared]
  hosts:
    description: What each host of the group C(trader_ai) has answered, by its name. The action reads it.
    type: dict
  excluded:
    description: Hosts that a person has left out, with the reason.
    type: dict
    default: {}
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Changes nothing anyway.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Fix the hosts that take part
  keyturn_fleet:
    value: shared
    excluded: {app3: its board is broken}
"""

RETURN = r"""
hosts:
  description: The hosts that take part, in the order of the inventory.
  returned: success
  type: list
  elements: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_fleet.py
