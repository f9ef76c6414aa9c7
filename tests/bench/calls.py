"""What a call costs a host that opens no row, against a ping: both as Ansible packs them, run again from standard input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from keyturn.host.journal import Application
from keyturn.host.phases.common import stamp
from support.lab import catalogue

from bench.measure import Measured, alternating, child, ratio
from bench.plays import BENCH, play, write_inventory

ROTATION_ID = "20260101T000000Z-0123456789abcdef"
NAMES = ("ping", "state", "decide")
# keeps what it is sent, in the order of the calls, and runs it
RECORDING = """#!/bin/sh
number=$(ls {folder} | wc -l)
tee {folder}/$number | {interpreter} "$@"
"""


class Calls:
    """One host on which a rotation of a JWT secret is proved, and the calls that were sent to it."""

    def __init__(self, folder: Path, interpreter: str) -> None:
        self.interpreter, self.sent = interpreter, folder / "sent"
        app, state, recording = folder / "app", folder / "state", folder / "recording"
        for made in (app, self.sent):
            made.mkdir(parents=True)
        recording.write_text(RECORDING.format(folder=self.sent, interpreter=interpreter))
        recording.chmod(0o755)
        proved = Application(state, app).begin(ROTATION_ID, secret="jwt", operator="bench", old={}, new={}, rows={})
        stopped = stamp()
        proved.enter("proved", findings=[], proofs=[], stopped=stopped, changed=stopped["moment"])
        self.journal = proved.path("journal.json")
        self.proved = self.journal.read_text()
        rotation = {
            "rotation_id": ROTATION_ID,
            "environment": "bench",
            "secret": "jwt",
            "entry": catalogue()["jwt"] | {"max_age_days": 90},
            "app_root": str(app),
            "state_dir": str(state),
            "services": {},
            "reason": "bench",
            "operator": "bench",
        }
        host = {"keyturn_app_root": str(app), "keyturn_state_dir": str(state), "bench_rotation": rotation}
        reached_by = {"ansible_connection": "local", "ansible_python_interpreter": str(recording)}
        write_inventory(folder / "bench", {"host": host}, reached_by)
        play(BENCH / "calls.yml", folder / "bench")

    def call(self, name: str) -> Measured:
        """Run a call again, as the first of its kind."""
        self.journal.write_text(self.proved)
        with (self.sent / str(NAMES.index(name))).open() as sent:
            measured, _ = child([self.interpreter], stdin=sent)
        if name == "decide" and self.journal.read_text() == self.proved:
            raise RuntimeError("the host has decided nothing")
        return measured


def against_ping(interpreter: str, folder: Path, repeats: int) -> dict[str, Any]:
    """Measure each call as often as ``repeats`` says."""
    calls = Calls(folder, interpreter)
    ways: dict[str, Callable[[], Measured]] = {name: lambda name=name: calls.call(name) for name in NAMES}
    found = alternating(ways, repeats)
    found["ratios"] = {f"cpu, {name} / ping": ratio(found[name], found["ping"], "cpu") for name in NAMES[1:]}
    return found | {"sizes": "1 call"}
