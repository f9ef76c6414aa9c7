#!/usr/bin/python
"""Write what Keyturn knows as metrics."""

DOCUMENTATION = r"""
module: keyturn_metrics
short_description: Write what Keyturn knows as metrics
description:
  - Writes what M(keyturn_status) said for node-exporter's textfile collector. Names and times only; anybody may read it.
options:
  status:
    description: C(status) as M(keyturn_status) returned it.
    type: dict
    required: true
  environment:
    description: Name of the environment.
    type: str
    required: true
  path:
    description: The file, which ends with C(.prom).
    type: path
    required: true
extends_documentation_fragment: keyturn.step
"""

EXAMPLES = r"""
- name: Write the metrics
  keyturn_metrics:
    status: "{{ rotation_status.status }}"
    environment: staging
    path: /var/lib/prometheus/node-exporter/keyturn_staging.prom
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
"""

import os
from pathlib import Path

from ansible.module_utils.keyturn.base import durable
from ansible.module_utils.keyturn.base.errors import KeyturnError
from ansible.module_utils.keyturn.entry.module import run
from ansible.module_utils.keyturn.monitoring import metrics

READABLE = 0o644


def write(module):
    """Write the file: the collector reads under a user of its own."""
    path = Path(module.params["path"])
    text = metrics.textfile(module.params["status"], module.params["environment"])
    if not path.parent.is_dir():
        raise KeyturnError(
            f"keyturn_textfile: the folder {path.parent} does not exist: make it, or install node-exporter"
        )
    if not module.check_mode:
        durable.write_file(path, text.encode(), lambda fd: os.fchmod(fd, READABLE))
    return {"changed": not module.check_mode, "path": str(path)}


if __name__ == "__main__":
    run(
        {
            "status": {"type": "dict", "required": True},
            "environment": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
        },
        write,
    )
