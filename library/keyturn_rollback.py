#!/usr/bin/python
"""Take a rotation back on a host."""

DOCUMENTATION = r"""
module: keyturn_rollback
short_description: Take a rotation back on a host
description:
  - Puts rows and files back on the old value, starts the services and proves it. A rotation that was only staged is discarded.
options:
  cause:
    description: Why the host goes back. The first cause given is kept.
    type: str
    required: true
  abandon_commit:
    description: Go back although this host has decided, because a host of the unit has not.
    type: bool
    default: false
  until:
    description:
      - How far the call goes back. Of data that all hosts share, every one is V(stopped) before one of them has V(turned) it back.
      - V(accepts) lets a host with a list of keys write under the old one again and read both. Where hosts share the value all of them
        come there before any goes on.
      - V(allowed) changes nothing. It fails where data without an inverse would lose what was written, and nobody has said that it may.
    type: str
    default: rolled_back
    choices: [allowed, stopped, turned, accepts, rolled_back]
  withdrawn:
    description:
      - Who speaks for all hosts has had the issuer forget a new value that has lived beside the old one. Until then every host that has
        gone back keeps the rotation open.
    type: bool
    default: false
extends_documentation_fragment: keyturn
"""

EXAMPLES = r"""
- name: Go back
  keyturn_rollback:
    rotation: "{{ rotation_context }}"
    cause: the service did not start
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

# The work is done on the host by keyturn_phase, which all phases share: plugins/action/keyturn_rollback.py
