#!/usr/bin/python
"""Commit a rotation on a host, in two steps."""

DOCUMENTATION = r"""
module: keyturn_commit
short_description: Commit a rotation on a host, in two steps
description:
  - From the first step on a rotation goes forward only, once every host of the unit has taken it.
options:
  step:
    description:
      - C(decide) writes the decision durably; nothing is deleted. It comes first, on every host of the unit.
      - C(finish) closes the journal, only after all have decided.
      - C(both) does the one after the other, where the unit is this host alone.
    type: str
    required: true
    choices: [decide, finish, both]
extends_documentation_fragment: keyturn
"""

EXAMPLES = r"""
- name: Decide
  keyturn_commit:
    rotation: "{{ rotation_context }}"
    step: decide
"""

RETURN = r"""
rotation:
  description: The host's journal of the rotation. It holds fingerprints, counts and proofs, no value.
  returned: success, outside check mode
  type: dict
would:
  description: What would be done.
  returned: in check mode
  type: str
"""

# The work is done on the host by keyturn_phase, which all phases share: plugins/action/keyturn_commit.py
