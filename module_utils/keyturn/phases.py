"""The phases that one module calls on a host: it is packed once in a run, and imports the file of its phase alone."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .ansible_module import ROTATION, Phase

if TYPE_CHECKING:  # Ansible packs what it reads here
    from .lifecycle import assess, commit, rollback, stage, state, turn  # noqa: F401

PHASES = {
    "state": Phase(
        {"app_root": {"type": "path", "required": True}, "state_dir": {"type": "path", "required": True}},
    ),
    "stage": Phase(
        {
            **ROTATION,
            "new_values": {"type": "dict", "no_log": True},
            "provider": {"type": "dict"},
            "only_examine": {"type": "bool", "default": False},
            "sent_at": {"type": "float", "required": True},
        },
        diff=("old", "new"),
    ),
    "turn": Phase(
        {
            **ROTATION,
            "until": {"type": "str", "default": "proved", "choices": ["prepared", "switched", "proved"]},
        },
        diff=("old", "new"),
    ),
    "commit": Phase({**ROTATION, "step": {"type": "str", "required": True, "choices": ["decide", "finish", "both"]}}),
    "assess": Phase(ROTATION),
    "rollback": Phase(
        {
            **ROTATION,
            "cause": {"type": "str", "required": True},
            "abandon_commit": {"type": "bool", "default": False},
        },
        diff=("new", "old"),
    ),
}


def code(name: str) -> Callable[..., dict[str, Any]]:
    """Return what a phase does: ``run`` of its file."""
    found: Callable[..., dict[str, Any]] = import_module(f"{__package__}.lifecycle.{name}").run
    return found
