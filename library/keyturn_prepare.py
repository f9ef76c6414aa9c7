#!/usr/bin/python
"""Back up the data of a secret and compute its new ciphertexts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_prepare
short_description: Back up the data of a secret and compute its new ciphertexts
description:
  - The expensive work of a rotation, beside the running service.
  - One call works for about five seconds. The action plugin of the same name calls it until all is done.
author: The Keyturn maintainers
extends_documentation_fragment: keyturn
"""

EXAMPLES = r"""
- name: Prepare
  keyturn_prepare:
    rotation: "{{ rotation_context }}"
"""

RETURN = r"""
rotation:
  description: The host's journal of the rotation. It holds fingerprints, counts and proofs, no value.
  returned: success, outside check mode
  type: dict
progress:
  description: How many of how many rows are prepared, how fast, and the seconds that the others will take.
  returned: while there is more to do
  type: str
would:
  description: What would be done.
  returned: in check mode
  type: str
"""

# The work is done on the host by keyturn_phase, which all phases share: plugins/action/keyturn_prepare.py
