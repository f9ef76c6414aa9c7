"""The action ``keyturn_values``."""

from __future__ import annotations

from ..base.generate import GENERATORS
from ..fleet import answers
from ..fleet.recovery import needs_value
from ..inputs.validation import Answer, Parameters

SHAPE = {"hosts": {"*": answers.LOOKED}}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Return the values."""
    if not needs_value(parameters["rotation_id"], parameters["hosts"]):
        return {"changed": False, "needed": False}
    kind = parameters["generator"]
    if kind is None or check_mode:
        return {"changed": kind is not None, "needed": True}
    generator = GENERATORS[kind]
    return {"changed": True, "needed": True, "new_values": {name: generator() for name in parameters["variables"]}}
