#!/usr/bin/python
"""Report on the storage of an environment's secrets."""

DOCUMENTATION = r"""
module: keyturn_storage_report
short_description: Report on the storage of an environment's secrets
description:
  - Runs on the controller, on what M(keyturn_storage_info) found. Adds what only the controller can see, which is values of other
    environments, the store with what its login may read, and a checkout of the application with its history. Writes
    C(storage.json) into the environment's folder of reports.
options:
  hosts:
    description: What M(keyturn_storage_info) returned, by host.
    type: dict
    required: true
  secrets:
    description: The catalogue, C(keyturn_secrets).
    type: dict
    required: true
  environment:
    description: Name of the environment.
    type: str
    required: true
  reports:
    description: The folder of the reports of all environments.
    type: path
    required: true
  production:
    description: Whether the rules for production count.
    type: bool
    required: true
  store:
    description: The inventory's C(keyturn_store).
    type: dict
    required: true
  checkout:
    description:
      - A git checkout of the application on the controller. Its files are searched for values of the hosts, by their fingerprints.
    type: path
  history:
    description:
      - Whether the history of C(checkout) is searched for what looks like a secret also where gitleaks is not installed, which takes long.
    type: bool
    default: false
  fail_at:
    description: The severity from which on a finding is too bad.
    type: str
    choices: [note, warning, error]
    default: error
extends_documentation_fragment: keyturn.step
"""

EXAMPLES = r"""
- name: Report on the storage
  keyturn_storage_report:
    hosts: "{{ rotation_storages }}"
    secrets: "{{ keyturn_secrets }}"
    environment: staging
    reports: reports
    production: false
    store: "{{ keyturn_store }}"
"""

RETURN = r"""
findings:
  description: All findings, by host, and under C(controller) those of the environment.
  returned: success
  type: dict
bad:
  description: The findings from C(fail_at) on, each in a line.
  returned: success
  type: list
  elements: str
text:
  description: The findings for a person.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_storage_report.py
