#!/usr/bin/python
"""Prepare, switch and prove a host."""

DOCUMENTATION = r"""
module: keyturn_turn
short_description: Prepare, switch and prove a host
description:
  - Prepares, the expensive work beside the running service. Backs up the data of the secret and computes its new ciphertexts. One
    call works at that for about five seconds; the action plugin calls until all is done.
  - Then switches. Stops the services, turns the rows in one transaction, replaces the files, starts the services and waits until
    they are healthy. What holds is decided by evidence, so that a repetition after a kill converges.
  - Then proves by behaviour that the host runs on the new value and that the old one is dead.
  - Of a secret whose consumers take a list of keys, every process first reads the new key, then writes under it, the rows are turned
    while the services run, and the old key goes when none is left under it.
options:
  until:
    description:
      - The phase of the host's journal after which the call ends.
      - Of data that all hosts share, every one is V(stopped) before one of them has V(turned) it, and none starts before that.
      - V(accepts), V(leads) and V(turned) are those of a list of keys, at which hosts that share a value wait for each other.
    type: str
    default: proved
    choices: [prepared, stopped, accepts, leads, turned, switched, proved]
extends_documentation_fragment: keyturn
"""

EXAMPLES = r"""
- name: Turn the host
  keyturn_turn:
    rotation: "{{ rotation_context }}"
"""

RETURN = r"""
rotation:
  description: The host's journal of the rotation. It holds fingerprints, counts and proofs, no value.
  returned: success, outside check mode
  type: dict
progress:
  description: How many of how many rows are prepared, how fast, and the seconds that the others will take.
  returned: while there is more to prepare
  type: str
would:
  description: What would be done.
  returned: in check mode
  type: str
"""

# The work is done on the host by keyturn_phase, which all phases share: plugins/action/keyturn_turn.py
