#!/usr/bin/python
"""Open an incident, write its document, tick a point of it, or say what is late."""

DOCUMENTATION = r"""
module: keyturn_incident
short_description: Open an incident, write its document, tick a point of it, or say what is late
description:
  - C(open) decides by the table what is done, and opens the document or goes on with the one that is there.
  - C(report) takes up what the steps and the evidence have come to, and ticks what that shows.
  - C(tick) ticks a point for a person.
  - C(status) says what is open and late, of one incident or of all.
options:
  action:
    description: What to do.
    type: str
    required: true
    choices: [open, report, status, tick]
  folder:
    description: The environment's folder of reports.
    type: path
    required: true
  id:
    description: The incident; empty for all of them with C(status).
    type: str
    default: ''
  leaked:
    description: What has leaked, a row of the table.
    type: str
    default: ''
  affected:
    description: Secrets that are affected beside those of the table.
    type: list
    elements: str
    default: []
  since:
    description: Since when evidence is collected, as ISO 8601 in UTC. A week before now if empty.
    type: str
    default: ''
  recipient:
    description: The age key to which evidence is encrypted.
    type: str
    default: ''
  options:
    description: Options of the run, in which nothing may ask a person, since its steps get them.
    type: dict
    default: {}
  without_evidence:
    description: Why no evidence is collected.
    type: str
    default: ''
  drill:
    description: Whether this is a drill.
    type: bool
    default: false
  environment:
    description: Name of the environment.
    type: str
    default: ''
  operator:
    description: Who responds, or ticks. The pipeline's actor or the user if empty.
    type: str
    default: ''
  rotation_open:
    description: Whether a rotation is open on a host.
    type: bool
    default: false
  held:
    description: What each host holds, C(held) of M(keyturn_rotation_info), by its name; nothing for a host that gave no answer.
    type: dict
    default: {}
  hosts:
    description: The hosts of the environment.
    type: list
    elements: str
    default: []
  table:
    description: C(keyturn_incident_table).
    type: dict
    default: {}
  order:
    description: C(keyturn_incident_order).
    type: dict
    default: {}
  secrets:
    description: The catalogue, C(keyturn_secrets).
    type: dict
    default: {}
  checklists:
    description: C(keyturn_policy.incident).
    type: dict
    default: {}
  ticks:
    description: C(keyturn_incident_ticks).
    type: dict
    default: {}
  material:
    description: C(keyturn_incident_material).
    type: dict
    default: {}
  point:
    description: The point to tick.
    type: str
    default: ''
  note:
    description: What was found, and where that can be read.
    type: str
    default: ''
extends_documentation_fragment: keyturn.step
"""

EXAMPLES = r"""
- name: Say what is late
  keyturn_incident:
    action: status
    folder: reports/production
"""

RETURN = r"""
text:
  description: The plan, or what the document says, for a person.
  returned: success
  type: str
missing:
  description: What a run without check mode would be refused for, empty where nothing is missing.
  returned: open
  type: str
steps:
  description: Names of the steps.
  returned: open, outside check mode
  type: list
  elements: str
incident:
  description: What the document says.
  returned: open and report
  type: dict
late:
  description: A line for each point that is late.
  returned: status
  type: list
  elements: str
open_steps:
  description: Steps that have failed, or an affected secret waits for.
  returned: report
  type: list
  elements: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_incident.py
