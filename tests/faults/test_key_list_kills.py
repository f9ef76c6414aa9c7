"""SIGKILL in each step of a list of keys: no row is lost, whatever starts reads all of them, and both ways out end it whole.

`make exhaustive` kills before every system call that changes something, `make test` before one in each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet, MultiFernet
from keyturn.ground.rows.fernet_forms import Turner
from keyturn.host.phases import stage, turn
from support import selection
from support.faults import Host, record
from support.lab import catalogue

LIST = {"overlap": "key_list", "key_list": {"separator": ",", "grace_seconds": 0}}
# What is killed, the phase that it starts from, the journal mode of the database.
SERIES = [
    ("leads", "staged", "delete"),
    ("turned", "leads", "wal"),
    ("turned", "leads", "delete"),
    ("switched", "turned", "delete"),
    ("rollback", "turned", "wal"),
    ("rollback", "leads", "delete"),
]
SHARES = 4 if selection.exhaustive() else 1


@pytest.fixture
def host(tmp_path: Path, line: tuple[str, str, str]) -> Iterator[Host]:
    made = Host(tmp_path / "host", line[2], entry=catalogue()["db_key"] | LIST)
    yield made
    made.stop()


def check_serves(host: Host) -> int:
    """Check that the file holds one of the lists, under which every row opens; return how many no stored value opens."""
    held = host.lab.key().split(",")
    sides = {host.old: "old", host.new: "new"}
    lists = [[sides[key] for key in held]]
    assert lists[0] in (["old"], ["old", "new"], ["new", "old"], ["new"])
    turner = Turner({"old": MultiFernet([Fernet(key) for key in held])}, "^access-")
    unread = [item for item, stored in host.rows() if turner.open(stored).plaintext.decode() != host.tokens[item]]
    assert unread == [], "what starts now would not read every row"
    assert host.everything_else() == host.untouched, "something beside the tokens changed"
    kept = host.stored_values()
    assert kept["previous.json"] == host.old and kept["pending.json"] == host.new, "a key stands nowhere else"
    return len(unread)


@pytest.mark.covering(line=lambda line: line[0])
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("line", SERIES, ids=["-".join(line) for line in SERIES])
def test_a_kill_in_any_step_of_a_list_loses_nothing(
    host: Host, line: tuple[str, str, str], share: int, record_property: Callable[[str, object], None]
) -> None:
    step, phase, mode = line
    name, parameters = ("rollback", {"cause": "a test"}) if step == "rollback" else ("turn", {"until": step})
    given: dict[str, Any] = parameters
    stage.run(host.rotation())
    if phase != "staged":
        turn.run(host.rotation(), phase)
    host.learn()
    host.save("begin")
    calls = host.calls(name, **given)
    series = f"SIGKILL in a list of keys, {step} from {phase}, {mode}"
    every = range(len(calls))
    taken = [*every] if selection.exhaustive() else selection.draw(series).sample(every, 1)
    chosen = [calls[index] for index in taken][share::SHARES]
    record_property("points", [series, len(chosen), len(calls[share::SHARES])])
    lost = fired = 0
    for call in chosen:
        host.restore("begin")
        fired += host.killed_module(name, call, **given)
        if "pending.json" in host.stored_values():
            lost += check_serves(host)
        host.check_converges()
    record(series, {"points": len(chosen), "fired": fired, "lost_rows": lost, "converged": len(chosen)})
    assert chosen and fired == len(chosen), "a kill did not fire"
