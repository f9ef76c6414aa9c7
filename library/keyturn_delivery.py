#!/usr/bin/python
"""Deliver the values of a host in a credential that only this host opens, or in `.env` again."""

DOCUMENTATION = r"""
module: keyturn_delivery
short_description: Deliver the values of a host in an encrypted credential, or in .env again
description:
  - Moves the values of all secrets that are used on the host to where C(delivery) of the rotations says, restarts the services and
    proves them. What fails is taken back, and what was killed is simply run again.
  - With C(systemd_credential) one file in C(/etc/credstore.encrypted) holds them, encrypted by the host's key. systemd decrypts it for
    the service alone, and a launcher makes it the environment of the program. C(.env) keeps its other lines.
extends_documentation_fragment: keyturn.secrets
attributes:
  check_mode:
    description: Reads only and says what would happen.
    support: full
  diff_mode:
    description: Shows nothing, since there are only values to show.
    support: none
"""

EXAMPLES = r"""
- name: Deliver the values
  keyturn_delivery:
    application: "{{ rotation_application }}"
    secrets: "{{ keyturn_secrets }}"
"""

RETURN = r"""
delivery:
  description: How the values are delivered now.
  returned: success
  type: str
names:
  description: The variables that are delivered so.
  returned: success
  type: list
  elements: str
services:
  description: The services that read them.
  returned: success
  type: list
  elements: str
downtime_seconds:
  description: For how long the services were down.
  returned: when something changed
  type: float
would:
  description: What would happen.
  returned: in check mode, when something would change
  type: str
"""

from ansible.module_utils.keyturn.entry.module import SECRETS, Phase, run_phase
from ansible.module_utils.keyturn.host.phases import delivery

if __name__ == "__main__":
    run_phase(delivery.run, Phase(SECRETS))
