#!/usr/bin/python
"""See that a secret was turned on staging before it is turned on production."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_gate
short_description: See that a secret was turned on staging before it is turned on production
description:
  - Runs on the controller. Refuses unless the reports of the environment C(staging) have a rotation of the same secret that was
    committed and proved on every host, by the same revision of Keyturn, and not too long ago.
options:
  plan:
    description: What M(keyturn_plan) returned.
    type: dict
    required: true
  staging:
    description: Name of the environment that goes first.
    type: str
    required: true
  max_age_days:
    description: How long a rotation there counts, in days.
    type: int
    default: 7
  folder:
    description: Folder of the reports, with a folder of each environment.
    type: path
    required: true
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
- name: Ask for the proof of staging
  keyturn_gate:
    plan: "{{ rotation_plan }}"
    staging: staging
    folder: reports
"""

RETURN = r"""
rotation_id:
  description: The rotation on staging that lets this one pass.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_gate.py
