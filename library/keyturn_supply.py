#!/usr/bin/python
"""Check the new value that a person or a pipeline brings."""

DOCUMENTATION = r"""
module: keyturn_supply
short_description: Check the new value that a person or a pipeline brings
description:
  - Runs on the controller, before any host learns the value, which goes on to M(keyturn_stage) in memory.
  - Looks in the environment (C(KEYTURN_NEW_<VARIABLE>)), then in a file that is encrypted by ansible-vault, then asks on the terminal
    without echo. A value in the command line or in an Ansible variable is refused by the name of its variable.
  - Refuses a value of the wrong form by the name of its variable, and one that its provider does not accept.
options:
  rotation_id:
    description: Id of the rotation.
    type: str
    required: true
  file:
    description: File with the values, encrypted as a whole by ansible-vault. A relative path starts where the run was started.
    type: str
    default: ''
  prompt:
    description: What the terminal shows. Nobody is asked if empty.
    type: str
    default: ''
  entry:
    description: The catalogue entry.
    type: dict
    required: true
  overrides:
    description: What a person has overridden, with the reason.
    type: dict
    default: {}
  store:
    description: >-
      The inventory's C(keyturn_store), for an entry with C(source.static_role): where nothing was brought, the store changes the password
      of that role.
    type: dict
    default: {kind: dotenv}
  brought:
    description: >-
      What was found: C(values) by variable, C(exposed), the variables whose value stands where others see it, and C(problem), what is
      wrong with the file. The action reads it.
    type: dict
    default: {}
  stored:
    description: The value that lies pending in the secret store. It counts where none was brought. The action takes it from memory.
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
    entry: "{{ keyturn_secrets.model_token }}"
    rotation_id: "{{ rotation_plan.rotation_id }}"
    file: ''
    prompt: Hugging Face
  register: rotation_generated
"""

RETURN = r"""
new:
  description: Fingerprint of the new value of each variable.
  returned: when one was brought
  type: dict
provider:
  description: The provider's C(verdict), the C(detail) of the evidence, whose it is (C(identity)) and C(findings).
  returned: when one was brought
  type: dict
"""

# The work is done in the controller's own process: plugins/action/keyturn_supply.py
