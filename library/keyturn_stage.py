#!/usr/bin/python
"""Examine a host and stage the new value of a secret."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_stage
short_description: Examine a host and stage the new value of a secret
description:
  - Reads the current value, opens every row under it, looks at space, permissions, services and files, and refuses with a reason.
  - Then opens the host's journal and writes the new value durably (0600). Nothing of the application changes.
author: The Keyturn maintainers
extends_documentation_fragment: keyturn
"""

EXAMPLES = r"""
- name: Stage the new value
  keyturn_stage:
    rotation: "{{ rotation_context }}"
"""

RETURN = r"""
rotation:
  description: The host's journal of the rotation. It holds fingerprints, counts and proofs, no value.
  returned: success
  type: dict
would:
  description: What would be done.
  returned: in check mode
  type: str
"""

from ansible.module_utils.keyturn.ansible_module import run_phase
from ansible.module_utils.keyturn.lifecycle import stage

if __name__ == "__main__":
    run_phase(stage.run, diff=("old", "new"))
