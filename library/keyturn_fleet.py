#!/usr/bin/python
"""Say whether a rotation may begin, and with which hosts."""

DOCUMENTATION = r"""
module: keyturn_fleet
short_description: Say whether a rotation may begin, and with which hosts
description:
  - Runs on the controller. Leaves out the hosts that a person has excluded, and those that gave no answer where each host has a
    value of its own. Refuses a shared value while a host gives no answer.
  - Where an environment goes first, and always in production, refuses unless its reports have a rotation of the same secret that was
    committed and proved on every host, by the same revision of Keyturn, and not too long ago.
  - Ends, in report and log, the rotations that were killed before any host knew them.
options:
  plan:
    description: What M(keyturn_plan) returned.
    type: dict
    required: true
  hosts:
    description: What each host of the application has answered, by its name. The action reads it.
    type: dict
    default: {}
  excluded:
    description: Hosts that a person has left out, with the reason.
    type: dict
    default: {}
  staging:
    description: Name of the environment that goes first. None has to if empty, except in production.
    type: str
    default: ''
  production:
    description: Whether this environment is production, where only a reason lets a rotation pass without staging.
    type: bool
    default: false
  typed:
    description: Variables that stand on the command line, where those of the staging gate need a reason. The action reads it.
    type: list
    elements: str
    default: []
  max_age_days:
    description: How long a rotation there counts, in days.
    type: int
    default: 7
  folder:
    description: Folder of the reports, with a folder of each environment.
    type: path
    required: true
extends_documentation_fragment: keyturn.step
"""

EXAMPLES = r"""
- name: Fix the hosts that take part
  keyturn_fleet:
    plan: "{{ rotation_plan }}"
    excluded: {app3: its board is broken}
    folder: reports
"""

RETURN = r"""
hosts:
  description: The hosts that take part, in the order of the inventory.
  returned: success
  type: list
  elements: str
passed:
  description: The rotation on staging that lets this one pass, empty where there has to be none.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_fleet.py
