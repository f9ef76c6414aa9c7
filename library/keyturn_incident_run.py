#!/usr/bin/python
"""Do one step of the response to an incident."""

DOCUMENTATION = r"""
module: keyturn_incident_run
short_description: Do one step of the response to an incident
description:
  - Runs the playbook of the step in a process of its own, with the inventory and the options of this run, and writes down in
    the incident's document what came of it. A step that fails does not fail the task. One that is done is not repeated.
options:
  folder:
    description: The environment's folder of reports.
    type: path
    required: true
  id:
    description: The incident.
    type: str
    required: true
  step:
    description: Name of the step.
    type: str
    required: true
  playbooks:
    description: Folder of the playbooks.
    type: path
    required: true
  secrets:
    description: The catalogue, C(keyturn_secrets).
    type: dict
    required: true
  vaulted:
    description: Whether new values lie in a file that ansible-vault has encrypted.
    type: bool
    default: false
  options:
    description: Options of the run that its steps get as well, such as the inventory and the vault's password file.
    type: list
    elements: str
    default: []
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Does nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Rotate
  keyturn_incident_run:
    folder: reports/staging
    id: INC-2026-007
    step: rotate signing_key
    playbooks: "{{ playbook_dir }}"
    secrets: "{{ keyturn_secrets }}"
"""

RETURN = r"""
state:
  description: C(done), C(skipped), C(waiting) for a person, or C(failed).
  returned: outside check mode
  type: str
evidence:
  description: What shows it, or what is needed.
  returned: outside check mode
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_incident_run.py
