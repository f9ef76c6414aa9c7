#!/usr/bin/python
"""Check a host against the policy's rules of key storage."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_storage
short_description: Check a host against the policy's rules of key storage
description:
  - Permissions and owners, placeholders in use, values in logs and in what starts a service, backups beside the value that opens
    them, and git where the application stands in a checkout. Changes nothing.
author: The Keyturn maintainers
options:
  rotations:
    description:
      - What C(rotation) is for the modules of the lifecycle, for each secret of the catalogue.
    type: list
    elements: dict
    required: true
  production:
    description: Whether the rules for production count.
    type: bool
    required: true
attributes:
  check_mode:
    description: Changes nothing, with or without it.
    support: full
  diff_mode:
    description: Shows nothing, since nothing changes.
    support: full
"""

EXAMPLES = r"""
- name: Check the storage
  keyturn_storage:
    rotations: "{{ rotation_contexts }}"
    production: false
"""

RETURN = r"""
findings:
  description: What was found, each with C(severity) (C(note), C(warning) or C(error)), C(rule), C(what) and C(remedy).
  returned: success
  type: list
  elements: dict
values:
  description: Fingerprints of what the host holds, by secret.
  returned: success
  type: dict
"""

from ansible.module_utils.keyturn.entry.module import rotation_from, run
from ansible.module_utils.keyturn.host import storage
from ansible.module_utils.keyturn.inputs import catalogue

if __name__ == "__main__":
    run(
        {
            "rotations": {"type": "list", "elements": "dict", "required": True, "options": catalogue.ROTATION},
            "production": {"type": "bool", "required": True},
        },
        lambda module: storage.look(
            [rotation_from(module, given) for given in module.params["rotations"]], module.params["production"]
        ),
    )
