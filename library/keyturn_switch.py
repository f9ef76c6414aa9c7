#!/usr/bin/python
"""Switch a host to the staged value."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_switch
short_description: Switch a host to the staged value
description:
  - Stops the services, turns the rows in one transaction, replaces the files, starts the services and waits until they are healthy.
  - What holds is decided by evidence, so that a repetition after a kill converges.
author: The Keyturn maintainers
extends_documentation_fragment: keyturn
"""

EXAMPLES = r"""
- name: Switch
  keyturn_switch:
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

# The work is done on the host by keyturn_phase, which all phases share: plugins/action/keyturn_switch.py
