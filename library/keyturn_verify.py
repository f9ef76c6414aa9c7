#!/usr/bin/python
"""Say what a host holds of every secret."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_verify
short_description: Say what a host holds of every secret
description:
  - Reads the files, opens every row, asks the services. Changes nothing.
author: The Keyturn maintainers
options:
  rotations:
    description:
      - What C(rotation) is for the modules of the lifecycle, for each secret of the catalogue.
    type: list
    elements: dict
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
- name: Verify
  keyturn_verify:
    rotations: "{{ rotation_contexts }}"
"""

RETURN = r"""
verified:
  description:
    - By secret, whether it is C(used) here, fingerprints of the values, rows by form, C(problems) that make the state wrong and
      C(findings) that do not.
  returned: success
  type: dict
problems:
  description: All problems of the host.
  returned: success
  type: list
  elements: str
text:
  description: The same for a person.
  returned: success
  type: str
"""

from ansible.module_utils.keyturn.entry.module import rotation_from, run
from ansible.module_utils.keyturn.host.phases import verify
from ansible.module_utils.keyturn.inputs import catalogue

if __name__ == "__main__":
    run(
        {"rotations": {"type": "list", "elements": "dict", "required": True, "options": catalogue.ROTATION}},
        lambda module: verify.run([rotation_from(module, given) for given in module.params["rotations"]]),
    )
