"""The one guard that no option can skip: Ansible templates the hosts of a play whatever tasks the run selects."""

from __future__ import annotations

DOCUMENTATION = r"""
name: keyturn_whole_run
short_description: The hosts of a play, of a run that is refused where it cannot be meant as it was started
description:
  - For C(hosts) of the first play. With C(--tags), C(--skip-tags), C(--start-at-task) or C(--step) every guard that is a
    task may be skipped, and Ansible ends with 0 when nothing ran.
  - A setting of Ansible that changes the order of phases, and a variable C(keyturn_*) of the inventory or the command line that stands
    for nothing or is not what it may be, are refused as well, and so is an inventory without the application's hosts or without what it
    must say of them.
author: The Keyturn maintainers
options:
  _terms:
    description: >-
      The hosts of the play. C(application) stands for the group of the application's hosts, C(one) for the first of
      them, or this machine where there is none.
    type: list
    elements: str
    required: true
  may_limit:
    description: Whether C(--limit) is allowed, for a playbook that only reads.
    type: bool
    default: false
  may_be_part:
    description: Whether each of those options is allowed, for a playbook that touches no secret.
    type: bool
    default: false
  may_choose:
    description: Whether the command line may name the application, for a playbook that only looks at its folder.
    type: bool
    default: false
  may_be_unknown:
    description: Whether there may be no folder of the application yet, for a playbook that makes one or needs none.
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

from collections.abc import Iterator, Mapping
from typing import Any

from ansible import constants, context
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.plugins.loader import action_loader
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

action_loader.get("keyturn_controller", class_only=True)  # from then on module_utils are found
from ansible.module_utils.keyturn.base.errors import KeyturnError
from ansible.module_utils.keyturn.entry import inventory
from ansible.module_utils.keyturn.inputs import application, settings, tree
from ansible.module_utils.keyturn.inputs import variables as public

WHOLE = {"tags": {"all"}, "skip_tags": set(), "start_at_task": None, "step": False, "subset": None}
OPTIONS = {name: f"--{name.replace('_', '-')}" for name in WHOLE} | {"subset": "--limit"}
FAILED = 2
NO_HOSTS = (
    "the group {group} of this inventory has no hosts: name the right inventory with -i, and put the application's hosts into the group "
    "{group}, or say by keyturn_hosts which group they are in"
)


class LookupModule(LookupBase):
    """The lookup ``keyturn_whole_run``."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[str]:
        """Return ``terms``, or end the run with what is wrong with it: an exception would be told as a defect of a lookup."""
        self.set_options(var_options=variables, direct=kwargs)
        allowed = (
            set(WHOLE) if self.get_option("may_be_part") else {"subset"} if self.get_option("may_limit") else set()
        )
        partial = [OPTIONS[name] for name, whole in WHOLE.items() if name not in allowed and _given(name) != whole]
        found = []
        if partial:
            found.append(f"this playbook must run whole, and {', '.join(partial)} would leave out hosts or guards")
        found += settings.problems(constants.config)
        typed, may_choose = load_extra_vars(self._loader), self.get_option("may_choose")
        found += (refused := list(public.inner(typed, may_choose)))
        found += public.unprefixed(typed)
        chooses = {public.APPLICATION, public.GROUP} & typed.keys() and refused
        group, hosts = application.DEFAULT, []
        # what was typed chooses nothing, and of a check of syntax nothing runs
        if not chooses and not context.CLIARGS.get("syntax"):
            known = (variables or {}).get("hostvars") or _inventory(self._loader)
            try:
                chosen = inventory.choose(known, typed.get(public.APPLICATION))
                group, hosts = chosen.group, variables["groups"].get(chosen.group, [])
                # a playbook that looks at the folder tells what is wrong there, and at more leisure
                folder_counts = not (may_choose or self.get_option("may_be_unknown"))
                wrong = list(chosen.application.problems()) if folder_counts else []
                rotates = folder_counts and not self.get_option("may_be_part")
                found += wrong or ([] if may_choose else _problems(known, variables, chosen, rotates))
                if not (hosts or may_choose or self.get_option("may_be_part")):
                    found.append(NO_HOSTS.format(group=group))
            except KeyturnError as error:
                found.append(str(error))
        if found:
            Display().error(f"{'; '.join(found)}; nothing was changed: mend that, and run it again")
            raise SystemExit(FAILED)
        stand_for = {"application": group, "one": next(iter(hosts), "localhost")}
        return [stand_for.get(term, term) for term in terms]


def _problems(variables: Any, known: Mapping[str, Any], chosen: inventory.Chosen, rotates: bool) -> Iterator[str]:
    """Say what is wrong with the variables of each host, once where hosts have it in common, or missing for what ``rotates``."""
    said: dict[str, list[str]] = {}
    groups, more = known["groups"], chosen.application.variables()
    hosts = list(dict.fromkeys(host for name in (chosen.group, "monitoring") for host in groups.get(name, [])))
    for host in hosts:
        given = _given_of(variables, host)
        ours = host in groups.get(chosen.group, [])
        lacking = public.lacking(given, rotates, tree.IN_A_COLLECTION) if ours else ()
        for problem in [*public.problems(given, more), *lacking]:
            said.setdefault(problem, []).append(host)
    for problem, where in said.items():
        yield problem if len(where) == len(hosts) else f"{', '.join(where)}: {problem}"


def _inventory(loader: Any) -> HostVars:
    """Return what the first play does not have yet. The files are in the loader's memory by now."""
    inventory = InventoryManager(loader=loader, sources=context.CLIARGS["inventory"])
    return HostVars(inventory, VariableManager(loader=loader, inventory=inventory), loader)


def _given_of(hosts: Any, host: str) -> dict[str, Any]:
    """Return Keyturn's variables of a host. What is a mapping already is not resolved, nor are the parts of the application."""
    stated, resolved = hosts.raw_get(host), hosts[host]

    def value_of(name: str) -> Any:
        try:
            return resolved[name]
        except AnsibleError:
            return public.Unresolved()

    names = [
        name
        for name in stated
        if public.looked_at(name) and not (name in public.PARTS and isinstance(stated[name], str))
    ]
    return {name: stated[name] if isinstance(stated[name], Mapping) else value_of(name) for name in names}


def _given(name: str) -> Any:
    given = context.CLIARGS.get(name)
    if name in ("tags", "skip_tags"):
        return set(given or ()) or ({"all"} if name == "tags" else set())
    return given or (False if name == "step" else None)
