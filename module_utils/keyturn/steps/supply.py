"""The action ``keyturn_supply``."""

from __future__ import annotations

from ..inputs import catalogue
from ..inputs.validation import Answer, Parameters, validated
from ..providers import supplied as supplying

# what the action takes from memory
TAKES = "stored"
SHAPE = {"brought": {"values": dict, "exposed": [str], "problem": str}, "stored": {"*": str}}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Check the value."""
    brought = parameters["brought"]
    if not any(brought.values()):
        brought = brought | {"values": parameters["stored"]}
    if check_mode and not any(brought.values()):
        return {"changed": True}
    entry = validated("the catalogue entry", catalogue.ENTRY, parameters["entry"])
    values = supplying.check(entry["variables"], entry["source"], brought)
    reply = supplying.ask(entry, parameters["overrides"], values)
    return {"changed": True, "new_values": values, "provider": reply._asdict()}
