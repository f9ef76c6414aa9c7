#!/usr/bin/python
"""Write a first folder of data for an application."""

DOCUMENTATION = r"""
module: keyturn_adopt
short_description: Write a first folder of data for an application
description:
  - Runs on the controller, on what M(keyturn_survey_info) found. Writes catalogue, policy, incident table and variables for the inventory
    into a new folder, with what was found and with open questions as comments.
options:
  dest:
    description: The new folder. Its last part is the application's name.
    type: path
    required: true
  root:
    description: The application's folder on the hosts.
    type: path
    required: true
  hosts:
    description: What M(keyturn_survey_info) returned, by host.
    type: dict
    required: true
extends_documentation_fragment: keyturn.step
"""

EXAMPLES = r"""
- name: Write a first folder
  keyturn_adopt:
    dest: ./hub
    root: /srv/hub
    hosts: "{{ surveys }}"
"""

RETURN = r"""
folder:
  description: The folder.
  returned: success
  type: str
questions:
  description: What is open, by file and line.
  returned: success
  type: list
  elements: str
text:
  description: The same for a person.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_adopt.py
