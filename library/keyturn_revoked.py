#!/usr/bin/python
"""Write the evidence of revocations into the rotation log."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_revoked
short_description: Write the evidence of revocations into the rotation log
description:
  - Runs on the controller after M(keyturn_retire) has closed them on every host. A revocation that is logged is not again.
options:
  secrets:
    description: The catalogue, C(keyturn_secrets).
    type: dict
    required: true
  environment:
    description: Name of the environment.
    type: str
    required: true
  hosts:
    description: The revocations that M(keyturn_retire) returned, by host.
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
- name: Log the evidence
  keyturn_revoked:
    secrets: "{{ keyturn_secrets }}"
    environment: staging
    hosts: {app1: "{{ rotation_retired.revocations }}"}
    folder: reports/staging
"""

RETURN = r"""
revoked:
  description: Ids of the rotations whose old credential is proved dead.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.keyturn import rotation_log
from ansible.module_utils.keyturn.ansible_module import run


def revoked(module):
    """Append a record for each revocation."""
    given = module.params
    found = {}
    for host, lines in given["hosts"].items():
        for line in lines:
            if line["state"] == "revoked":
                found.setdefault(line["rotation_id"], (line, []))[1].append(host)
    for _, (line, hosts) in sorted(found.items()):
        entry = {
            "schema": rotation_log.SCHEMA,
            **{name: line[name] for name in ("rotation_id", "secret", "reason")},
            "variables": given["secrets"][line["secret"]]["variables"],
            "environment": given["environment"],
            "outcome": "revoked",
            "failure": None,
            "started": line["since"],
            "finished": line["since"],
            "rotated_by": line["operator"],
            "verified_by": f"its provider: {line['evidence']}",
            "hosts": sorted(hosts),
        }
        if not module.check_mode:
            rotation_log.append(Path(given["folder"]), entry)
    return {"changed": False, "revoked": sorted(found)}


if __name__ == "__main__":
    run(
        {
            "secrets": {"type": "dict", "required": True},
            "environment": {"type": "str", "required": True},
            "hosts": {"type": "dict", "required": True},
            "folder": {"type": "path", "required": True},
        },
        revoked,
    )
