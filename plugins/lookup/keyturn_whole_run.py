"""The one guard that no option can skip: Ansible templates the hosts of a play whatever tasks the run selects."""

from __future__ import annotations

from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: keyturn_whole_run
short_description: The hosts of a play, refused when the run leaves a part of the playbook out
description:
  - For C(hosts) of the first play. With C(--tags), C(--skip-tags), C(--start-at-task) or C(--step) every guard that is a
    task may be skipped, and Ansible ends with 0 when nothing ran.
author: The Keyturn maintainers
options:
  _terms:
    description: The hosts of the play.
    type: str
    required: true
  may_limit:
    description: Whether C(--limit) is allowed, for a playbook that only reads.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Plan
  hosts: "{{ lookup('keyturn_whole_run', 'localhost') }}"
"""

RETURN = r"""
_raw:
  description: The hosts, as given.
  type: list
  elements: str
"""

WHOLE = {"tags": {"all"}, "skip_tags": set(), "start_at_task": None, "step": False, "subset": None}
OPTIONS = {name: f"--{name.replace('_', '-')}" for name in WHOLE} | {"subset": "--limit"}


class LookupModule(LookupBase):
    """The lookup ``keyturn_whole_run``."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[str]:
        """Return ``terms``; AnsibleError names the options that make the run a partial one."""
        self.set_options(var_options=variables, direct=kwargs)
        allowed = {"subset"} if self.get_option("may_limit") else set()
        partial = [OPTIONS[name] for name, whole in WHOLE.items() if name not in allowed and _given(name) != whole]
        if partial:
            raise AnsibleError(
                f"this playbook must run whole, and {', '.join(partial)} would leave out hosts or guards; "
                "nothing was changed: run it again without"
            )
        return terms


def _given(name: str) -> Any:
    given = context.CLIARGS.get(name)
    if name in ("tags", "skip_tags"):
        return set(given or ()) or ({"all"} if name == "tags" else set())
    return given or (False if name == "step" else None)
