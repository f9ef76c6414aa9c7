"""A host or the controller fails in each phase; afterwards every host holds one value and no row is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from support.fleet import HOSTS, JWT, KEY, Fleet, Run, moved, one_side, record

PHASES = {
    "stage": "Stage the new value",
    "prepare": "Prepare, switch and prove",
    "switch": "Prepare, switch and prove",
    "prove": "Prepare, switch and prove",
    "decide": "Decide to commit",
    "finish": "Close the journal",
}
# calls of a few milliseconds: they are held at the host's lock, or the fault would come too late
LOCKED = {"prepare": "staged", "decide": "proved", "finish": "decided"}
# steps within a call: it is held when the journal says that they have begun
HELD = {"switch": "switching", "prove": "switched"}
FAULTS = ("power", "network", "controller")


def hurt(fleet: Fleet, fault: str, host: str, run: Callable[[], Run], phase: str) -> Run:
    """Wait until the phase is at work on the host, and let the fault come."""
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(fleet.call_held(host, HELD[phase])) if phase in HELD else None
        going = run()
        locked = stack.enter_context(fleet.lock_held(host, LOCKED[phase])) if phase in LOCKED else None
        going.wait_for(f"TASK [rotation : {PHASES[phase]}")
        for wait in filter(None, (held, locked)):
            wait()
        _hurt(fleet, fault, host, going)
    return going


def _hurt(fleet: Fleet, fault: str, host: str, run: Run) -> None:
    if fault == "power":
        fleet.power_off(host)
    elif fault == "network":
        fleet.cut(host)
    else:
        run.kill()


def heal(fleet: Fleet, fault: str, host: str) -> None:
    if fault == "power":
        fleet.boot(host)
    elif fault == "network":
        fleet.mend(host)


# nothing is prepared where no data depends on the value
@pytest.mark.covering("fault", "phase")
@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "prepare"])
@pytest.mark.parametrize("fault", FAULTS)
def test_shared_secret(fleet: Fleet, fault: str, phase: str) -> None:
    before = fleet.look()
    run = hurt(fleet, fault, "app2", lambda: fleet.start("rotate_jwt_secret"), phase)
    code, output = run.end()
    assert code != 0
    if fault != "controller":
        assert "app2" in fleet.report()["failure"], output
    heal(fleet, fault, "app2")
    done = end(fleet, "resume" if phase in ("prove", "decide", "finish") else "rollback")
    found = fleet.assert_ended()
    side = one_side(JWT, before, found)
    record(fault, f"jwt, {phase}", done, {side: HOSTS}, found)


# each phase is hurt above; here each fault, and the phase that is nowhere else
@pytest.mark.covering("fault", phase=lambda phase: phase == "prepare")
@pytest.mark.parametrize(
    ("fault", "phase"),
    [("power", "prepare"), ("power", "switch"), ("controller", "switch"), ("network", "prove"), ("power", "decide")],
)
def test_value_of_each_host(fleet: Fleet, fault: str, phase: str) -> None:
    """The canary is hurt: nothing may happen to the hosts after it, and each host is on one side with all its rows."""
    before = fleet.look()
    run = hurt(fleet, fault, "app1", lambda: fleet.start("rotate_db_key"), phase)
    code, output = run.end()
    assert code != 0
    assert all(fleet.look_at(host)[KEY] == before[host][KEY] for host in HOSTS[1:]), output
    heal(fleet, fault, "app1")
    done = end(fleet, "rollback" if phase == "prepare" else "resume")
    found = fleet.assert_ended()
    new = moved(KEY, before, found)
    sides = {"old": [host for host in HOSTS if host not in new], "new": new}
    record(fault, f"db_key, {phase}", done, sides, found)


def end(fleet: Fleet, wish: str) -> str:
    """End the rotation as wished, or by the other playbook where a decision stands; return how."""
    code, output = fleet.play(wish)
    said = " ".join(output.split())  # a long line is wrapped
    if code == 0:
        return f"{wish}: {fleet.report()['outcome']}"
    if "going back" in said:  # a decision to go back stands: it is no success of resume.yml, although it has ended
        assert not fleet.open_rotations(), output
        return f"{wish}: {fleet.report()['outcome']}"
    assert "run resume.yml" in said, output
    code, output = fleet.play("resume")
    assert code == 0, output
    return f"resume: {fleet.report()['outcome']}"
