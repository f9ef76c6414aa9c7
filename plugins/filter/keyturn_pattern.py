"""A line of ``keyturn_log_lines`` as a regular expression, for what reads a log by itself."""

from __future__ import annotations

DOCUMENTATION = r"""
name: keyturn_pattern
short_description: The regular expression of a line of the application's log
description: Knows both forms in which Python's logging writes a line, and is anchored at the line's start.
author: The Keyturn maintainers
options:
  _input:
    description: An entry of C(keyturn_log_lines).
    type: dict
    required: true
"""

EXAMPLES = r"""
health_line: "{{ keyturn_log_lines.started | keyturn_pattern }}"
"""

RETURN = r"""
_value:
  description: The regular expression.
  type: str
"""

from collections.abc import Callable

from ansible.plugins.loader import action_loader

action_loader.get("keyturn_controller", class_only=True)  # from then on module_utils are found
from ansible.module_utils.keyturn.base.log_lines import pattern


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filter by its name."""
        return {"keyturn_pattern": pattern}
