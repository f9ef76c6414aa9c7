#!/usr/bin/python
"""Plan a rotation."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keyturn_plan
short_description: Plan a rotation
description:
  - Checks the catalogue entry and the services against their legal values, and fixes the id, the reason and the operator.
  - Runs on the controller and changes nothing.
options:
  secrets:
    description: The catalogue, C(keyturn_secrets).
    type: dict
    required: true
  secret:
    description: Name of the entry to rotate.
    type: str
    required: true
  services:
    description: C(keyturn_services) of the inventory.
    type: dict
    required: true
  environments:
    description: The names of the environment that the hosts of the inventory give. They must be one.
    type: list
    elements: str
    required: true
  reason:
    description: Why the secret is rotated.
    type: str
    required: true
  operator:
    description: Who rotates. The pipeline's actor or the user if empty.
    type: str
    default: ''
  rotation_id:
    description: Id of a rotation to go on with. A new one if empty.
    type: str
    default: ''
  inventory:
    description: Folder of the inventory. It must bear the environment's name, unless this is empty.
    type: str
    default: ''
  until:
    description: How far the rotation goes. With C(ready) it ends after every check that needs no new value.
    type: str
    default: committed
    choices: [committed, ready]
  overrides:
    description: What a person has overridden, with the reason; an empty reason overrides nothing.
    type: dict
    default: {}
  batches:
    description: Batches of a rolling switch, as C(serial) of a play takes them.
    type: list
    elements: raw
    default: [1, 25%, 100%]
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
- name: Plan the rotation
  keyturn_plan:
    secrets: "{{ keyturn_secrets }}"
    secret: db_key
    services: "{{ keyturn_services }}"
    environments: [staging]
    inventory: staging
    reason: scheduled
"""

RETURN = r"""
plan:
  description: The rotation's id, reason, operator, start and batches, and what the catalogue says of the secret.
  returned: success
  type: dict
"""

import os

from ansible.module_utils.keyturn import catalogue
from ansible.module_utils.keyturn import plan as planning
from ansible.module_utils.keyturn.ansible_module import run, services, validated
from ansible.module_utils.keyturn.errors import KeyturnError
from ansible.module_utils.keyturn.journal import utc_now

PLANNED = ("title", "variables", "value", "switch", "overlap", "sessions", "downtime_budget_seconds")


def plan(module):
    """Check the request and return the plan."""
    given = module.params
    secret = given["secret"]
    if secret not in given["secrets"]:
        known = ", ".join(sorted(given["secrets"])) or "nothing"
        raise KeyturnError(f"keyturn_secrets has no entry {secret} (it has: {known})")
    entry = validated(f"keyturn_secrets.{secret}", catalogue.ENTRY, given["secrets"][secret])
    catalogue.check_meaning(secret, entry, services(given["services"]))
    environments = sorted(set(given["environments"]))
    if len(environments) != 1:
        raise KeyturnError(
            "the hosts of this inventory must have one keyturn_environment, "
            f"they have: {', '.join(environments) or 'none'}"
        )
    if given["inventory"] not in ("", environments[0]):
        raise KeyturnError(
            f"keyturn_environment is {environments[0]}, and the inventory's folder is {given['inventory']}: "
            "one of the two is the wrong one. An inventory lies in a folder of its environment's name"
        )
    header = {
        "rotation_id": planning.check_rotation_id(given["rotation_id"] or planning.rotation_id()),
        "secret": secret,
        "environment": environments[0],
        "reason": planning.check_reason(given["reason"]),
        "operator": given["operator"] or planning.operator(os.environ),
        "started": utc_now(),
        "until": given["until"],
        "overrides": planning.check_overrides(given["overrides"]),
        "source": entry["source"]["kind"],
        # what commits at once, or goes back at once
        "unit": "fleet" if entry["value"] == "shared" else "batch",
        "batches": given["batches"] if entry["switch"] == "rolling" else ["100%"],
    }
    return {
        "changed": False,
        "plan": header | {name: entry[name] for name in PLANNED},
    }


if __name__ == "__main__":
    run(
        {
            "secrets": {"type": "dict", "required": True},
            "secret": {"type": "str", "required": True},
            "services": {"type": "dict", "required": True},
            "environments": {"type": "list", "elements": "str", "required": True},
            "reason": {"type": "str", "required": True},
            "operator": {"type": "str", "default": ""},
            "rotation_id": {"type": "str", "default": ""},
            "inventory": {"type": "str", "default": ""},
            "until": {"type": "str", "default": "committed", "choices": ["committed", "ready"]},
            "overrides": {"type": "dict", "default": {}},
            "batches": {"type": "list", "elements": "raw", "default": [1, "25%", "100%"]},
        },
        plan,
    )
