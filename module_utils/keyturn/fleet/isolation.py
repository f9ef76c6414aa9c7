"""No environment takes over a value of another: the reports of all environments say which each has held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..base import durable, timestamps
from ..base.errors import KeyturnError
from ..host.journal import MARKS
from .agreement import StagedHost

# what is read of the reports of another environment
FORM = {"environment?": str, "rotation_id": timestamps.ROTATION_ID, "hosts": {"*": {"old?": MARKS, "new?": MARKS}}}


def held_elsewhere(folder: Path, environment: str) -> dict[str, str]:
    """Return each fingerprint that another environment holds or held, with where: environment, variable and rotation."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*/[0-9]*.json")):
        report = durable.read_json(path, FORM) or {}
        if report.get("environment", environment) == environment:
            continue
        for host in report["hosts"].values():
            for side in ("old", "new"):
                for name, shown in host.get(side, {}).items():
                    found[shown] = f"{name} of {report['environment']} in rotation {report['rotation_id']}"
    return found


def environments(folder: Path) -> set[str]:
    """Return all environments that have reports in ``folder``."""
    return {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()


def check(elsewhere: Mapping[str, str], hosts: Mapping[str, StagedHost], may_stay: Sequence[str]) -> None:
    """Refuse a new value that another environment knows; ``may_stay`` are variables that are one for all environments.

    Each of ``hosts`` has ``new``, the staged fingerprints by variable, or nothing in check mode.
    """
    for host, said in hosts.items():
        for name, shown in (said.get("new") or {}).items():
            if name not in may_stay and shown in elsewhere:
                raise KeyturnError(
                    f"{host} was given {name} {shown}, which is {elsewhere[shown]}: no two environments share a value. Nothing was "
                    "changed: bring a value of this environment"
                )
