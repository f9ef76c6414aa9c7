"""The controller and one host are cut off between any two hosts of `decide` and of `finish`."""

from __future__ import annotations

import pytest
from support.fleet import HOSTS, JWT, Fleet, one_side, record

TASKS = {"decide": "Decide to commit", "finish": "Close the journal"}
BEFORE = {"decide": "proved", "finish": "decided"}
AFTER = {"decide": "decided", "finish": "closed"}


@pytest.mark.covering("step", "last", "away")
@pytest.mark.parametrize("away", ["app1", "app3"], ids=["away_did_it", "away_did_not"])
@pytest.mark.parametrize("last", ["app1", "app2"], ids=["after_one", "after_two"])
@pytest.mark.parametrize("step", TASKS)
def test_cut_between_two_hosts(fleet: Fleet, step: str, last: str, away: str) -> None:
    before = fleet.look()
    following = HOSTS[HOSTS.index(last) + 1]
    run = fleet.start("rotate_jwt_secret", "--forks", "1")  # one host after the other
    with fleet.lock_held(following, BEFORE[step]) as wait:
        run.wait_for(f"TASK [rotation : {TASKS[step]}")
        wait()
        run.kill()
        fleet.kill_waiting(following)
        fleet.cut(away)
    phases = {host: said["phase"] for host, said in fleet.look().items()}
    done = HOSTS[: HOSTS.index(following)]
    assert phases == {host: (AFTER if host in done else BEFORE)[step] for host in HOSTS}

    # Only one way is legal where every host that answers has decided; where one has not, both are.
    forward_only = step == "finish" or (last == "app2" and away == "app3")
    wish = "rollback" if away == "app1" else "resume"
    code, output = fleet.play(wish)
    assert code != 0
    assert ("only goes forward" if forward_only and wish == "rollback" else away) in output, output
    fleet.mend(away)
    code, output = fleet.play("resume" if forward_only else wish)
    assert code == 0, output
    found = fleet.assert_ended()
    side = one_side(JWT, before, found)
    assert side == ("new" if forward_only or wish == "resume" else "old")
    ended = f"{wish}: {fleet.report()['outcome']}"
    record(f"controller and {away}", f"jwt, {step} after {last}", ended, {side: HOSTS}, found)
