"""Settings of Ansible that a run must not have. They come from the environment of whoever starts it, and win over ansible.cfg.

All others are harmless, or Ansible itself then finds nothing to run; docs/settings.md has each with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.config.manager import ConfigManager

# what goes wrong with any other value than Ansible's own, or than OURS
REFUSED = {
    "ALLOW_BROKEN_CONDITIONALS": "a value that is no condition would count as one",
    "ANY_ERRORS_FATAL": "a lost host would end the run before its report and before the others go back",
    "DEFAULT_HASH_BEHAVIOUR": "services and secrets from two places would be merged",
    "DEFAULT_PRIVATE_ROLE_VARS": "a phase would not find what an earlier phase has set",
    "DEFAULT_STRATEGY": "hosts would not wait for each other between the phases",
    "DEFAULT_UNDEFINED_VAR_BEHAVIOR": "an undefined variable would be taken for text",
    "ENABLE_TASK_DEBUGGER": "a failure would wait for a person while the service is down",
    "INJECT_FACTS_AS_VARS": "facts of a host would override the inventory",
    "INVENTORY_IGNORE_EXTS": "a file of the inventory, and its hosts with it, would be left out",
    "INVENTORY_IGNORE_PATTERNS": "a file of the inventory, and its hosts with it, would be left out",
    "TASK_TIMEOUT": "a call would be given up while it works on the host",
    "VARIABLE_PRECEDENCE": "variables would come from another place than docs/reference/variables.md says",
    "_ANSIBALLZ_DEBUGPY_CONFIG": "a debugger would hold the call, and see its value",
    "_ANSIBALLZ_PYDEVD_CONFIG": "a debugger would hold the call, and see its value",
}
# what ansible.cfg sets otherwise than Ansible would
OURS = {"INJECT_FACTS_AS_VARS": False}


def problems(config: ConfigManager) -> Iterator[str]:
    """Say which settings of a run are refused, and why; ``config`` is Ansible's ConfigManager."""
    definitions = config.get_configuration_definitions()
    for name, harm in REFUSED.items():
        value, origin = config.get_config_value_and_origin(name)
        wanted = OURS.get(name, definitions[name].get("default"))
        if value != wanted and (origin != "default" or name in OURS):
            yield f"{name} is set ({origin}), and {harm}"
