#!/usr/bin/python
"""Write the evidence of revocations into the rotation log."""

DOCUMENTATION = r"""
module: keyturn_log_revocations
short_description: Write the evidence of revocations into the rotation log
description:
  - Runs on the controller after M(keyturn_retire) has closed them on every host. A revocation that is logged is not again, and one of a
    rotation that the log does not know is told and not logged.
options:
  secrets:
    description: The catalogue, C(keyturn_secrets).
    type: dict
    required: true
  environment:
    description: Name of the environment.
    type: str
    required: true
  hosts:
    description: The revocations that M(keyturn_retire) returned, by host.
    type: dict
    required: true
  excluded:
    description: Hosts that were left out, with the reason; they keep the dead value until this is run with them.
    type: dict
    default: {}
  folder:
    description: The environment's folder of reports.
    type: path
    required: true
extends_documentation_fragment: keyturn.step
"""

EXAMPLES = r"""
- name: Log the evidence
  keyturn_log_revocations:
    secrets: "{{ keyturn_secrets }}"
    environment: staging
    hosts: {app1: "{{ rotation_retired.revocations }}"}
    folder: reports/staging
"""

RETURN = r"""
dead:
  description: The newest of them of each secret, C(secret) and C(rotation_id).
  returned: success
  type: list
  elements: dict
revoked:
  description: Ids of the rotations whose old credential is proved dead.
  returned: success
  type: list
  elements: str
unknown:
  description: Rotations that a host says this of, and that the log does not know.
  returned: success
  type: list
  elements: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_log_revocations.py
