"""Says what people have to be reminded of."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "module_utils"))

from keyturn import durable, incident, moments, reminders
from keyturn.controller import Controller, Result

DOCUMENTATION = r"""
module: keyturn_reminders
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
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Changes nothing anyway.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: See what people must be reminded of
  keyturn_reminders:
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


class ActionModule(Controller):
    """The action of the task."""

    SPEC: Mapping[str, Any] = {"folder": {"type": "path", "required": True}, "links": {"type": "str", "default": ""}}

    def act(self, given: Mapping[str, Any], task_vars: Mapping[str, Any]) -> Result:
        """Reckon."""
        folder, now = Path(given["folder"]), datetime.now(UTC)
        status = durable.read_json(folder / "status.json") or {}
        found = reminders.reminders(status, incident.read_all(folder), given["links"] or str(folder), now)
        return {"changed": False, "reminders": found, "at": moments.text(now)}
