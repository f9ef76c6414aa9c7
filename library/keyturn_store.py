#!/usr/bin/python
"""Take one step of a rotation in the secret store."""

DOCUMENTATION = r"""
module: keyturn_store
short_description: Take one step of a rotation in the secret store
description:
  - Runs on the controller, which alone talks to the store. Each step is safe to repeat with the same rotation id.
  - The values of C(find) and C(stage) go on to M(keyturn_stage) in memory.
options:
  store:
    description: The inventory's C(keyturn_store); C(kind) is C(openbao) or C(aws_secretsmanager). docs/stores.md says all keys.
    type: dict
    required: true
  step:
    description:
      - C(find) returns a pending value that a person has brought or that this rotation has staged.
      - C(stage) makes a value pending, durably; the one that this rotation has staged before counts, if there is one.
      - C(compare) refuses when the store's current value is not the one that the hosts hold.
      - C(promote) makes the pending value current and the current one previous.
      - C(discard) forgets the pending value, C(destroy) the previous one.
    type: str
    required: true
    choices: [compare, destroy, discard, find, promote, stage]
  environment:
    description: Name of the environment, the first part of the path.
    type: str
    required: true
  secret:
    description: Name of the secret, the second part of the path.
    type: str
    required: true
  host:
    description: Name of the host, the third part of the path, where each host has its own value.
    type: str
    default: ''
  rotation_id:
    description: Id of the rotation.
    type: str
    required: true
  variables:
    description: Names of the variables, for C(find) and C(stage).
    type: list
    elements: str
    default: []
  generator:
    description: Kind of value to generate, for C(stage).
    type: str
    choices: [fernet, hex, password, token_urlsafe]
  new_values:
    description: The new value of each variable, for C(stage) of one that was brought. The action takes it from memory.
    type: dict
  hosts:
    description: What M(keyturn_rotation_info) returned, by host, for C(stage). Nothing is staged where the hosts have the value already.
    type: dict
    default: {}
  old:
    description: Fingerprints of the value that the hosts held before, for C(compare) and C(promote).
    type: dict
    default: {}
  new:
    description: Fingerprints of the value that the hosts hold now, for C(promote); for C(compare) the value of a rotation that goes on.
    type: dict
    default: {}
  abandoned:
    description: Id of a rotation that is open on no host; the value that it has left pending is forgotten first.
    type: str
    default: ''
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Reads the store, changes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Promote
  keyturn_store:
    store: "{{ keyturn_store }}"
    step: promote
    environment: production
    secret: signing_key
    rotation_id: "{{ rotation_plan.rotation_id }}"
    old: "{{ rotation_decided.rotation.old }}"
    new: "{{ rotation_decided.rotation.new }}"
"""

RETURN = r"""
path:
  description: Where the secret lies in the store.
  returned: success
  type: str
new:
  description: Fingerprint of the new value of each variable.
  returned: for find and stage, when there is one
  type: dict
"""

# The work is done in the controller's own process: plugins/action/keyturn_store.py
