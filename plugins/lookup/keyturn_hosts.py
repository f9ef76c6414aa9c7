"""The hosts of a play of the lifecycle."""

from __future__ import annotations

DOCUMENTATION = r"""
name: keyturn_hosts
short_description: The hosts of a play of the lifecycle
description:
  - For C(hosts) of a play. Who takes part follows from the plan and from what was fixed on the controller, and nobody does before.
  - With C(rotation_skipped), a variable of the play, nobody takes part. With C(rotation_to_old) the hosts go back.
author: The Keyturn maintainers
options:
  _terms:
    description:
      - Name of the play. C(controller) and C(value) are the controller's own parts, C(look) asks every host that has not been asked.
      - C(application) is the group of the application's hosts, also outside the lifecycle.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Stage
  hosts: "{{ lookup('keyturn_hosts', 'stage') }}"
"""

RETURN = r"""
_raw:
  description: Names of hosts, or a pattern that matches none.
  type: list
  elements: str
"""

from typing import Any

from ansible.plugins.loader import action_loader
from ansible.plugins.lookup import LookupBase

action_loader.get("keyturn_controller", class_only=True)  # from then on module_utils are found
from ansible.module_utils.keyturn.entry import inventory
from ansible.module_utils.keyturn.fleet.run_state import speaker
from ansible.module_utils.keyturn.fleet.taking_part import hosts_of

NOBODY = ["!all"]


class LookupModule(LookupBase):
    """The lookup ``keyturn_hosts``."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[str]:
        """Return the hosts of the play ``terms[0]``."""
        self.set_options(var_options=variables, direct=kwargs)
        (play,) = terms
        if self._templar.template(variables.get("rotation_skipped", False)):
            return NOBODY
        if play == "controller":
            return ["localhost"]
        if "hostvars" not in variables:  # nothing runs: the syntax is checked
            return NOBODY
        name = inventory.chosen().group
        if play == "application":
            return [name]
        controller, group = variables["hostvars"]["localhost"], variables["groups"].get(name, [])
        if "rotation_planned" not in controller:
            return NOBODY
        plan = controller["rotation_planned"]["plan"]
        if play == "value":
            return ["localhost"] if plan["value"] == "shared" or plan["examines_first"] else NOBODY
        if play == "look":
            looks = plan["looks"] and not any("rotation_looked" in variables["hostvars"][host] for host in group[:1])
            return group if looks else NOBODY
        fixed = (controller.get(name, {}) for name in ("rotation_agreed", "rotation_fleet"))
        hosts = next((said["hosts"] for said in fixed if "hosts" in said), [])
        adopted = variables["hostvars"][group[0]].get("keyturn_adopt", "")
        speaks = speaker({host: variables["hostvars"][host] for host in hosts}, plan, adopted)
        back = "rotation_failed" in controller or variables.get("rotation_to_old", False)
        return hosts_of(play, plan, hosts, speaks, back) or NOBODY
