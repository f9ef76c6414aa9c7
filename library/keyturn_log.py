#!/usr/bin/python
"""Verify the rotation log."""

DOCUMENTATION = r"""
module: keyturn_log
short_description: Verify the rotation log
description:
  - Runs on the controller. Follows the chain of hashes and fails with the first record that breaks it.
  - A tail that was cut off is found by the heads that the reports keep, or by one that a person gives; a log that was written anew
    together with the reports by those that the hosts keep.
options:
  folder:
    description: The environment's folder of reports.
    type: path
    required: true
  head:
    description: A hash that was the log's head once, from the summary of a run.
    type: str
    default: ''
  allowed_signers:
    description: The file of allowed signers by which the signatures of sign-offs are checked. Not checked if empty.
    type: path
    default: ''
  hosts:
    description:
      - What M(keyturn_rotation_info) said on each host, nothing for one that gave no answer. A rotation that they have committed and that
        has no report, as after the loss of the folder, is an error. Not compared if omitted.
    type: dict
    default: {}
  begin:
    description: How a log is begun anew from the hosts, where neither log nor reports are left.
    type: dict
    default: {reason: ''}
    suboptions:
      reason:
        description: Why; nothing is begun if empty.
        type: str
        default: ''
      environment:
        description: The environment.
        type: str
        default: ''
      operator:
        description: Who does it, the user of this process if empty.
        type: str
        default: ''
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Begins nothing, and says with how much it would.
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
