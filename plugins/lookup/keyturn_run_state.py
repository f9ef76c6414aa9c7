"""What the hosts have said in this run so far, and what follows for all of them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: keyturn_run_state
short_description: What the hosts have said in this run so far
description: A question to what the hosts' calls have returned, answered by the function of its name in C(fleet/run_state.py).
author: The Keyturn maintainers
options:
  _terms:
    description:
      - The question, and the names of the hosts that it is about.
      - Of C(records) also the id of the rotation.
    type: list
    elements: raw
    required: true
"""

EXAMPLES = r"""
rotation_causes: "{{ lookup('keyturn_run_state', 'causes', ['localhost'] + rotation_group) }}"
"""

RETURN = r"""
_raw:
  description: The answer.
  type: list
  elements: raw
"""

from typing import Any

from ansible.plugins.loader import action_loader
from ansible.plugins.lookup import LookupBase

action_loader.get("keyturn_controller", class_only=True)  # from then on module_utils are found
from ansible.module_utils.keyturn.fleet.run_state import QUESTIONS


class LookupModule(LookupBase):
    """The lookup ``keyturn_run_state``."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Return the answer to ``terms[0]``."""
        self.set_options(var_options=variables, direct=kwargs)
        question, names, *more = terms
        return [QUESTIONS[question]({host: variables["hostvars"][host] for host in names}, *more)]
