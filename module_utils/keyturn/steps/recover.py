"""The action ``keyturn_recover``."""

from __future__ import annotations

from pathlib import Path

from ..base.errors import KeyturnError
from ..fleet import abandoned, answers, recovery
from ..inputs.request import check_rotation_id
from ..inputs.validation import Answer, Parameters
from ..records import report

SHAPE = {"hosts": {"*": answers.LOOKED}, "secrets": {"*": dict}}


def run(parameters: Parameters, check_mode: bool) -> Answer:
    """End what only the controller knows, then choose."""
    folder = Path(parameters["reports"])
    if unread := sorted(name for name, said in parameters["hosts"].items() if "closed" not in said):
        raise KeyturnError(
            f"{', '.join(unread)} could not be looked at, and nobody knows what is open there; nothing was changed: mend what it says, or "
            "leave it out by keyturn_exclude: {host: reason}"
        )
    if parameters["rotation_id"]:
        check_rotation_id(parameters["rotation_id"])
    found_by = "resume.yml" if parameters["wish"] == "forward" else "rollback.yml"
    ended = abandoned.close(folder, parameters["hosts"], found_by, check_mode, everywhere=True)
    known = report.begun(folder)
    more = {"unreported": report.unreported(folder), "known": known, "named": parameters["rotation_id"]}
    more |= {"decided": report.decided(folder), "over": report.over(folder)}
    chosen = recovery.choose(parameters["wish"], parameters["hosts"], parameters["secrets"], **more)
    told = [f"rotation {one}: {abandoned.WORDS}" for one in ended]
    return {"changed": bool(ended)} | chosen | {"ended": ended, "message": "; ".join([*told, chosen["message"]])}
