#!/usr/bin/python
"""Choose the way on which an open rotation ends."""

DOCUMENTATION = r"""
module: keyturn_recover
short_description: Choose the way on which an open rotation ends
description:
  - Runs on the controller. A decision that stands on any host binds all; where there is none the wish counts.
  - First ends, in report and log, the rotations that no host knows, whose run was killed before the first host was asked.
  - What hosts tell of a rotation that log and reports do not know begins on no host that does not know it either.
  - Where no rotation is open, one that has ended on the hosts but whose report was never finished is chosen.
options:
  wish:
    description: The way where both are possible.
    type: str
    required: true
    choices: [forward, back]
  hosts:
    description: What M(keyturn_rotation_info) returned, by host.
    type: dict
    required: true
  secrets:
    description: The catalogue.
    type: dict
    required: true
  reports:
    description: The environment's folder of reports.
    type: path
    required: true
  rotation_id:
    description: The rotation that a person knows to be open where neither log nor reports do, empty for none.
    type: str
    default: ""
extends_documentation_fragment: keyturn.step
"""

EXAMPLES = r"""
- name: Choose the way
  keyturn_recover:
    wish: forward
    hosts: "{{ rotation_looked_hosts }}"
    secrets: "{{ keyturn_secrets }}"
    reports: reports/staging
  register: rotation_recovery
"""

RETURN = r"""
ended:
  description: The rotations that were ended here, since no host knows them.
  returned: success
  type: list
  elements: str
way:
  description: C(forward), C(back) or C(none).
  returned: success
  type: str
rotation_id:
  description: Id of the rotation.
  returned: success
  type: str
secret:
  description: Its secret.
  returned: success
  type: str
message:
  description: What is open, for a person.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_recover.py
