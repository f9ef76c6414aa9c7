"""Tells people what has happened, in the controller's own process: the secrets of a channel never pass through a variable."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "module_utils"))

from keyturn import messages, moments, notify, outbox
from keyturn.ansible_module import validated
from keyturn.controller import Controller, Result

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


class ActionModule(Controller):
    """The action of the task."""

    SPEC: Mapping[str, Any] = {
        "folder": {"type": "path", "required": True},
        "channels": {"type": "dict", "required": True},
        "event": {"type": "str", "default": "", "choices": ["", *sorted(messages.TEMPLATES)]},
        "id": {"type": "str", "default": ""},
        "environment": {"type": "str", "required": True},
        "time": {"type": "str", "default": ""},
        "facts": {"type": "dict", "default": {}},
        "drill": {"type": "bool", "default": False},
        "hook_failure": {"type": "str", "default": ""},
    }

    def act(self, given: Mapping[str, Any], task_vars: Mapping[str, Any]) -> Result:
        """Write, then send."""
        channels = {
            name: validated(f"keyturn_notification_channels.{name}", notify.CHANNEL, spec, notify.CHANNEL_REQUIRED_IF)
            for name, spec in given["channels"].items()
        }
        folder = Path(given["folder"])
        if self.dry:
            return {"changed": False, "sent": [], "open": []}
        if given["event"]:
            moment = given["time"] or moments.text(datetime.now(UTC))
            message = messages.message(
                given["event"], given["id"], given["environment"], moment, given["facts"], given["drill"]
            )
            outbox.post(folder, message, channels, given["hook_failure"])
        sent = outbox.deliver(folder, channels, _send, lambda: moments.text(datetime.now(UTC)), time.sleep)
        return {"changed": bool(given["event"] or sent), "sent": sent, "open": outbox.open_lines(folder)}


def _send(channel: Mapping[str, Any], message: messages.Message) -> str:
    return notify.send(channel, message, os.environ, datetime.now(UTC))
