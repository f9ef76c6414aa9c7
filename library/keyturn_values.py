#!/usr/bin/python
"""Generate the values of a secret that all hosts share."""

DOCUMENTATION = r"""
module: keyturn_values
short_description: Generate the values of a secret that all hosts share
description:
  - Runs on the controller. The values go on to M(keyturn_stage) in memory.
options:
  variables:
    description: Names of the variables.
    type: list
    elements: str
    required: true
  generator:
    description: Kind of value. Omitted for a value that is brought, this only says whether one is needed.
    type: str
    choices: [fernet, hex, password, token_urlsafe]
  rotation_id:
    description: Id of the rotation.
    type: str
    required: true
  hosts:
    description:
      - What M(keyturn_rotation_info) returned, by host. Where the hosts have the value of an interrupted rotation already, none is
        generated.
    type: dict
    required: true
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Generates nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Generate the value
  keyturn_values:
    variables: [SIGNING_KEY]
    generator: token_urlsafe
    rotation_id: "{{ rotation_plan.rotation_id }}"
    hosts: "{{ rotation_looked_hosts }}"
  register: rotation_generated
"""

RETURN = r"""
needed:
  description: Whether the hosts need a value.
  returned: success
  type: bool
new:
  description: Fingerprint of the new value of each variable.
  returned: when one was needed and a generator given, outside check mode
  type: dict
"""

# The work is done in the controller's own process: plugins/action/keyturn_values.py
