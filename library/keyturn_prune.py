#!/usr/bin/python
"""Remove old values that have expired from a host."""

DOCUMENTATION = r"""
module: keyturn_prune
short_description: Remove old values that have expired from a host
description:
  - An old value and the backup that only it opens go together when their retention has ended. One that a provider must still be
    asked about stays, and nothing of an open rotation is touched.
  - A temporary file that a killed call left beside a file with values goes as well.
extends_documentation_fragment: keyturn.secrets
attributes:
  check_mode:
    description: Says what would be removed.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Remove what has expired
  keyturn_prune:
    application: "{{ rotation_application }}"
    secrets: "{{ keyturn_secrets }}"
"""

RETURN = r"""
pruned:
  description: The ids of the rotations whose old value has gone, or would go.
  returned: success
  type: list
  elements: str
"""

# The work is done on the host by keyturn_phase, which all phases share: plugins/action/keyturn_prune.py
