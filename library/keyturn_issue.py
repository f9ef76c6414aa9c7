#!/usr/bin/python
"""Tell the issuer of a value about it."""

DOCUMENTATION = r"""
module: keyturn_issue
short_description: Tell the issuer of a value about it
description:
  - Has the issuer (a database's role, say) accept the new value before any host is switched, the old one again before any goes back, and
    the old one no more when all have decided.
  - One host does it for all that share the value. What was taken while the answer was lost is found by asking with the value itself.
options:
  step:
    description: What is done at the issuer.
    type: str
    required: true
    choices: [set, unset, retire]
  store:
    description: The secret store, C(keyturn_store), where the password of the issuer's C(admin) is C(stored). The action reads it there.
    type: dict
    default: {kind: dotenv}
  cause:
    description: Why the hosts go back, for C(unset). The first cause given is kept.
    type: str
    default: ""
  abandon_commit:
    description: Go back although this host has decided, because a host of the unit has not.
    type: bool
    default: false
extends_documentation_fragment: keyturn
"""

EXAMPLES = r"""
- name: Have the new value accepted
  keyturn_issue:
    rotation: "{{ rotation_context }}"
    step: set
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

# The work is done on the host by keyturn_phase, which all phases share: plugins/action/keyturn_issue.py
