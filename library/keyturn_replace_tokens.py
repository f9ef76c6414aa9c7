#!/usr/bin/python
"""Replace the access tokens of a host's database at their provider."""

DOCUMENTATION = r"""
module: keyturn_replace_tokens
short_description: Replace the access tokens of a host's database at their provider
description:
  - For the day on which a database and its key have both leaked. Each call works for a while and says how far it is.
  - A call to the provider cannot be repeated. An item whose answer was lost with a kill is listed as C(relink_required).
options:
  issuer:
    description: The catalogue entry of the credential with which the tokens are used.
    type: dict
    required: true
  seconds:
    description: For how long to work.
    type: float
    default: 20
extends_documentation_fragment: keyturn.secret
"""

EXAMPLES = r"""
- name: Replace tokens for a while
  keyturn_replace_tokens:
    application: "{{ rotation_application }}"
    secret: rows_key
    entry: "{{ keyturn_secrets.rows_key }}"
    issuer: "{{ keyturn_secrets.plaid }}"
"""

RETURN = r"""
total:
  description: Items with a token.
  returned: success
  type: int
done:
  description: Items whose new token is stored.
  returned: success
  type: int
proven:
  description: Items whose new token was shown to work.
  returned: success, outside check mode
  type: int
relink_required:
  description: Items whose token is lost. Their owners must link the bank again.
  returned: success
  type: list
  elements: str
gone:
  description: Items that the application has deleted meanwhile.
  returned: success
  type: list
  elements: str
ended:
  description: Whether all is done.
  returned: success
  type: bool
"""

from ansible.module_utils.keyturn.entry.module import SECRET, Phase, run_phase
from ansible.module_utils.keyturn.host.phases import replace_tokens

if __name__ == "__main__":
    arguments = {"issuer": {"type": "dict", "required": True}, "seconds": {"type": "float", "default": 20}}
    run_phase(replace_tokens.run, Phase({**SECRET, **arguments}))
