#!/usr/bin/python
"""Say all that is wrong with an application's folder."""

DOCUMENTATION = r"""
module: keyturn_validate
short_description: Say all that is wrong with an application's folder
description:
  - Reads the files of one folder, and asks no host. Each mistake is told by file and key.
options:
  folder:
    description: The folder of the application.
    type: path
    required: true
  secrets:
    description: The catalogue, C(keyturn_secrets), with its templates filled in.
    type: dict
    required: true
extends_documentation_fragment: keyturn.info
"""

EXAMPLES = r"""
- name: Look at an application's folder
  keyturn_validate:
    folder: /srv/keyturn/applications/shop
    secrets: "{{ keyturn_secrets }}"
"""

RETURN = r"""
mistakes:
  description: What is wrong, each by file and key.
  returned: success
  type: list
  elements: str
text:
  description: The same for a person, with what is not there.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_validate.py
