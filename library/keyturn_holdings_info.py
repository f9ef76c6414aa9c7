#!/usr/bin/python
"""Say what a host holds of every secret."""

DOCUMENTATION = r"""
module: keyturn_holdings_info
short_description: Say what a host holds of every secret
description:
  - Reads the files, opens every row, asks the services. Changes nothing.
extends_documentation_fragment: keyturn.secrets
attributes:
  check_mode:
    description: Changes nothing, with or without it.
    support: full
  diff_mode:
    description: Shows nothing, since nothing changes.
    support: full
"""

EXAMPLES = r"""
- name: Verify
  keyturn_holdings_info:
    application: "{{ rotation_application }}"
    secrets: "{{ keyturn_secrets }}"
"""

RETURN = r"""
verified:
  description:
    - By secret, whether it is C(used) here, fingerprints of the values, rows by form, C(problems) that make the state wrong and
      C(findings) that do not.
  returned: success
  type: dict
problems:
  description: All problems of the host.
  returned: success
  type: list
  elements: str
text:
  description: The same for a person.
  returned: success
  type: str
"""

from ansible.module_utils.keyturn.entry.module import SECRETS, Phase, run_phase
from ansible.module_utils.keyturn.host.phases import holdings_info

if __name__ == "__main__":
    run_phase(holdings_info.run, Phase(SECRETS))
