#!/usr/bin/python
"""See that old credentials are dead, and destroy their last copies."""

DOCUMENTATION = r"""
module: keyturn_retire
short_description: See that old credentials are dead, and destroy their last copies
description:
  - Works on the open revocations that a host has of a secret. Nothing but a rejection by the provider closes one.
options:
  step:
    description:
      - C(ask) asks the provider about each old credential, and fails unless all are rejected and the one in use works.
      - C(close) destroys those of which this host has heard a rejection. It comes only after C(ask) on every host.
    type: str
    required: true
    choices: [ask, close]
extends_documentation_fragment: keyturn.secret
"""

EXAMPLES = r"""
- name: Ask
  keyturn_retire:
    application: "{{ rotation_application }}"
    secret: plaid
    entry: "{{ keyturn_secrets.plaid }}"
    step: ask
"""

RETURN = r"""
revocations:
  description: The revocations of the secret on this host, with C(state), C(since) and the C(evidence). They hold no value.
  returned: success
  type: list
  elements: dict
"""

from ansible.module_utils.keyturn.entry.module import SECRET, Phase, run_phase
from ansible.module_utils.keyturn.host.phases import retire

if __name__ == "__main__":
    run_phase(retire.run, Phase({**SECRET, "step": {"type": "str", "required": True, "choices": ["ask", "close"]}}))
