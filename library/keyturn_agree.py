#!/usr/bin/python
"""Refuse to go on with hosts that do not agree."""

DOCUMENTATION = r"""
module: keyturn_agree
short_description: Refuse to go on with hosts that do not agree
description:
  - Runs on the controller after all hosts have staged. A shared value must be the same on all, a value per host on none two.
  - Also refuses two names for one machine, clocks too far apart, and hosts that hold different values now of what they share.
options:
  secret:
    description: Name of the catalogue's entry.
    type: str
    required: true
  value:
    description: Whether the hosts share the value.
    type: str
    required: true
    choices: [per_host, shared]
  hosts:
    description: What each host of the application has answered to M(keyturn_stage), by its name. The action reads it.
    type: dict
    default: {}
  excluded:
    description: Hosts that a person has left out, with the reason.
    type: dict
    default: {}
  adopted:
    description: Host whose present value is right, where they differ.
    type: str
    default: ''
  environment:
    description: Name of the environment.
    type: str
    required: true
  reports:
    description: Folder of the reports of all environments. A new value that stands in those of another is refused.
    type: path
    required: true
  may_stay:
    description: Variables that may be the same in all environments.
    type: list
    elements: str
    default: []
  new:
    description: The fingerprints of a new value that somebody has brought, for what a check says.
    type: dict
    default: {}
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Changes nothing anyway, and says what would become of each host.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Compare what the hosts have staged
  keyturn_agree:
    secret: signing_key
    value: shared
    environment: production
    reports: reports
"""

RETURN = r"""
hosts:
  description: The hosts that go on.
  returned: success
  type: list
  elements: str
text:
  description: In check mode what each host holds and would hold, its rows, and how long it would be down; the action prints it.
  returned: in check mode
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_agree.py
