"""The action ``keyturn_recover``."""

from __future__ import annotations

from pathlib import Path

from ..fleet import abandoned, answers, recovery
from ..inputs.validation import Answer, Parameters
from ..records import report

SHAPE = {"hosts": {"*": answers.LOOKED}, "secrets": {"*": dict}}


def run(given: Parameters, check_mode: bool) -> Answer:
    """End what only the controller knows, then choose."""
    folder = Path(given["reports"])
    found_by = "resume.yml" if given["wish"] == "forward" else "rollback.yml"
    ended = abandoned.close(folder, given["hosts"], found_by, check_mode, everywhere=True)
    chosen = recovery.choose(given["wish"], given["hosts"], given["secrets"], report.unreported(folder))
    told = [f"rotation {one}: {abandoned.WORDS}" for one in ended]
    return {"changed": bool(ended)} | chosen | {"ended": ended, "message": "; ".join([*told, chosen["message"]])}
