"""The action ``keyturn_fleet``."""

from __future__ import annotations

from pathlib import Path

from ..fleet import abandoned, answers, staging_gate
from ..fleet.taking_part import holders, who_goes_on
from ..host.phases.answers import HostAnswer
from ..inputs.validation import Answer, Parameters
from ..records import rotation_log

# what the action reads of each host
READS = ("rotation_looked", "keyturn_secrets_here")
SHAPE = {"plan": answers.PLAN, "hosts": {"*": {**answers.HERE, "rotation_looked?": answers.LOOKED}}}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """Return the hosts that take part, and the rotation on staging that lets this one pass where there has to be one."""
    plan, staging = parameters["plan"], parameters["staging"]
    looked = {name: said.get("rotation_looked", {}) for name, said in parameters["hosts"].items()}
    held_by = holders(plan["secret"], parameters["hosts"])
    lost = [name for name in held_by if looked[name].get("unreachable")]
    going_on = who_goes_on(plan["value"], list(looked), parameters["excluded"], lost)
    hosts = [name for name in going_on if name in held_by]
    answered = {name: said for name, said in looked.items() if "closed" in said}
    if answered:
        abandoned.close(
            Path(parameters["folder"]) / plan["environment"], answered, f"rotation {plan['rotation_id']}", check_mode
        )
    passed = ""
    # one that has begun goes on, and no other that a host tells of: only what the log knows has passed the staging gate
    begun = any(plan["rotation_id"] in (_open_on(said), *said.get("closed", {})) for said in looked.values())
    begun = begun and rotation_log.has_begun(rotation_log.read(Path(parameters["folder"]) / plan["environment"]), plan)
    typed = set(parameters["typed"]) & set(staging_gate.VARIABLES)
    if (staging or parameters["production"] or typed) and not begun and "staging" not in plan["overrides"]:
        staging_gate.check_shut(plan, staging, typed)
        reports = staging_gate.read_reports(Path(parameters["folder"]) / staging)
        passed = staging_gate.check(reports, staging, plan, parameters["max_age_days"])
    return {"changed": False, "hosts": hosts, "passed": passed}


def _open_on(looked: HostAnswer) -> str:
    return str((looked.get("rotation") or {}).get("rotation_id", ""))
