"""Random chaos on real hosts: any fault at any moment, then nothing but what the messages name leads out.

What must hold is looked at by the application's own code on each host (``Fleet.look``), which shares nothing with Keyturn.
``make chaos SECONDS=600 SEED=1`` repeats a run as far as the moments of real machines can be repeated.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from typing import NamedTuple

from support import selection
from support.fleet import HOSTS, JWT, KEY, Fleet, Run, moved, record

SECONDS = float(os.environ.get("KEYTURN_CHAOS_SECONDS") or (600 if selection.exhaustive() else 60))
SECRETS = {"rotate_jwt_secret": JWT, "rotate_db_key": KEY}
# what a message may lead to; a person runs no more than these in a row before calling it a dead end
WAY = re.compile(r"\b(resume|rollback|rotate_jwt_secret|rotate_db_key)\.yml")
TURNS = 5
OPEN = "finding: rotation"  # verify.yml is content with hosts that are at rest in the middle of one, and names it


class Fault(NamedTuple):
    """How a host or the controller is hurt, and how it is whole again."""

    hurt: Callable[[Fleet, str, Run], object]
    heal: Callable[[Fleet, str], object] = lambda fleet, host: None


def wait_for_orphans(fleet: Fleet) -> None:
    """Wait until no call runs that a killed controller has begun: who looks at once sees hosts that are not at rest yet."""
    time.sleep(1)
    for host in HOSTS:
        fleet.wait_on(host, "! pgrep -fx /usr/bin/python3 >/dev/null", 60)


FAULTS = {
    "nothing": Fault(lambda fleet, host, run: None),
    "power": Fault(lambda fleet, host, run: fleet.power_off(host), lambda fleet, host: fleet.boot(host)),
    "network": Fault(lambda fleet, host, run: fleet.cut(host), lambda fleet, host: fleet.mend(host)),
    "controller": Fault(lambda fleet, host, run: run.kill(), lambda fleet, host: wait_for_orphans(fleet)),
    "module": Fault(lambda fleet, host, run: fleet.kill_waiting(host)),
    "service": Fault(lambda fleet, host, run: fleet.run(host, "systemctl kill -s KILL trader-ai-backend || true")),
}


def test_chaos(fleet: Fleet) -> None:
    dice, deadline = selection.draw("chaos"), time.monotonic() + SECONDS
    lasts = dict.fromkeys(SECRETS, 15.0)
    rounds = 0
    while time.monotonic() < deadline:
        rounds += 1
        playbook, fault, host = dice.choice(list(SECRETS)), dice.choice(list(FAULTS)), dice.choice(HOSTS)
        moment = dice.uniform(0, lasts[playbook])
        name = f"round {rounds}, {playbook}, {fault} on {host} after {moment:.1f} s"
        before, began = fleet.look(), time.monotonic()
        run = fleet.start(playbook)
        time.sleep(moment)
        FAULTS[fault].hurt(fleet, host, run)
        code, output = run.end()
        if fault == "nothing":
            assert code == 0, f"{name}: {output}"
            lasts[playbook] = time.monotonic() - began
        FAULTS[fault].heal(fleet, host)
        done = "itself" if code == 0 else way_out(fleet, name, playbook, output, dice)
        for one in HOSTS:  # a service that was killed as the run ended is on its way back by itself
            fleet.wait_on(one, "curl -sfm 5 http://127.0.0.1:8000/health >/dev/null", 60)
        try:
            found = fleet.assert_ended()
        except AssertionError as error:
            raise AssertionError(f"{name}, ended by {done}: {error}; {output[-2000:]}") from error
        assert all(found[one]["rows"] >= before[one]["rows"] for one in HOSTS), f"{name}: rows are gone"
        assert len({found[one][JWT] for one in HOSTS}) == 1, f"{name}: the hosts share no value"
        assert len({found[one][KEY] for one in HOSTS}) == len(HOSTS), f"{name}: two hosts have one key"
        new = moved(SECRETS[playbook], before, found)
        sides = {"old": [one for one in HOSTS if one not in new], "new": new}
        record(fault, f"{playbook}, chaos", done, sides, found)
    print(f"{rounds} rounds in {SECONDS:.0f} s, {selection.SEED}={os.environ[selection.SEED]}")


def way_out(fleet: Fleet, name: str, playbook: str, said: str, dice: random.Random) -> str:
    """Follow what the messages name until verify.yml is content; return the way that was taken. A killed run says nothing."""
    taken: list[str] = []
    while len(taken) <= TURNS:
        code, looked = fleet.play("verify")
        if code == 0 and OPEN not in looked:
            return " ".join(taken) or "itself"
        # the last run says it better than a look, which names both ways; who has no message runs again what was killed, and is told
        named = WAY.findall(" ".join(said.split())) or WAY.findall(" ".join(looked.split())) or [playbook]
        # nobody tries the same again where another way is named as well
        ways = set(named) - {*taken[-1:]} or set(named)
        taken.append(dice.choice(sorted(ways)))
        _, said = fleet.play(taken[-1])
    raise AssertionError(f"{name}: the messages lead nowhere, after {taken}: {said[-3000:]}")
