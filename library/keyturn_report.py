#!/usr/bin/python
"""Write the report and the log of a rotation."""

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
  wish:
    description: Which end the run promises, C(forward) the new value, C(back) the old one.
    type: str
    choices: [back, forward]
    default: forward
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
  by_key:
    description: Whether people sign with keys here, for what the text says of it.
    type: bool
    default: false
extends_documentation_fragment: keyturn.step
"""

EXAMPLES = r"""
- name: Report
  keyturn_report:
    folder: reports
    plan: "{{ rotation_plan }}"
    hosts: "{{ rotation_hosts }}"
    ended: true
    entry: "{{ keyturn_secrets.signing_key }}"
    checklist: "{{ keyturn_policy.checklist }}"
"""

RETURN = r"""
outcome:
  description:
    - C(committed), C(committed_with_exclusions), C(committed_unproved), C(committed_in_part), C(rolled_back),
      C(refused), C(needs_attention) or C(interrupted).
  returned: success
  type: str
failure:
  description: Why it did not succeed, empty when it did.
  returned: success
  type: str
ended_at:
  description: When the run ended.
  returned: success
  type: str
ending:
  description: Why the run fails, empty where the rotation has ended as the run promises, and within its budget of downtime.
  returned: success
  type: str
text:
  description: The report for a person, empty at the begin; the action prints it.
  returned: success
  type: str
path:
  description: The file of the report.
  returned: success
  type: str
log_head:
  description: Number and hash of the record of the log that was written; empty where none was.
  returned: success
  type: dict
stats:
  description: What a workflow branches on. C(outcome), C(rotation_id), C(secret), C(environment), and as C(next) the playbook that follows.
  returned: success
  type: dict
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
