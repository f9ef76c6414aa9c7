#!/usr/bin/python
"""Take a rotation back on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_rollback
short_description: Take a rotation back on a host
description:
  - Puts rows and files back on the old value, starts the services and proves it. A rotation that was only staged is discarded.
options:
  cause:
    description: Why the host goes back. The first cause given is kept.
    type: str
    required: true
  abandon_commit:
    description: Go back although this host has decided, because a host of the unit has not.
    type: bool
    default: false
author: The Keyturn maintainers
extends_documentation_fragment: keyturn
"""

EXAMPLES = r"""
- name: Go back
  keyturn_rollback:
    rotation: "{{ rotation_context }}"
    cause: the service did not start
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

from ansible.module_utils.keyturn.ansible_module import run_phase
from ansible.module_utils.keyturn.lifecycle import rollback

if __name__ == "__main__":
    run_phase(
        rollback.run,
        {"cause": {"type": "str", "required": True}, "abandon_commit": {"type": "bool", "default": False}},
        diff=("new", "old"),
    )
