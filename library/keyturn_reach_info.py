#!/usr/bin/python
"""Say whether a host reaches the data that all hosts share."""

DOCUMENTATION = r"""
module: keyturn_reach_info
short_description: Say whether a host reaches the data that all hosts share
description:
  - Of data that is one for all hosts, one that reaches it turns it for all of them. Changes nothing.
extends_documentation_fragment: keyturn.secret
attributes:
  check_mode:
    description: Changes nothing anyway.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: See who reaches the database
  keyturn_reach_info:
    application: "{{ rotation_application }}"
    secret: notes_key
    entry: "{{ keyturn_secrets.notes_key }}"
"""

RETURN = r"""
reaches:
  description: Whether it does.
  returned: success
  type: bool
why:
  description: Why it does not, empty where it does.
  returned: success
  type: str
"""

# The work is done on the host by keyturn_phase, which all phases share: plugins/action/keyturn_reach_info.py
