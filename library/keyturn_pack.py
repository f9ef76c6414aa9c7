#!/usr/bin/python
"""Pack the evidence of a period for an audit."""

DOCUMENTATION = r"""
module: keyturn_pack
short_description: Pack the evidence of a period for an audit
description:
  - Runs on the controller. Writes an archive (0600) into C(audits) of the environment's folder of reports, with the part of the log
    that was written in the period, the reports of its rotations, signatures, the last status, checksums, and how to verify them.
  - The same records give the same archive. It has no value.
options:
  folder:
    description: The environment's folder of reports.
    type: path
    required: true
  begin:
    description: The first day, C(2026-01-01), in UTC.
    type: str
    default: ''
  end:
    description: The last day.
    type: str
    default: ''
  allowed_signers:
    description: The file that says whose key is whose, C(keyturn_allowed_signers); nothing where nobody signs with keys.
    type: str
    default: ''
  reason:
    description: Why a log that does not verify is packed all the same. Without it that is refused.
    type: str
    default: ''
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Says what would be packed, and its checksum.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Pack the evidence of a quarter
  keyturn_pack:
    folder: reports/staging
    begin: "2026-01-01"
    end: "2026-03-31"
"""

RETURN = r"""
path:
  description: The archive.
  returned: success
  type: str
sha256:
  description: The SHA-256 of the archive.
  returned: success
  type: str
text:
  description: The same for a person.
  returned: success
  type: str
"""

# The work is done in the controller's own process: plugins/action/keyturn_pack.py
