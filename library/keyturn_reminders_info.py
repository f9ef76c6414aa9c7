#!/usr/bin/python
"""Say what people have to be reminded of."""

DOCUMENTATION = r"""
module: keyturn_reminders_info
short_description: Say what people have to be reminded of
description:
  - Reads the environment's C(status.json), as the last run of status.yml wrote it, and its incidents. Changes nothing.
options:
  folder:
    description: The environment's folder of reports.
    type: path
    required: true
  links:
    description: Where the folder can be read. Its path if empty.
    type: str
    default: ''
extends_documentation_fragment: keyturn.info
"""

EXAMPLES = r"""
- name: See what people must be reminded of
  keyturn_reminders_info:
    folder: reports/production
"""

RETURN = r"""
reminders:
  description: Event, identity and facts of each message.
  returned: success
  type: list
  elements: dict
at:
  description: When this was reckoned.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_reminders_info.py
