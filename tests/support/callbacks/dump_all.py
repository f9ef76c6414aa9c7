"""A callback that writes down all that Ansible gives to any: results, fields of tasks, variables of plays. Its file is KEYTURN_DUMP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: dump_all
type: aggregate
short_description: Write down all that a callback gets
description: For tests.
"""
DEEP = 6
INNER = ("_result", "_task_fields", "_task", "_host", "_return_data", "args", "vars", "name")


class CallbackModule(CallbackBase):
    """Every method of a callback is one."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "dump_all"
    CALLBACK_NEEDS_ENABLED = True

    def __getattribute__(self, name: str) -> Any:
        """Return a method that dumps, for what Ansible calls of an event."""
        if not name.startswith("v2_"):
            return super().__getattribute__(name)

        def dump(*args: Any, **more: Any) -> None:
            with Path(os.environ["KEYTURN_DUMP"]).open("a") as file:
                file.write(f"{name}\n")
                for one in [*args, *more.values()]:
                    file.write(f"{shown(one, DEEP)}\n")

        return dump


def shown(thing: Any, deep: int) -> str:
    """Return a text of a thing and, of one of Ansible's, of what is in it."""
    if deep == 0 or not type(thing).__module__.startswith("ansible.") or isinstance(thing, (str, dict, list, int)):
        return repr(thing)
    inner = {name: getattr(thing, name, None) for name in INNER}
    said = ", ".join(f"{name}={shown(one, deep - 1)}" for name, one in inner.items() if one is not None)
    return f"{thing!r} ({said})"
