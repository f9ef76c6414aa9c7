"""Rotations that no host knows, since their run was killed before one was told. Only the controller can end them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from ..host.journal import utc_now
from ..host.phases.answers import HostAnswer
from ..records import report, rotation_log
from ..records.shapes import Cause
from . import attempts

WORDS = "the run was killed before any host knew the rotation: no host was changed, rotate again"
Hosts = Mapping[str, HostAnswer]


def suspected(folder: Path, everywhere: bool = False) -> list[str]:
    """Return the rotations that the environment's ``folder`` knows the begin of and no end, and that no run is at work on.

    Of a run of another controller nobody knows that; ``everywhere`` says that a person has ended it, and takes it for dead.
    """
    unended = rotation_log.unended(rotation_log.read(folder))
    begun = {str(entry["rotation_id"]) for entry in unended} | set(report.unreported(folder))
    return sorted(begun - {str(entry["rotation_id"]) for entry in unended if _at_work(entry["attempt"], everywhere)})


def close(folder: Path, hosts: Hosts, found_by: str, check_mode: bool, everywhere: bool = False) -> list[str]:
    """End in log and report those that no host knows, and return their ids.

    ``hosts`` has what ``keyturn_rotation_info`` said, of those that have answered. A host that took part and is silent may know the
    rotation.
    """
    known = {str(said["rotation"]["rotation_id"]) for said in hosts.values() if said.get("rotation")}
    known |= {rotation_id for said in hosts.values() for rotation_id in said["closed"]}
    ended = [one for one in suspected(folder, everywhere) if one not in known and _unknown(folder, one, hosts)]
    for rotation_id in [] if check_mode else ended:
        rotation_log.end_killed(folder, rotation_id, found_by)
        path = folder / f"{rotation_id}.json"
        if document := report.read(path):
            cause: Cause = {"at": utc_now(), "cause": WORDS}
            document |= {"outcome": "refused", "finished": cause["at"], "failure": WORDS}
            document |= {"causes": [*document.get("causes", []), cause]}
            report.write(folder, document | {"log_head": rotation_log.head(rotation_log.read(folder))})
    return ended


def _at_work(attempt: rotation_log.Attempt, everywhere: bool) -> bool:
    here = attempt["controller"] == attempts.mine()["controller"]
    return attempts.alive(attempt) if here else not everywhere


def _unknown(folder: Path, rotation_id: str, answered: Collection[str]) -> bool:
    """Tell whether no host has ever said anything of it, and all that took part are asked. The report is opened before the first is."""
    part = report.read(folder / f"{rotation_id}.json").get("hosts", {})
    return all("excluded" in said or (not said and name in answered) for name, said in part.items())
