#!/usr/bin/python
"""Take one phase of a rotation on a host."""

from __future__ import annotations

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

from ansible.module_utils.keyturn.entry.module import run_named_phase
from ansible.module_utils.keyturn.entry.phases import PHASES, code

if __name__ == "__main__":
    run_named_phase(PHASES, code)
