"""Who else on a host has a value and is not restarted with it: by its environment, by a unit's environment file, by where it runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..base import leaks, procfs, shown
from ..base.procfs import Moment
from ..services import unit
from ..services.managers import service
from .rotation import Holding

SYSTEMD_RUNS = Path("/run/systemd/system")
ASK_SECONDS = 30


class Reader(NamedTuple):
    """Who has a value, and how it came by it; ``declared`` where the inventory has it, ``certain`` where it is seen and not guessed."""

    who: str
    how: str
    declared: bool
    certain: bool

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"{self.who} {self.how}, and is not restarted with it"


def others(holding: Holding, held: Mapping[str, str], since: Moment | None = None) -> list[Reader]:
    """Return those that have a value of ``held`` and are none of the secret's services, each once.

    ``since`` leaves out what has started later. A unit whose processes run in the application's folder may have read its files.
    """
    given = (holding.app_root, holding.app_user, holding.application.folder)
    owners: dict[int, str | None] = {}
    for name, spec in holding.services.items():
        owners |= dict.fromkeys(service(name, spec, *given).processes(), name)
    reading = _by_environment_file(holding)
    found: dict[str, Reader] = {}
    if reading is None:
        files = ", ".join(str(consumer.path) for consumer in holding.consumers())
        unseen = f"that reads {files} by EnvironmentFile= would not be seen, since systemd gives no answer"
        found["a unit"] = Reader("a unit", unseen, declared=False, certain=False)
        reading = {}
    own_units = {unit_of(pid) for pid in owners}
    parents, known = procfs.parents(), dict(owners)
    for pid in sorted(parents.keys() - set(own_line())):
        owner = _owner(pid, known, parents)
        if owner in holding.entry["services"] or (since is not None and not procfs.older([pid], since)):
            continue
        how = _in_environment(pid, held) or reading.get(pid, "")
        named = unit_of(pid)
        guessed = not how and owner is None and named not in ("", *own_units) and runs_in(pid, holding.app_root)
        if how or guessed:
            who = (
                f"service {owner}"
                if owner
                else f"unit {named}"
                if named
                else f"process {pid} ({procfs.command_name(pid)})"
            )
            how = how or f"runs in {holding.app_root}, and may have read it there"
            found.setdefault(who, Reader(who, how, owner is not None, not guessed))
    return list(found.values())


def _in_environment(pid: int, held: Mapping[str, str]) -> str:
    values = {value: name for name, value in held.items() if len(value) >= leaks.SMALLEST_VALUE}
    names = sorted(values[value] for value in procfs.given(pid, values))
    return f"has {', '.join(names)} in its environment" if names else ""


def _by_environment_file(holding: Holding) -> dict[int, str] | None:
    """The processes of the units that read a consumer's file as an environment file, None where systemd does not say."""
    units = environment_files()
    if units is None:
        return None
    files = {str(consumer.path) for consumer in holding.consumers()}
    return {
        pid: f"reads {', '.join(named)} by EnvironmentFile="
        for group, given in units.items()
        if (named := sorted(files.intersection(given)))
        for pid in procfs.in_cgroup(group)
    }


def environment_files() -> dict[str, list[str]] | None:
    """Return by control group the environment files of its unit, None where systemd does not say."""
    if not SYSTEMD_RUNS.exists():
        return {}
    asked = ["systemctl", "show", "--property=EnvironmentFiles,ControlGroup,ActiveState", "*.service"]
    try:
        done = subprocess.run(
            asked, text=True, capture_output=True, timeout=ASK_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    return {
        group: [line.rpartition(" (")[0] for line in page.said.get("EnvironmentFiles", [])]
        for page in unit.pages(done.stdout)
        if (group := page.one("ControlGroup"))
    }


def runs_in(pid: int, folder: Path) -> bool:
    """A process that hangs on a terminal is a person's."""
    place = procfs.folder_of(pid)
    return place is not None and place.is_relative_to(folder.resolve()) and not procfs.has_terminal(pid)


def unit_of(pid: int) -> str:
    """The unit of a process, empty where it has none. A unit may have groups of its own below (``Delegate=``)."""
    names = [name for path in procfs.cgroups(pid) for name in reversed(path.split("/"))]
    return next((shown.name(name) for name in names if name.endswith(".service")), "")


def _owner(pid: int, known: dict[int, str | None], parents: Mapping[int, int]) -> str | None:
    """Return the service that a process descends from, and note it in ``known`` for all on the way: a line may have any length."""
    line = []
    while pid > 0 and pid not in known:
        known[pid] = None
        line.append(pid)
        pid = parents.get(pid, 0)
    known |= dict.fromkeys(line, known.get(pid))
    return known.get(line[0] if line else pid)


def own_line() -> Iterator[int]:
    """This process, and all that it descends from."""
    pid = os.getpid()
    while pid > 0:
        yield pid
        pid = procfs.parent(pid)
