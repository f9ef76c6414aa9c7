"""The action ``keyturn_store``: one step of a rotation in the secret store."""

from __future__ import annotations

from ..fleet import answers
from ..fleet.versions import STEPS, Step
from ..inputs.validation import Answer, Parameters, store
from ..stores import open_store, path_of

# what the action takes from memory
TAKES = "new_values"
PLACE = ("store", "step", "environment", "secret", "host")
SHAPE = {"hosts": {"*": answers.LOOKED}, "old": {"*": str}, "new": {"*": str}, "new_values": (None, {"*": str})}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Take the step."""
    spec = store(parameters["store"])
    path = path_of(spec, parameters["environment"], parameters["secret"], parameters["host"])
    rest = {name: value for name, value in parameters.items() if name not in PLACE}
    return {"path": path, **STEPS[parameters["step"]](Step(open_store(spec), path, check_mode, **rest))}
