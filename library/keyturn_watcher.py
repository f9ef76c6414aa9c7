#!/usr/bin/python
"""Run a unit of the monitoring, and see that it serves."""

DOCUMENTATION = r"""
module: keyturn_watcher
short_description: Run a unit of the monitoring, and see that it serves
description:
  - Enables the unit, starts it, and lets it read what is younger than it. It serves when a process of its own listens on its port and
    answers with what it is there to tell. Anything else is an error that says what is missing.
  - A port that somebody else listens on is refused, with who that is. Arguments that the unit has stay; one that says something
    else than O(flags) is refused by file and line.
options:
  unit:
    description: The unit.
    type: str
    required: true
  address:
    description: The IP address that it listens on.
    type: str
    default: ''
  port:
    description: The port that it listens on; C(0) for a unit that does not, which only has to be active.
    type: int
    default: 0
  variables:
    description: The names of the variables that hold address and port, for messages.
    type: str
    default: ''
  flags:
    description: Arguments that are added to the unit's own command, by their name.
    type: dict
    default: {}
  flag_variables:
    description: The name of the variable that holds each, for messages.
    type: dict
    default: {}
  files:
    description: Files that it reads when it starts.
    type: list
    elements: path
    default: []
  metric:
    description: A metric that its answer at C(/metrics) must have.
    type: str
    default: ''
  metric_files:
    description: Files that must not be younger than the time which O(metric) tells.
    type: list
    elements: path
    default: []
  metric_seconds:
    description: How many seconds ago the time that O(metric) tells may be; C(0) for any.
    type: float
    default: 0
  reloads:
    description: Whether it reads O(metric_files) when it is reloaded.
    type: bool
    default: false
  seconds:
    description: How long it may take to serve.
    type: float
    default: 60
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Looks, and changes nothing. A unit that is not there yet would be made.
    support: full
  diff_mode:
    description: Shows nothing.
    support: none
"""

EXAMPLES = r"""
- name: Run node-exporter
  keyturn_watcher:
    unit: prometheus-node-exporter.service
    address: 127.0.0.1
    port: 9100
    variables: monitoring_address and monitoring_node_port
    flags: {--web.listen-address: "127.0.0.1:9100"}
    flag_variables: {--web.listen-address: monitoring_address and monitoring_node_port}
    metric: keyturn_addresses_time_seconds
"""

RETURN = r"""
did:
  description: What had to be done, as C(systemctl) calls it, and C(add) for arguments that were added.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.keyturn.entry.module import run
from ansible.module_utils.keyturn.monitoring.watcher import Metric, Watcher

FILES = {"type": "list", "elements": "path", "default": []}


def call(module):
    """Add, run and look."""
    parameters, change = module.params, not module.check_mode
    watcher = Watcher(
        parameters["unit"], parameters["address"], parameters["port"], parameters["variables"], parameters["seconds"]
    )
    watcher.refuse_taken()
    if not watcher.known and module.check_mode:
        return {"changed": True, "did": ["install", "enable", "start"]}
    added = bool(parameters["flags"]) and watcher.add(parameters["flags"], parameters["flag_variables"], change=change)
    metric = (
        Metric(parameters["metric"], tuple(map(Path, parameters["metric_files"])), parameters["metric_seconds"])
        if parameters["metric"]
        else None
    )
    did = ["add"] * added + watcher.run(
        map(Path, parameters["files"]), metric, reloads=parameters["reloads"], change=change
    )
    return {"changed": bool(did), "did": did}


if __name__ == "__main__":
    run(
        {
            "unit": {"type": "str", "required": True},
            "address": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 0},
            "variables": {"type": "str", "default": ""},
            "flags": {"type": "dict", "default": {}},
            "flag_variables": {"type": "dict", "default": {}},
            "files": FILES,
            "metric": {"type": "str", "default": ""},
            "metric_files": FILES,
            "metric_seconds": {"type": "float", "default": 0},
            "reloads": {"type": "bool", "default": False},
            "seconds": {"type": "float", "default": 60},
        },
        call,
    )
