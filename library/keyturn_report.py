#!/usr/bin/python
"""Write the report and the log of a rotation."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_report
short_description: Write the report and the log of a rotation
description:
  - Runs on the controller. At the begin it writes a report with the outcome C(interrupted), which stands if the run is killed.
  - At the end it writes the report whole, with the checklist. Begin and end are a record each in the environment's rotation
    log, whose head the report keeps.
  - A report that tells an end stands, so that repeating the rotation changes nothing, unless
    a host that was left out has come back.
options:
  folder:
    description: Folder of reports; each environment has its own in it.
    type: path
    required: true
  plan:
    description: The plan, from M(keyturn_plan).
    type: dict
    required: true
  hosts:
    description: The journal of each host of the inventory, empty for a host that said nothing.
    type: dict
    required: true
  excluded:
    description: The hosts that a person has left out, with the reason.
    type: dict
    default: {}
  failure:
    description: The first cause, when something failed.
    type: str
    default: ''
  ended:
    description: Whether the run has come to its end.
    type: bool
    required: true
  entry:
    description: The secret's entry of the catalogue.
    type: dict
    required: true
  checklist:
    description: The points of the policy's checklist.
    type: list
    elements: dict
    required: true
  link:
    description: Where the folder of reports can be read, for messages. Its path if empty.
    type: str
    default: ''
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Writes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Report
  keyturn_report:
    folder: reports
    plan: "{{ rotation_plan }}"
    hosts: "{{ rotation_hosts }}"
    ended: true
    entry: "{{ keyturn_secrets.db_key }}"
    checklist: "{{ keyturn_policy.checklist }}"
"""

RETURN = r"""
outcome:
  description:
    - C(committed), C(committed_with_exclusions), C(committed_in_part), C(rolled_back), C(refused), C(needs_attention) or
      C(interrupted).
  returned: success
  type: str
failure:
  description: Why it did not succeed, empty when it did.
  returned: success
  type: str
finished:
  description: When the run ended.
  returned: success
  type: str
over_budget:
  description: Hosts that were down for longer than the catalogue allows.
  returned: success
  type: list
  elements: str
text:
  description: The report for a person, empty at the begin; the action prints it.
  returned: success
  type: str
path:
  description: The file of the report.
  returned: success
  type: str
events:
  description: What people are told of the end.
  returned: success
  type: list
  elements: str
facts:
  description: What they are told of it, by name.
  returned: success
  type: dict
"""

# The work is done in the controller's own process: plugins/action/keyturn_report.py
