#!/usr/bin/python
"""Check a host against the policy's rules of key storage."""

DOCUMENTATION = r"""
module: keyturn_storage_info
short_description: Check a host against the policy's rules of key storage
description:
  - Permissions and owners, placeholders in use, values in logs and in what starts a service, backups beside the value that opens
    them, and git where the application stands in a checkout. Changes nothing.
extends_documentation_fragment: keyturn.secrets
options:
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
  keyturn_storage_info:
    application: "{{ rotation_application }}"
    secrets: "{{ keyturn_secrets }}"
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

from ansible.module_utils.keyturn.entry.module import SECRETS, Phase, run_phase
from ansible.module_utils.keyturn.host import storage

if __name__ == "__main__":
    run_phase(storage.look, Phase({**SECRETS, "production": {"type": "bool", "required": True}}))
