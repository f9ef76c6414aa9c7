#!/usr/bin/python
"""Take a server out of a balancer's traffic, or put it back."""

DOCUMENTATION = r"""
module: keyturn_haproxy
short_description: Take a server out of HAProxy's traffic, or put it back
description:
  - Runs on the balancer, and believes what HAProxy's socket says that it has done. An order that it refuses is an error, and so is a
    server that keeps its connections, or is not healthy, for too long.
  - A server that a person has put into maintenance stays there, with a warning.
options:
  socket:
    description: HAProxy's C(stats socket). It needs C(level admin).
    type: path
    required: true
  backend:
    description: The backend.
    type: str
    required: true
  server:
    description: The server in it.
    type: str
    required: true
  state:
    description: C(drain) ends when it has no connection any more, C(ready) when it is running.
    type: str
    required: true
    choices: [drain, ready]
  seconds:
    description: How long to wait for that.
    type: float
    default: 60
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Looks, and orders nothing.
    support: full
  diff_mode:
    description: Shows nothing.
    support: none
"""

EXAMPLES = r"""
- name: Drain the host at the balancer
  keyturn_haproxy:
    socket: /run/haproxy.sock
    backend: apps
    server: app1
    state: drain
  delegate_to: lb
"""

RETURN = r"""
kept_out:
  description: Whether something else keeps the server out, such as a person's maintenance.
  returned: success
  type: bool
"""

from ansible.module_utils.keyturn.entry.module import run
from ansible.module_utils.keyturn.services.haproxy import Server


def call(module):
    """Drain the server, or put it back."""
    parameters = module.params
    server = Server(parameters["socket"], parameters["backend"], parameters["server"])
    kept_out = server.kept_out()
    if kept_out:
        module.warn(
            f"{parameters['server']} is kept out of {parameters['backend']} by a person or its configuration, and stays so"
        )
    act = server.drain if parameters["state"] == "drain" else server.put_back
    return {"changed": act(parameters["seconds"], change=not module.check_mode), "kept_out": kept_out}


if __name__ == "__main__":
    run(
        {
            "socket": {"type": "path", "required": True},
            "backend": {"type": "str", "required": True},
            "server": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["drain", "ready"]},
            "seconds": {"type": "float", "default": 60},
        },
        call,
    )
