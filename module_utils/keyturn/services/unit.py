"""What systemd says of a unit, as it has loaded it: one page of questions, and what of the answers keyturn cannot handle.

A page says nothing of the lines that the unit runs but their number: they may hold a secret.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..inputs.catalogue import ServiceSpec

# what stops when the unit stops, and what starts it
FOLLOWERS = ("ConsistsOf", "RequiredBy", "RequisiteOf", "BoundBy", "PropagatesStopTo")
QUESTIONS = (
    "Id",
    "LoadState",
    "ActiveState",
    "Type",
    "MainPID",
    "ControlGroup",
    "KillMode",
    "SendSIGKILL",
    "TimeoutStopUSec",
    "CanStart",
    "CanStop",
    "CanReload",
    "RefuseManualStart",
    "RefuseManualStop",
    "Transient",
    "SuccessAction",
    "FailureAction",
    "StopWhenUnneeded",
    "TriggeredBy",
    *FOLLOWERS,
    "DropInPaths",
    "NeedDaemonReload",
    "EnvironmentFiles",
    "ExecStart",
    "ExecStop",
    "ExecStopPost",
    "ExecReload",
)
RUNNING = ("active", "activating", "reloading")
SECONDS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1,
    "min": 60,
    "h": 3600,
    "d": 86400,
    "w": 604800,
    "month": 2629800,
    "y": 31557600,
}


@dataclass(frozen=True)
class Page:
    """The answers about one unit: a list for each question, since some have many."""

    said: Mapping[str, list[str]]

    def one(self, question: str) -> str:
        """Return the answer to a question that has one, empty where systemd says nothing."""
        return " ".join(self.said.get(question, []))

    def names(self, question: str) -> list[str]:
        """Return the names in an answer."""
        return names(self.one(question))

    @property
    def running(self) -> bool:
        """Whether the unit is up, or on its way."""
        return self.one("ActiveState") in RUNNING

    @property
    def pid(self) -> int:
        """The main process, 0 where systemd knows none."""
        return int(self.one("MainPID") or 0)

    @property
    def triggers(self) -> list[str]:
        """The sockets, timers and paths that start the unit."""
        return self.names("TriggeredBy")

    @property
    def followers(self) -> list[str]:
        """The units that systemd stops with this one, and does not start again."""
        return [name for question in FOLLOWERS for name in self.names(question)]

    @property
    def stop_seconds(self) -> float:
        """How long systemd may take for a stop, at most: a limit for each command, and for each of the signals TERM and KILL.

        After the commands of ExecStopPost both signals come once more.
        """
        after = len(self.said.get("ExecStopPost", []))
        steps = len(self.said.get("ExecStop", [])) + 2 + (after + 2 if after else 0)
        return seconds(self.one("TimeoutStopUSec")) * steps

    def __str__(self) -> str:
        """Return the page for a person."""
        parts = [f"unit {self.one('Id')}", *(f"{name}={self.one(name)}" for name in ("Type", "KillMode"))]
        parts.append(f"TimeoutStopSec={self.one('TimeoutStopUSec')}")
        many = {"started by": self.triggers, "stops": self.followers, "drop-ins": self.names("DropInPaths")}
        return ", ".join([*parts, *(f"{what} {' '.join(names)}" for what, names in many.items() if names)])


def names(answer: str) -> list[str]:
    """Return the names of an answer that has many: one with a backslash, as of an escaped instance, is quoted as for a shell."""
    return shlex.split(answer)


def pages(shown: str) -> list[Page]:
    """Read what ``systemctl show`` has printed of some units."""
    found = []
    for part in shown.strip().split("\n\n"):
        said: dict[str, list[str]] = {}
        for line in part.splitlines():
            question, _, answer = line.partition("=")
            said.setdefault(question, []).extend([answer] if answer else [])
        found.append(Page(said))
    return found


def seconds(span: str) -> float:
    """Return a span of time as systemd prints it, such as ``1min 30s``, in seconds."""
    if span == "infinity":
        return float("inf")
    return sum(float(count) * SECONDS[unit] for count, unit in re.findall(r"([\d.]+)([a-z]+)", span))


def refusal(page: Page, spec: ServiceSpec) -> str:
    """Say why a rotation cannot handle the unit, with the remedy; nothing where it can. ``spec`` is the inventory's service."""
    if not page.one("Id").endswith(".service"):
        return "it is no service: name the one that it starts"
    if page.one("Transient") == "yes":
        return "it is transient and gone once it stops: give it a unit file"
    refused = [name for name in ("RefuseManualStart", "RefuseManualStop") if page.one(name) == "yes"]
    refused += [name for name in ("CanStart", "CanStop") if page.one(name) == "no"]
    if refused:
        return f"{', '.join(refused)}: nobody may stop and start it: take that away"
    if spec.get("reloads") and not spec.get("reload_signal") and page.one("CanReload") != "yes":
        return (
            "it has no reload (ExecReload=), and the inventory names some for it (reloads): name the signal by which it rereads its files "
            "(reload_signal), or take them out"
        )
    actions = [
        f"{name}={page.one(name)}" for name in ("SuccessAction", "FailureAction") if page.one(name) not in ("", "none")
    ]
    if actions:
        return f"the host itself would go down when it stops, or does not start ({', '.join(actions)}): take that away"
    if page.one("StopWhenUnneeded") == "yes" and page.followers:
        return "systemd would stop it again before what needs it is up (StopWhenUnneeded=yes): take that away"
    if page.one("Type") == "oneshot" or (page.one("ActiveState") == "active" and not page.pid):
        return (
            f"systemd knows no main process of it (Type={page.one('Type')}), so that none can be proved: "
            "let it run in the foreground, or name PIDFile="
        )
    if page.one("TimeoutStopUSec") == "infinity":
        return "a stop that hangs would never end (TimeoutStopSec=infinity): give it a limit"
    spares = [
        f"{name}={page.one(name)}"
        for name in ("KillMode", "SendSIGKILL")
        if page.one(name) in ("process", "none", "no")
    ]
    if spares and not spec.get("kill_left"):
        return (
            f"processes may outlive its stop, with the old value ({', '.join(spares)}): take that away, or set kill_left: true, "
            "and keyturn kills those that are left"
        )
    return ""
