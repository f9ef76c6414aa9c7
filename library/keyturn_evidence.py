#!/usr/bin/python
"""Collect the evidence of an intrusion on a host."""

DOCUMENTATION = r"""
module: keyturn_evidence
short_description: Collect the evidence of an intrusion on a host
description:
  - Reads file times, logs, the system's journal, and what the providers have on record; writes nothing on the host.
  - The action of the same name encrypts the archive on the controller before it is written, and takes it out of the result.
options:
  folder:
    description: Folder on the controller for the sealed archive.
    type: path
    required: true
  recipient:
    description: The public age key to which it is encrypted.
    type: str
    required: true
  pass:
    description: Before the rotations all is collected, after them what a dead credential has kept back.
    type: str
    required: true
    choices: [after, before]
  sources:
    description: What is collected.
    type: list
    elements: str
    default: [alpaca, files, journal, logs, plaid]
    choices: [alpaca, files, journal, logs, plaid]
  since:
    description: Since when, as ISO 8601 in UTC.
    type: str
    required: true
  logs:
    description: Log files beside the application's own, such as those of a balancer. May have wildcards.
    type: list
    elements: str
    default: []
extends_documentation_fragment: keyturn.secrets
"""

EXAMPLES = r"""
- name: Collect and seal
  keyturn_evidence:
    folder: reports/staging/incidents/INC-7/evidence
    recipient: age1...
    pass: before
    since: "2026-01-30T00:00:00Z"
    application: "{{ rotation_application }}"
    secrets: "{{ keyturn_secrets }}"
"""

RETURN = r"""
archive:
  description: A compressed tar with the list of its SHA-256, in base64. The action takes it out.
  returned: outside check mode
  type: str
members:
  description: Name, size and SHA-256 of each file in it.
  returned: outside check mode
  type: list
  elements: dict
missing:
  description: The sources that could not be had, with the reason.
  returned: success
  type: dict
"""

import base64
import time
from pathlib import Path

from ansible.module_utils.keyturn.base import timestamps
from ansible.module_utils.keyturn.entry.module import SECRETS, holdings_of, run
from ansible.module_utils.keyturn.inputs.validation import services
from ansible.module_utils.keyturn.records import evidence


def collect(module):
    """Collect what the sources have."""
    parameters = module.params
    holdings = holdings_of(module, parameters["secrets"])
    if module.check_mode:
        return {"changed": True, "missing": {}}
    scene = evidence.Scene(
        holdings,
        Path(parameters["application"]["app_root"]),
        services(parameters["application"]["services"]),
        parameters["logs"],
        timestamps.parse(parameters["since"]),
        parameters["application"]["app_user"],
    )
    members, missing = evidence.collect(scene, parameters["sources"])
    packed = base64.b64encode(evidence.archive(members, int(time.time()))).decode()
    return {"changed": True, "archive": packed, "members": evidence.listing(members), "missing": missing}


if __name__ == "__main__":
    run(
        {
            **SECRETS,
            "sources": {
                "type": "list",
                "elements": "str",
                "choices": sorted(evidence.SOURCES),
                "default": sorted(evidence.SOURCES),
            },
            "since": {"type": "str", "required": True},
            "logs": {"type": "list", "elements": "str", "default": []},
        },
        collect,
    )
