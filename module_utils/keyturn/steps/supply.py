"""The action ``keyturn_supply``."""

from __future__ import annotations

import os

from ..inputs import catalogue
from ..inputs.catalogue import Entry
from ..inputs.validation import Answer, Parameters, store, validated
from ..providers import supplied as supplying

# what the action takes from memory
TAKES = "stored"
SHAPE = {"brought": {"values": dict, "exposed": [str], "problem": str}, "stored": {"*": str}}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Check the value."""
    brought = parameters["brought"]
    if not any(brought.values()):
        brought = brought | {"values": parameters["stored"]}
    entry = validated("the catalogue entry", catalogue.ENTRY, parameters["entry"])
    by_the_store = bool(entry["source"]["static_role"]) and not any(brought.values())
    if check_mode and not any(brought.values()):
        return {"changed": True}
    if by_the_store:
        brought = {"values": _turned(parameters["store"], entry), "exposed": [], "problem": ""}
    values = supplying.check(entry["variables"], entry["source"], brought)
    reply = supplying.ask(entry, parameters["overrides"], values)
    return {"changed": True, "new_values": values, "provider": reply._asdict()}


def _turned(described: object, entry: Entry) -> dict[str, str]:
    """Have the secret store change the password of the entry's static role, and return what it is by variable."""
    from ..stores import static_role
    from ..stores.openbao import OpenBao

    *users, password = entry["variables"]
    found = static_role.turned(OpenBao(store(described), os.environ), entry["source"]["static_role"])
    return {**dict.fromkeys(users, found[0]), password: found[1]}
