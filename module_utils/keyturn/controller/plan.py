"""The action ``keyturn_plan``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import attempts, catalogue, staging_gate
from .. import plan as planning
from ..ansible_module import services, validated
from ..errors import KeyturnError
from ..journal import utc_now

# what the action reads of each host
NEEDED = ("keyturn_environment", "keyturn_app_root", "keyturn_services")
HOOKS = {"keyturn_drain_hook", "keyturn_return_hook"}
READS = (*NEEDED, *sorted(HOOKS))
TOLD = ("rotation_id", "environment", "secret", "reason", "operator", "overrides")
PLANNED = ("title", "variables", "value", "switch", "overlap", "sessions", "downtime_budget_seconds")

ARGUMENTS: dict[str, Any] = {
    "secrets": {"type": "dict", "required": True},
    "secret": {"type": "str", "required": True},
    "store": {"type": "dict", "default": {"kind": "dotenv"}},
    "hosts": {"type": "dict", "default": {}},
    "reason": {"type": "str", "required": True},
    "operator": {"type": "str", "default": ""},
    "rotation_id": {"type": "str", "default": ""},
    "inventory": {"type": "str", "default": ""},
    "until": {"type": "str", "default": "committed", "choices": ["committed", "ready"]},
    "overrides": {"type": "dict", "default": {}},
    "batches": {"type": "list", "elements": "raw", "default": [1, "25%", "100%"]},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Check the request and return the plan."""
    validated("keyturn_store", catalogue.STORE, given["store"], catalogue.STORE_REQUIRED_IF)
    secret = given["secret"]
    if secret not in given["secrets"]:
        known = ", ".join(sorted(given["secrets"])) or "nothing"
        raise KeyturnError(f"keyturn_secrets has no entry {secret} (it has: {known})")
    entry = validated(f"keyturn_secrets.{secret}", catalogue.ENTRY, given["secrets"][secret])
    if missing := [
        f"{name} of {host}" for host, known in given["hosts"].items() for name in NEEDED if name not in known
    ]:
        raise KeyturnError(
            f"The inventory lacks {', '.join(missing)}: nothing was rotated. Set what is missing, README.md says how."
        )
    for host, known in given["hosts"].items():
        described = known["keyturn_services"]
        if not isinstance(described, dict):
            raise KeyturnError(f"keyturn_services of {host} must be a mapping of services by name: README.md says how")
        try:
            catalogue.check_meaning(secret, entry, services(described))
        except KeyturnError as error:
            raise KeyturnError(f"{host}: {error}") from None
    environments = sorted({str(known["keyturn_environment"]) for known in given["hosts"].values()})
    if len(environments) != 1:
        raise KeyturnError(
            "the hosts of this inventory must have one keyturn_environment, "
            f"they have: {', '.join(environments) or 'none'}"
        )
    if given["inventory"] not in ("", environments[0]):
        raise KeyturnError(
            f"keyturn_environment is {environments[0]}, and the inventory's folder is {given['inventory']}: "
            "one of the two is the wrong one. An inventory lies in a folder of its environment's name"
        )
    header = {
        "rotation_id": planning.check_rotation_id(given["rotation_id"] or planning.rotation_id()),
        "secret": secret,
        "environment": environments[0],
        "reason": planning.check_reason(given["reason"]),
        "operator": given["operator"] or planning.operator(os.environ),
        "started": utc_now(),
        "attempt": attempts.mine(),
        "revision": staging_gate.revision(Path(__file__).parents[3]),
        "until": given["until"],
        "overrides": planning.check_overrides(given["overrides"]),
        "source": entry["source"]["kind"],
        # what commits at once, or goes back at once
        "unit": "fleet" if entry["value"] == "shared" else "batch",
        # the new value of some issuers is the death of the old one: then every host is examined before there is one
        "examines_first": given["until"] == "ready" or entry["overlap"] == "none",
        # no host can know a rotation that has just got its id
        "looks": bool(given["rotation_id"]),
        "store": given["store"]["kind"],
        "drains": entry["switch"] == "rolling" and any(HOOKS & known.keys() for known in given["hosts"].values()),
        # without data that depends on the value there is nothing to prepare
        "migrates": entry["migration"]["kind"] != "none",
        "batches": given["batches"] if entry["switch"] == "rolling" else ["100%"],
    }
    return {
        "changed": False,
        "plan": header | {name: entry[name] for name in PLANNED},
        "run": {name: header[name] for name in TOLD},
        "text": _text(header | {name: entry[name] for name in PLANNED}, list(given["hosts"]), check_mode),
    }


def _text(plan: Mapping[str, Any], hosts: list[str], check_mode: bool) -> str:
    """Say what will be done, the environment first."""
    lines = {
        "environment": plan["environment"] + (" (check mode: nothing changes)" if check_mode else ""),
        "secret": f"{plan['title']} ({plan['secret']})",
        "rotation": f"{plan['rotation_id']}, {plan['reason']}, by {plan['operator']}",
        "variables": f"{', '.join(plan['variables'])} ({plan['value']}, {plan['switch']})",
        "store": plan["store"],
        "hosts": ", ".join(hosts),
    }
    return "\n".join(f"{name:<11} {line}" for name, line in lines.items())
