"""The action ``keyturn_store``: one step of a rotation in the secret store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import catalogue
from ..ansible_module import validated
from ..generate import GENERATORS
from ..stores import open_store, path_of
from ..stores.steps import STEPS, Step

ARGUMENTS: dict[str, Any] = {
    "store": {"type": "dict", "required": True},
    "step": {"type": "str", "required": True, "choices": sorted(STEPS)},
    "environment": {"type": "str", "required": True},
    "secret": {"type": "str", "required": True},
    "host": {"type": "str", "default": ""},
    "rotation_id": {"type": "str", "required": True},
    "variables": {"type": "list", "elements": "str", "default": []},
    "generator": {"type": "str", "choices": sorted(GENERATORS)},
    "new_values": {"type": "dict"},
    "hosts": {"type": "dict", "default": {}},
    "old": {"type": "dict", "default": {}},
    "new": {"type": "dict", "default": {}},
    "abandoned": {"type": "str", "default": ""},
}
PLACE = ("store", "step", "environment", "secret", "host")


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Take the step."""
    spec = validated("keyturn_store", catalogue.STORE, given["store"], catalogue.STORE_REQUIRED_IF)
    path = path_of(spec, given["environment"], given["secret"], given["host"])
    rest = {name: value for name, value in given.items() if name not in PLACE}
    return {"path": path, **STEPS[given["step"]](Step(open_store(spec), path, check_mode, **rest))}
