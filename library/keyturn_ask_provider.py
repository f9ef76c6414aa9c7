#!/usr/bin/python
"""Ask whether the old value still lives, before a host goes back to it."""

DOCUMENTATION = r"""
module: keyturn_ask_provider
short_description: Ask whether the old value still lives, before a host goes back to it
description:
  - A credential that its provider does not accept any more is never put back. The answer stands in the host's journal.
  - Where the switch has not begun, nothing has to be put back, and the answer keeps nobody from going back.
extends_documentation_fragment: keyturn
"""

EXAMPLES = r"""
- name: Ask about the old value
  keyturn_ask_provider:
    rotation: "{{ rotation_context }}"
"""

RETURN = r"""
rotation:
  description: The host's journal of the rotation. It holds fingerprints, counts and proofs, no value.
  returned: success
  type: dict
verdict:
  description: C(accepted), C(rejected) or C(unknown).
  returned: success
  type: str
touched:
  description: Whether the host's switch had begun.
  returned: success
  type: bool
"""

# The work is done on the host by keyturn_phase, which all phases share: plugins/action/keyturn_ask_provider.py
