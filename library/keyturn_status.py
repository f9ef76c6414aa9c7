#!/usr/bin/python
"""Say what the secrets of an environment need."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_status
short_description: Say what the secrets of an environment need
description:
  - Runs on the controller, on what M(keyturn_state) said. Writes C(status.json) into the environment's folder of reports.
options:
  secrets:
    description: The catalogue, C(keyturn_secrets).
    type: dict
    required: true
  hosts:
    description: What M(keyturn_state) returned, by host; nothing for a host that gave no answer.
    type: dict
    required: true
  folder:
    description: The environment's folder of reports.
    type: path
    required: true
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Writes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Say what is needed
  keyturn_status:
    secrets: "{{ keyturn_secrets }}"
    hosts: "{{ rotation_answers }}"
    folder: reports/staging
"""

RETURN = r"""
status:
  description: State (C(ok), C(due), C(overdue) or C(broken)) of all and of each secret, ages, open revocations and rotations.
  returned: success
  type: dict
text:
  description: The same for a person.
  returned: success
  type: str
"""

from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.keyturn import catalogue, durable
from ansible.module_utils.keyturn import status as reckoning
from ansible.module_utils.keyturn.ansible_module import run, validated


def status(module):
    """Reckon and write."""
    given = module.params
    secrets = {
        name: validated(f"keyturn_secrets.{name}", catalogue.ENTRY, entry) for name, entry in given["secrets"].items()
    }
    found = reckoning.status(secrets, given["hosts"], datetime.now(UTC))
    if not module.check_mode:
        folder = Path(given["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        durable.write_json(folder / "status.json", found)
    return {"changed": False, "status": found, "text": reckoning.table(found)}


if __name__ == "__main__":
    run(
        {
            "secrets": {"type": "dict", "required": True},
            "hosts": {"type": "dict", "required": True},
            "folder": {"type": "path", "required": True},
        },
        status,
    )
