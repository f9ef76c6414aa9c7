"""A host or the controller fails in each phase; afterwards every host holds one value and no row is lost."""

from __future__ import annotations

import pytest
from support.fleet import HOSTS, Fleet, Run

PHASES = {
    "stage": "Stage the new value",
    "prepare": "Back up and compute",
    "switch": "Stop, turn, replace, start",
    "prove": "Prove the new value",
    "decide": "Decide to commit",
    "finish": "Close the journal",
}
VARIABLE = {"rotate_jwt_secret": "JWT_SECRET_KEY", "rotate_db_key": "DATABASE_ENCRYPTION_KEY"}


def hurt(fleet: Fleet, fault: str, run: Run) -> None:
    if fault == "power":
        fleet.power_off("app2")
    elif fault == "network":
        fleet.cut("app2")
    else:
        run.kill()


def heal(fleet: Fleet, fault: str) -> None:
    if fault == "power":
        fleet.boot("app2")
    elif fault == "network":
        fleet.mend("app2")


def assert_one_value(fleet: Fleet, variable: str, before: dict[str, dict[str, str]]) -> str:
    """All hosts hold one value, on the same side; return the side."""
    after = fleet.look()
    assert all(found["lost"] == 0 for found in after.values())
    changed = {host: after[host][variable] != before[host][variable] for host in HOSTS}
    assert len(set(changed.values())) == 1, changed
    if variable == "JWT_SECRET_KEY":
        assert len({found[variable] for found in after.values()}) == 1
    return "new" if changed["app1"] else "old"


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("fault", ["power", "network", "controller"])
def test_shared_secret(fleet: Fleet, fault: str, phase: str) -> None:
    before = fleet.look()
    run = fleet.start("rotate_jwt_secret")
    assert run.wait_for(f"TASK [rotation : {PHASES[phase]}"), "the phase was not reached"
    hurt(fleet, fault, run)
    code, output = run.end()
    assert code != 0
    if fault != "controller":
        assert "app2" in fleet.report()["failure"], output[-2000:]
    heal(fleet, fault)
    code, output = fleet.play("resume" if phase in ("prove", "decide", "finish") else "rollback")
    if code != 0:  # decided in the meantime, or taken back: the other playbook ends it
        code, output = fleet.play("rollback" if phase in ("prove", "decide", "finish") else "resume")
    assert code == 0 or "rolled_back" in output, output[-4000:]
    assert_one_value(fleet, "JWT_SECRET_KEY", before)
    assert all(fleet.healthy(host) for host in HOSTS)
    assert not fleet.open_rotations()
