#!/usr/bin/python
"""Write a new value of a kind to a private file."""

DOCUMENTATION = r"""
module: keyturn_generate
short_description: Write a new value of a kind to a private file
description:
  - Runs on the controller. Generates a value and writes it to a new file (0600). Only its fingerprint is returned.
options:
  kind:
    description: Kind of value.
    type: str
    required: true
    choices: [fernet, hex, password, token_urlsafe]
  dest:
    description: >-
      File to write. It must not exist, so that no value is lost. A relative path starts where the run was started.
    type: path
    required: true
  variable:
    description: Variable to write it for, as C(NAME=value). The value alone if empty.
    type: str
    default: ''
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
path:
  description: The file, as a whole path.
  returned: success
  type: str
fingerprint:
  description: Fingerprint of the new value.
  returned: success, outside check mode
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_generate.py
