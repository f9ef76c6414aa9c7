#!/usr/bin/python
"""Check the new value that a person or a pipeline brings."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_supply
short_description: Check the new value that a person or a pipeline brings
description:
  - Runs on the controller, before any host learns the value. The task must have C(no_log), and the result goes to
    M(keyturn_stage) only.
  - Refuses a value of the wrong form by the name of its variable, and one that its provider does not accept.
options:
  entry:
    description: The catalogue entry.
    type: dict
    required: true
  overrides:
    description: What a person has overridden, with the reason.
    type: dict
    default: {}
  brought:
    description: What the lookup C(keyturn_supplied) returned.
    type: dict
    required: true
  stored:
    description: The value that lies pending in the secret store. It counts where none was brought.
    type: dict
    default: {}
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Checks what is there, and does not miss what is not.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Check the value
  keyturn_supply:
    entry: "{{ keyturn_secrets.hf_token }}"
    brought: "{{ lookup('keyturn_supplied', 'HF_TOKEN', prompt='Hugging Face') }}"
  no_log: true
  register: rotation_generated
"""

RETURN = r"""
new_values:
  description: The value of each variable. It is secret.
  returned: when one was brought
  type: dict
provider:
  description: The provider's C(verdict), the C(detail) of the evidence, whose it is (C(identity)) and C(findings).
  returned: when one was brought
  type: dict
"""

# The work is done in the controller's own process: plugins/action/keyturn_supply.py
