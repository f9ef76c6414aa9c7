#!/usr/bin/python
"""Take one phase of a rotation on a host."""

DOCUMENTATION = r"""
module: keyturn_phase
short_description: Take one phase of a rotation on a host
description:
  - What the actions M(keyturn_rotation_info), M(keyturn_reach_info), M(keyturn_stage), M(keyturn_issue),
    M(keyturn_turn), M(keyturn_commit), M(keyturn_ask_provider), M(keyturn_rollback)
    and M(keyturn_prune) call. Use those; their pages say what each takes and returns.
  - One module for all, since Ansible packs each module anew in each run, at a third of a second of the controller.
options:
  phase:
    description: The phase. Further options are those of the action of its name.
    type: str
    required: true
    choices: [ask_provider, commit, issue, prune, reach_info, rollback, rotation_info, stage, turn]
author: The Keyturn maintainers
attributes:
  check_mode:
    description: Reads only and says what would happen.
    support: full
  diff_mode:
    description: Shows fingerprints, never values.
    support: full
"""

EXAMPLES = r"""
- name: Turn
  keyturn_turn:
    rotation: "{{ rotation_context }}"
"""

RETURN = r"""
rotation:
  description: The host's journal of the rotation, as the action's page says.
  returned: success, outside check mode
  type: dict
"""

from typing import TYPE_CHECKING

from ansible.module_utils.keyturn.entry.module import ROTATION, SECRET, SECRETS, Phase, run_named_phase
from ansible.module_utils.keyturn.inputs import catalogue

if TYPE_CHECKING:  # Ansible packs what it reads here
    from ansible.module_utils.keyturn.host.phases import (  # noqa: F401
        ask_provider,
        commit,
        issue,
        prune,
        reach_info,
        rollback,
        rotation_info,
        stage,
        turn,
    )

# what a phase takes; the file of its name in host/phases does it
PHASES = {
    "rotation_info": Phase(
        {
            "app_root": {"type": "path", "required": True},
            "state_dir": {"type": "path", "required": True},
            "application": {"type": "dict", "options": catalogue.APPLICATION},
            "secrets": {"type": "dict", "default": {}},
        },
    ),
    "prune": Phase(SECRETS),
    "reach_info": Phase(SECRET),
    "stage": Phase(
        {
            **ROTATION,
            "new_values": {"type": "dict", "no_log": True},
            "provider": {"type": "dict"},
            "only_examine": {"type": "bool", "default": False},
            "sent_at": {"type": "float", "required": True},
            "logged": {"type": "list", "elements": "str"},
            "log_head": {"type": "dict"},
        },
        diff=("old", "new"),
    ),
    "turn": Phase(
        {
            **ROTATION,
            "until": {
                "type": "str",
                "default": "proved",
                "choices": ["prepared", "stopped", "accepts", "leads", "turned", "switched", "proved"],
            },
        },
        diff=("old", "new"),
    ),
    "commit": Phase({**ROTATION, "step": {"type": "str", "required": True, "choices": ["decide", "finish", "both"]}}),
    "issue": Phase(
        {
            **ROTATION,
            "step": {"type": "str", "required": True, "choices": ["set", "unset", "retire"]},
            "cause": {"type": "str", "default": ""},
            "abandon_commit": {"type": "bool", "default": False},
            "admins_password": {"type": "str", "no_log": True},
        },
    ),
    "ask_provider": Phase(ROTATION),
    "rollback": Phase(
        {
            **ROTATION,
            "cause": {"type": "str", "required": True},
            "abandon_commit": {"type": "bool", "default": False},
            "until": {
                "type": "str",
                "default": "rolled_back",
                "choices": ["allowed", "stopped", "turned", "accepts", "rolled_back"],
            },
            "withdrawn": {"type": "bool", "default": False},
        },
        diff=("new", "old"),
    ),
}

if __name__ == "__main__":
    run_named_phase(PHASES)
