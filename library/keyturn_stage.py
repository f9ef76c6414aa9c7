#!/usr/bin/python
"""Examine a host and stage the new value of a secret."""

DOCUMENTATION = r"""
module: keyturn_stage
short_description: Examine a host and stage the new value of a secret
description:
  - Reads the current value, opens every row under it, looks at space, permissions, services and files, and refuses with a reason.
  - Then opens the host's journal and writes the new value durably (0600). Nothing of the application changes.
options:
  new_values:
    description:
      - The new value of each variable, where all hosts share one. Each host generates its own if there is none.
      - The action takes it from memory and packs it into the call. It is in no task's arguments.
    type: dict
  provider:
    description: What the provider said of the new value to the controller, from M(keyturn_supply).
    type: dict
  only_examine:
    description: Examine the host without a new value, and keep whose credential the current one is.
    type: bool
    default: false
  sent_at:
    description: The controller's clock, in seconds since 1970.
    type: float
    required: true
  logged:
    description:
      - The rotations in the log of a pipeline. Refused where the last one of this host is none of them, since a second log would begin
        beside the one that knows it. Not asked if omitted.
    type: list
    elements: str
  log_head:
    description:
      - Number and hash of the record with which the controller's log begins this attempt, from M(keyturn_report). The journal keeps it, so
        that M(keyturn_log) finds a log that was rewritten.
    type: dict
extends_documentation_fragment: keyturn
"""

EXAMPLES = r"""
- name: Stage the new value
  keyturn_stage:
    rotation: "{{ rotation_context }}"
    sent_at: "{{ now().timestamp() }}"
"""

RETURN = r"""
rotation:
  description: The host's journal of the rotation. It holds fingerprints, counts and proofs, no value.
  returned: success
  type: dict
would:
  description: What would be done, and what was found.
  returned: in check mode, unless the host has staged already
  type: str
context:
  description: The parameter I(rotation) as plain data, for the calls that follow.
  returned: success
  type: dict
clock_offset:
  description: Seconds that the host's clock is ahead of the controller's, the call's own time included.
  returned: success
  type: float
place:
  description: Identity of the machine and the application's folder on it.
  returned: success
  type: str
"""

# The work is done on the host by keyturn_phase, which all phases share: plugins/action/keyturn_stage.py
