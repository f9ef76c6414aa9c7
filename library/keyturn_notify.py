#!/usr/bin/python
"""Tell people what has happened."""

DOCUMENTATION = r"""
module: keyturn_notify
short_description: Tell people what has happened
description:
  - Writes the message into a file beside the reports, then tries every message that a channel has not taken, a few times.
  - A channel that takes nothing does not fail the task; its messages stand open in their files.
options:
  folder:
    description: The environment's folder of reports.
    type: path
    required: true
  channels:
    description: The channels by name, as C(keyturn_notification_channels) of the inventory has them.
    type: dict
    required: true
  event:
    description: What has happened. Nothing new if empty; what is open is tried again.
    type: str
    choices: ['', deadline_near, incident_opened, overdue, rotation_done, rotation_failed, sessions_invalidated]
    default: ''
  id:
    description: What it is about. The same event with the same id is told once.
    type: str
    default: ''
  environment:
    description: Name of the environment.
    type: str
    required: true
  time:
    description: When, as ISO 8601 in UTC. Now if empty.
    type: str
    default: ''
  facts:
    description: What the text of the event needs, by name.
    type: dict
    default: {}
  drill:
    description: Whether the message is marked as a drill.
    type: bool
    default: false
  hook_failure:
    description: What failed of the inventory's own tasks.
    type: str
    default: ''
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Writes and sends nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Tell that a rotation has failed
  keyturn_notify:
    folder: reports/staging
    channels: "{{ keyturn_notification_channels }}"
    event: rotation_failed
    id: 20260131T235959Z-0123456789abcdef
    environment: staging
    facts: "{{ notification_facts }}"

- name: Try again what no channel has taken
  keyturn_notify:
    folder: reports/staging
    channels: "{{ keyturn_notification_channels }}"
    environment: staging
"""

RETURN = r"""
text:
  description: What was sent and what is still open, for a person; the action prints it.
  returned: success
  type: str
sent:
  description: A line for each message that a channel has taken in this call.
  returned: success
  type: list
  elements: str
open:
  description: A line for each message that a channel still has to take.
  returned: success
  type: list
  elements: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_notify.py
