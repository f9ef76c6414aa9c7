#!/usr/bin/python
"""Say which rotation is open on a host."""

DOCUMENTATION = r"""
module: keyturn_rotation_info
short_description: Say which rotation is open on a host
description:
  - Reads the journals of one application, and the files of the secrets that it is asked about. Changes nothing.
options:
  application:
    description: What M(keyturn_holdings_info) is told of the application, where it is to be told what the host holds.
    type: dict
  secrets:
    description: The entries of the catalogue, C(keyturn_secrets), of which is to be told what the host holds; nothing is read of others.
    type: dict
    default: {}
  app_root:
    description: Folder of the application.
    type: path
    required: true
  state_dir:
    description: Keyturn's state folder on the host.
    type: path
    required: true
extends_documentation_fragment: keyturn.info
"""

EXAMPLES = r"""
- name: Look for an open rotation
  keyturn_rotation_info:
    app_root: /opt/shop
    state_dir: /var/lib/keyturn
"""

RETURN = r"""
rotation:
  description: The journal of the rotation that is open, empty when none is.
  returned: success
  type: dict
closed:
  description: How each rotation of the past ended here, by its id.
  returned: success
  type: dict
expired:
  description: The ids of those whose old value has expired and is still there.
  returned: success
  type: list
  elements: str
held:
  description:
    - By secret, whether it is C(used) on this host, the fingerprints of its C(values), and the C(problem) of one that should be there.
  returned: success
  type: dict
"""

# The work is done on the host by keyturn_phase, which all phases share: plugins/action/keyturn_rotation_info.py
