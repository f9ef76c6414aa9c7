#!/usr/bin/python
"""Silence at Alertmanager what a rotation causes, or lift that."""

DOCUMENTATION = r"""
module: keyturn_silence
short_description: Silence at Alertmanager what a rotation causes, or lift that
description:
  - After a rotation that ends all sessions every client fails once. Silences the alert on that of this environment, for as long
    as clients may still come with a token of the old secret. Other causes, and more failures than expected, still alert.
  - Never fails for want of an answer. Nobody outside may stop a rotation; RV(warning) says it.
options:
  url:
    description: Where Alertmanager is.
    type: str
    required: true
  alert:
    description: The alert on what the rotation causes, as C(monitoring.yml) of the application has it.
    type: str
    required: true
  environment:
    description: Name of the environment.
    type: str
    required: true
  rotation_id:
    description: Id of the rotation.
    type: str
    required: true
  budget_seconds:
    description: How long the services may be down.
    type: int
    default: 0
  state:
    description: Whether the silence is wanted.
    type: str
    choices: [present, absent]
    default: present
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Asks nothing and says that it would change.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Silence what the rotation causes
  keyturn_silence:
    url: http://192.0.2.10:9093
    alert: SignInRefused
    environment: staging
    rotation_id: 20261123T211624Z-05e8717bcd926858
    budget_seconds: 300
"""

RETURN = r"""
warning:
  description: Why there is no silence; empty where all is well.
  returned: success
  type: str
"""

from datetime import UTC, datetime

from ansible.module_utils.keyturn.base.errors import KeyturnError
from ansible.module_utils.keyturn.entry.module import run
from ansible.module_utils.keyturn.monitoring import silence


def call(module):
    """Ask for it."""
    parameters = module.params
    if module.check_mode:
        return {"changed": True, "warning": ""}
    url = parameters["url"].rstrip("/")
    try:
        if parameters["state"] == "absent":
            changed = silence.lift(url, parameters["rotation_id"])
        else:
            now, budget = datetime.now(UTC), parameters["budget_seconds"]
            changed = silence.begin(
                url, parameters["alert"], parameters["environment"], parameters["rotation_id"], now, budget
            )
    except KeyturnError as error:
        module.warn(str(error))
        return {"changed": False, "warning": str(error)}
    return {"changed": changed, "warning": ""}


if __name__ == "__main__":
    run(
        {
            "url": {"type": "str", "required": True},
            "alert": {"type": "str", "required": True},
            "environment": {"type": "str", "required": True},
            "rotation_id": {"type": "str", "required": True},
            "budget_seconds": {"type": "int", "default": 0},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        call,
    )
