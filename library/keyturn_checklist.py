#!/usr/bin/python
"""Sign the checklist of a rotation, or close it."""

DOCUMENTATION = r"""
module: keyturn_checklist
short_description: Sign the checklist of a rotation, or close it
description:
  - Runs on the controller. Appends a record to the rotation log. Refused while the log is broken.
  - Who has rotated may not sign, neither by that name nor by that login. A checklist is closed only when each point has evidence and
    somebody has signed.
options:
  folder:
    description: The environment's folder of reports.
    type: path
    required: true
  secrets:
    description: The catalogue, C(keyturn_secrets).
    type: dict
    required: true
  checklist:
    description: The points of the policy, C(keyturn_policy.checklist).
    type: list
    elements: dict
    required: true
  rotation_id:
    description: Id of the rotation.
    type: str
    required: true
  step:
    description: What to do.
    type: str
    required: true
    choices: [close, sign]
  signer:
    description: Who has verified the rotation.
    type: str
    default: ''
  signing_key:
    description:
      - The signer's private key, or the public half of one that ssh-agent has. Refused where it is one of who has rotated by
        C(allowed_signers). Needed where there is such a file; then the login does not count, and a sign-off without a key neither.
    type: path
    default: ''
  allowed_signers:
    description: The file of allowed signers, as in ssh-keygen(1); its namespace is C(keyturn).
    type: path
    default: ''
  points:
    description: What the signer has seen, by the id of the point.
    type: dict
    default: {}
extends_documentation_fragment: keyturn.step
"""

EXAMPLES = r"""
- name: Sign
  keyturn_checklist:
    folder: reports/staging
    secrets: "{{ keyturn_secrets }}"
    checklist: "{{ keyturn_policy.checklist }}"
    rotation_id: 20260131T235959Z-0123456789abcdef
    step: sign
    signer: A. Person
    points: {users_notified: mail of 10:00}
"""

RETURN = r"""
text:
  description: The checklist for a person.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_checklist.py
