#!/usr/bin/python
"""Prove that a host runs on the new value."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_prove
short_description: Prove that a host runs on the new value
description:
  - Each service started after the change, every row opens, and the service answers on its C(proof_path).
  - Fails with the first proof that is not accepted.
author: The Keyturn maintainers
extends_documentation_fragment: keyturn
"""

EXAMPLES = r"""
- name: Prove
  keyturn_prove:
    rotation: "{{ rotation_context }}"
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

# The work is done on the host by keyturn_phase, which all phases share: plugins/action/keyturn_prove.py
