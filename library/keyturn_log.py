#!/usr/bin/python
"""Verify the rotation log."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_log
short_description: Verify the rotation log
description:
  - Runs on the controller. Follows the chain of hashes and fails with the first record that breaks it.
  - A tail that was cut off is found by the heads that the reports keep, or by one that a person gives.
options:
  folder:
    description: The environment's folder of reports.
    type: path
    required: true
  head:
    description: A hash that was the log's head once, from the summary of a run.
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
- name: Verify the log
  keyturn_log:
    folder: reports/staging
"""

RETURN = r"""
log:
  description: Records in the chain, lines that it seals, and its head.
  returned: success
  type: dict
text:
  description: The same for a person.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_log.py
