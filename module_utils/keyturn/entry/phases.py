"""The phases that one module calls on a host: it is packed once in a run, and imports the file of its phase alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ..host import calls
from ..inputs import catalogue
from .module import ROTATION, SECRET, SECRETS, Code, Phase

if TYPE_CHECKING:  # Ansible packs what it reads here
    from ..host.phases import (  # noqa: F401
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
            "until": {"type": "str", "default": "proved", "choices": [*calls.UNTIL]},
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
                "choices": ["stopped", "turned", "accepts", "rolled_back"],
            },
            "withdrawn": {"type": "bool", "default": False},
        },
        diff=("new", "old"),
    ),
}


def code(name: str) -> Code:
    """Return what a phase does: ``run`` of its file."""
    found: Code = import_module(f"{__package__.rpartition('.')[0]}.host.phases.{name}").run
    return found
