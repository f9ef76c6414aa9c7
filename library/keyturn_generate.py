#!/usr/bin/python
"""Write a new value of a kind to a private file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_generate
short_description: Write a new value of a kind to a private file
description:
  - Generates a value and writes it to a new file (0600). Only its fingerprint is returned.
options:
  kind:
    description: Kind of value.
    type: str
    required: true
    choices: [fernet, password, token_urlsafe]
  dest:
    description: File to write. It must not exist, so that no value is lost.
    type: path
    required: true
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Says whether the file could be written.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Write a new Fernet key
  keyturn_generate:
    kind: fernet
    dest: ./new-key
"""

RETURN = r"""
fingerprint:
  description: Fingerprint of the new value.
  returned: success, outside check mode
  type: str
"""

from pathlib import Path

from ansible.module_utils.keyturn import durable
from ansible.module_utils.keyturn.ansible_module import run
from ansible.module_utils.keyturn.errors import KeyturnError
from ansible.module_utils.keyturn.fingerprint import fingerprint
from ansible.module_utils.keyturn.generate import GENERATORS


def generate(module):
    """Write the file."""
    dest = Path(module.params["dest"])
    if dest.exists() or dest.is_symlink():
        raise KeyturnError(f"{dest} exists: choose a new file, a value is never overwritten")
    if not dest.parent.is_dir():
        raise KeyturnError(f"{dest.parent} is not a folder")
    if module.check_mode:
        return {"changed": True}
    value = GENERATORS[module.params["kind"]]()
    module.no_log_values.add(value)
    durable.write_file(dest, value.encode() + b"\n")
    return {"changed": True, "fingerprint": fingerprint(value)}


if __name__ == "__main__":
    run(
        {
            "kind": {"type": "str", "required": True, "choices": sorted(GENERATORS)},
            "dest": {"type": "path", "required": True},
        },
        generate,
    )
