#!/usr/bin/python
"""Say what a host holds of a secret."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_verify
short_description: Say what a host holds of a secret
description:
  - Reads the files, opens every row, asks the services. Changes nothing.
author: The Keyturn maintainers
extends_documentation_fragment: keyturn
"""

EXAMPLES = r"""
- name: Verify
  keyturn_verify:
    rotation: "{{ rotation_context }}"
"""

RETURN = r"""
verified:
  description: Fingerprints of the values, rows by form, C(problems) that make the state wrong and C(findings) that do not.
  returned: success
  type: dict
"""

from ansible.module_utils.keyturn.ansible_module import ROTATION, Phase, run_phase
from ansible.module_utils.keyturn.lifecycle import verify

if __name__ == "__main__":
    run_phase(verify.run, Phase(ROTATION))
