"""The shapes of services that are tried on a real systemd (tests/fleet/test_units.py), and the tables of docs/reference/services.md.

``python -m support.shapes`` writes the tables anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs/reference/services.md"
APP, PORT = "/opt/shape", 8300
UNITS = "/etc/systemd/system"


def unit(kind: str = "simple", *more: str, does: str = "", of_unit: str = "") -> str:
    """Return the text of a unit that runs the server; ``more`` are lines of its section Service."""
    start = f"ExecStart=/usr/bin/python3 {APP}/server.py {does}"
    return "\n".join(
        [f"[Unit]\n{of_unit}\n[Service]\nType={kind}\nEnvironment=PYTHONDONTWRITEBYTECODE=1", start, *more, ""]
    )


def beside(of_unit: str) -> str:
    """Return the text of a unit that only runs."""
    return f"[Unit]\n{of_unit}\n[Service]\nExecStart=/bin/sleep infinity\n"


@dataclass(frozen=True)
class Shape:
    """A service of one shape: the text of ``shape.service``, other files below the units' folder, and what the inventory says.

    ``runs`` are units that are started with it, and run as long as nobody stops them. ``before`` runs on the host at the end.
    """

    kind: str
    text: str
    files: dict[str, str] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    says: dict[str, Any] = field(default_factory=dict)
    name: str = "shape.service"
    before: str = "true"


RELOAD = "ExecReload=/bin/kill -HUP $MAINPID"
SOCKET = f"[Socket]\nListenStream=127.0.0.1:{PORT}\n"
# the name of a shape is what the page calls it
WORKS = {
    "any other service": Shape("plain", unit()),
    "on an environment file": Shape("plain", unit("exec", f"EnvironmentFile={APP}/.env")),
    "`Type=notify`, with `ExecReload=`": Shape("plain", unit("notify", RELOAD, does="notify")),
    "`Type=forking` with `PIDFile=`": Shape("plain", unit("forking", f"PIDFile={APP}/pid", does="forking")),
    "a template's instance, with an escaped name": Shape("plain", unit(), name="shape@.service"),
    "`DynamicUser=`": Shape("plain", unit("exec", "DynamicUser=yes", f"EnvironmentFile={APP}/.env")),
    "`Delegate=` with groups of its own": Shape("plain", unit("simple", "Delegate=yes", does="delegated workers")),
    "IPv6 only": Shape("plain", unit(does="ipv6"), says={"health_url": f"http://[::1]:{PORT}/health"}),
    "`Restart=always`": Shape("plain", unit("simple", "Restart=always", "RestartSec=0")),
    "pre-forked workers on one port": Shape("workers", unit(does="workers")),
    "the same with `KillMode=mixed`": Shape("workers", unit("simple", "KillMode=mixed", does="workers")),
    "`KillMode=process`": Shape(
        "kill_left", unit("simple", "KillMode=process", does="workers"), says={"kill_left": True}
    ),
    "`ExecStop=` that hangs": Shape(
        "stop",
        unit("simple", "ExecStop=/bin/sleep 600", "TimeoutStopSec=2"),
        says={"stop_timeout_seconds": 1, "health_timeout_seconds": 2},
    ),
    "`ExecReload=` that makes the application read `.env` anew": Shape(
        "reload", unit("simple", RELOAD, does="rereads"), says={"reloads": ["jwt"]}
    ),
    "a signal that does the same": Shape(
        "signal", unit("simple", does="rereads"), says={"reloads": ["jwt"], "reload_signal": "HUP"}
    ),
    "`PartOf=` on it": Shape(
        "follower", unit(), {"shape-b.service": beside("PartOf=shape.service")}, ("shape-b.service",)
    ),
    "`BindsTo=` on it": Shape(
        "follower",
        unit(),
        {"shape-b.service": beside("BindsTo=shape.service\nAfter=shape.service")},
        ("shape-b.service",),
    ),
    "`Requires=` on it, and on that": Shape(
        "follower",
        unit(),
        {
            "shape-b.service": beside("Requires=shape.service\nAfter=shape.service"),
            "shape-c.service": beside("Requires=shape-b.service\nAfter=shape-b.service"),
        },
        ("shape-b.service", "shape-c.service"),
    ),
    "`PropagatesStopTo=`": Shape(
        "follower",
        unit(of_unit="PropagatesStopTo=shape-b.service"),
        {"shape-b.service": beside("")},
        ("shape-b.service",),
    ),
    "a target that requires it": Shape(
        "follower", unit(), {"shape-all.target": "[Unit]\nRequires=shape.service\n"}, ("shape-all.target",)
    ),
    "started by a socket": Shape("trigger", unit(does="descriptor"), {"shape.socket": SOCKET}, ("shape.socket",)),
    "by two sockets": Shape(
        "trigger",
        unit("simple", "Sockets=shape-x.socket shape-y.socket", does="descriptor"),
        {
            "shape-x.socket": f"{SOCKET}Service=shape.service\n",
            "shape-y.socket": f"[Socket]\nListenStream=127.0.0.1:{PORT + 1}\nService=shape.service\n",
        },
        ("shape-x.socket", "shape-y.socket"),
    ),
    "by a path": Shape("trigger", unit(), {"shape.path": f"[Path]\nPathExists={APP}/.env\n"}, ("shape.path",)),
    "`Upholds=` on it": Shape(
        "restarted", unit(), {"shape-b.service": beside("Upholds=shape.service")}, ("shape-b.service",)
    ),
    "a path that restarts it when `.env` changes": Shape(
        "restarted",
        unit(),
        {
            "shape-b.path": f"[Path]\nPathChanged={APP}/.env\nUnit=shape-c.service\n",
            "shape-c.service": "[Service]\nType=oneshot\nExecStart=/bin/systemctl restart shape.service\n",
        },
        ("shape-b.path",),
    ),
    "a service without HTTP whose health line has left the journal": Shape(
        "journal",
        unit(),
        says={
            "health_url": None,
            "health_line": "^up",
            "base_url": f"http://127.0.0.1:{PORT}",
            "health_timeout_seconds": 3,
        },
        before="sleep 3.1; journalctl -q --rotate; journalctl -q --vacuum-time=1ms",
    ),
    "a drop-in that takes conditions back": Shape(
        "drop-in", unit(), {"shape.service.d/override.conf": "[Unit]\nConditionPathExists=\n[Service]\nNice=1\n"}
    ),
    "a condition of its own": Shape("drop-in", unit(of_unit=f"ConditionPathExists={APP}/.env")),
}
# with what its refusal says
REFUSED = {
    "`Type=oneshot`": (
        Shape("page", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"),
        "systemd knows no main process of it (Type=oneshot)",
    ),
    "`KillMode=process` or `none`, without the option": (
        Shape("page", unit("simple", "KillMode=process", does="workers")),
        "processes may outlive its stop, with the old value (KillMode=process)",
    ),
    "`SendSIGKILL=no`, without the option": (
        Shape("page", unit("simple", "SendSIGKILL=no")),
        "processes may outlive its stop, with the old value (SendSIGKILL=no)",
    ),
    "`reloads` of a unit without `ExecReload=`": (
        Shape("page", unit(), says={"reloads": ["jwt"]}),
        "it has no reload (ExecReload=)",
    ),
    "`reloads` of a unit with the value in its environment": (
        Shape("page", unit("exec", RELOAD, f"EnvironmentFile={APP}/.env"), says={"reloads": ["jwt"]}),
        "in its environment, which no reload changes",
    ),
    "its process was started with another value than the files hold": (
        Shape(
            "environment",
            unit("exec", f"EnvironmentFile={APP}/.env"),
            before=f"sed -i s/=.*/=of-a-later-edit/ {APP}/.env",
        ),
        "which is not what the files hold: take it out of what starts the service, or restart it where the files are newer",
    ),
    "`Environment=` with the value": (
        Shape(
            "environment",
            unit(),
            before=(
                f"mkdir -p {UNITS}/shape.service.d; (echo '[Service]'; sed s/^/Environment=/ {APP}/.env) "
                f">{UNITS}/shape.service.d/site.conf; systemctl daemon-reload; systemctl restart shape.service; sleep 0.5"
            ),
        ),
        "gives it JWT_SECRET_KEY, which wins over the files and would stay: take it out there",
    ),
    "`TimeoutStopSec=infinity`": (
        Shape("page", unit("simple", "TimeoutStopSec=infinity")),
        "a stop that hangs would never end",
    ),
    "`RefuseManualStop=`, `RefuseManualStart=`": (
        Shape("page", unit(of_unit="RefuseManualStop=yes")),
        "RefuseManualStop, CanStop: nobody may stop and start it",
    ),
    "`FailureAction=`, `SuccessAction=`": (
        Shape("page", unit(of_unit="FailureAction=reboot")),
        "the host itself would go down when it stops, or does not start (FailureAction=reboot)",
    ),
    "`StopWhenUnneeded=`, and a unit that stops with it needs it": (
        Shape(
            "page",
            unit(of_unit="StopWhenUnneeded=yes"),
            {"shape-b.service": beside("Requires=shape.service\nAfter=shape.service")},
            ("shape-b.service",),
        ),
        "systemd would stop it again before what needs it is up (StopWhenUnneeded=yes)",
    ),
    "a main process in another control group (`PAMName=`)": (
        Shape("group", unit(does="gone workers")),
        "runs in another control group, and a stop would not reach what it has started",
    ),
    "an empty line of any `Condition` in a drop-in behind Keyturn's": (
        Shape("gate", unit(), {"shape.service.d/zzz.conf": "[Unit]\nConditionHost=\n"}),
        "sets ConditionPathExists, without effect: systemctl cat shape.service shows which file",
    ),
    "a stranger on the address of its health port": (
        Shape("port", unit(), {"shape-b.service": unit()}, ("shape-b.service",)),
        f"listens on port {PORT} as well",
    ),
    "a `/run` that is full": (
        Shape("run", unit(), before="mount -o remount,size=12m /run"),
        "it wants 16 MiB free in /run",
    ),
}
HAPPENS = {
    "plain": "its main process and all others of its control group start after the change",
    "workers": "all are proved, and the API is asked until each has answered, but for one case in a thousand",
    "stop": "the limit is what systemd may take at most by `TimeoutStopSec=`, and the inventory's limits beside",
    "follower": (
        "what ran is noted on disk before the stop, and started again on every way out; what does not come up ends the rotation on "
        "the way on, and is a finding on the way back"
    ),
    "trigger": (
        "that stops first, and starts in one transaction with the unit, so that a descriptor is handed over; a timer is the same"
    ),
    "restarted": (
        "the start gate keeps it down while a rotation has it stopped; a delivery has none, and starts anew what began before it "
        "was done"
    ),
    "journal": (
        "a process that lives and whose start the journal has lost counts as healthy; one that Keyturn starts has to say its line"
    ),
    "drop-in": "Keyturn's come last by their name, and the condition is read back",
}
OPTIONS = {
    "kill_left": "`kill_left: true`: what is left after the stop is killed",
    "reload": "`reloads: [jwt]`: it is reloaded and not stopped, in a switch and on the way back",
    "signal": "`reloads: [jwt]` and `reload_signal: HUP`, `USR1` or `USR2`: its main process gets the signal",
}


def tables() -> dict[str, list[str]]:
    """Return the tables of the page by the heading that they stand under."""
    return {
        "Works": _table("what happens", _by_kind(HAPPENS)),
        "Works with an option": _table("option of the service", _by_kind(OPTIONS)),
        "Refused at stage, while it runs": _table(
            "the refusal says", ((name, why) for name, (_, why) in REFUSED.items())
        ),
    }


def _by_kind(told: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for kind, text in told.items():
        yield "; ".join(name for name, shape in WORKS.items() if shape.kind == kind), text


def _table(head: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"| unit | {head} |", "|---|---|", *(f"| {one} | {other} |" for one, other in rows)]


def written(page: str) -> str:
    """Return the page with its tables made anew."""
    for heading, lines in tables().items():
        before, title, behind = page.partition(f"\n## {heading}\n")
        page = before + title + re.sub(r"(^\|.*\n)+", "\n".join([*lines, ""]), behind, count=1, flags=re.MULTILINE)
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
