"""Which hosts take part in a play of the lifecycle: a play with nothing to do has none, since a task that is skipped costs as much.

``hosts`` are those that were fixed on the controller; without that nobody takes part.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..base.errors import KeyturnError
from ..inputs.request import Plan
from .host_variables import Hosts

ONCE = (
    *("compare", "end_old", "issue", "promote", "take_value_back"),
    *("prepare_shared", "turn_shared", "reencrypt_back"),
)


def holders(secret: str, hosts: Hosts) -> list[str]:
    """Return those of ``hosts`` of which nobody has said that they do not hold the secret (``keyturn_secrets_here``)."""
    return [host for host, known in hosts.items() if secret in known.get("keyturn_secrets_here", [secret])]


def who_goes_on(value: str, group: Sequence[str], excluded: Collection[str], unreachable: Collection[str]) -> list[str]:
    """Return the hosts of the group that go on; KeyturnError where a shared ``value`` would not reach all of them.

    ``excluded`` are the hosts that a person has left out, ``unreachable`` those that gave no answer.
    """
    if strangers := [host for host in excluded if host not in group]:
        raise KeyturnError(
            f"keyturn_exclude names {', '.join(strangers)}, and the application's hosts are {', '.join(group)}"
        )
    included = [host for host in group if host not in excluded]
    lost = [host for host in included if host in unreachable]
    if lost and value == "shared":
        raise KeyturnError(
            f"{', '.join(lost)} cannot be reached, and all hosts must hold the same value. Bring them back, "
            "or go on without them by keyturn_exclude: {host: reason}"
        )
    return [host for host in included if host not in lost]


def speaker(hosts: Collection[str], adopted: str) -> str:
    """Return who speaks for what the hosts share: the one whose value a person holds right, else the first."""
    return adopted if adopted in hosts else next(iter(hosts), "")


def hosts_of(play: str, plan: Plan, hosts: Sequence[str], speaker: str, back: bool) -> list[str]:
    """Return the hosts of a play. ``speaker`` is who speaks for a shared value, empty for nobody; ``back`` whether the hosts go back.

    What is done once for a shared value is for who speaks for it (``ONCE``); each host speaks for a value of its own.
    Data that the hosts share is turned in steps of its own: none may run while one turns it. One host alone needs none.
    """
    turns = plan["until"] == "committed"
    stored = plan["store"] != "dotenv"
    fleet, batch = plan["unit"] == "fleet", plan["unit"] == "batch"
    # more than the calls of a host: hooks of a balancer, or a secret store between a decision and its end
    in_steps = plan["drains"] or (stored and batch)
    listed = turns and plan["overlap"] == "key_list"
    one_for_all = turns and plan["shares"] and len(hosts) > 1 and not listed
    takes_place = {
        "reach": plan["shares"],
        "examine": plan["examines_first"],
        "keep": turns and stored and batch,
        "stage": turns,
        "compare": turns and stored,
        "prepare_shared": one_for_all,
        "stop_shared": one_for_all,
        "turn_shared": one_for_all,
        "issue": turns and plan["issues"],
        # of a list of keys: where hosts share it none goes on before all are there; one by itself does all in its turn
        "accept": listed and fleet,
        "lead": listed and (fleet or in_steps),
        "reencrypt": listed and (fleet or in_steps),
        "accept_back": listed and fleet and back,
        "reencrypt_back": listed and plan["shares"] and back,
        "turn": turns and not in_steps,
        "turn_in_steps": turns and in_steps,
        "decide": turns and fleet,
        "promote": turns and fleet and stored,
        "end_old": turns and plan["issues"],
        # one host alone has done both when it decided
        "finish": turns and fleet and (stored or plan["issues"] or len(hosts) > 1),
        "take_value_back": turns and plan["issues"] and back and not plan["old_lives"],
        "take_back": turns and fleet and back,
        # where both live, the hosts need the new one until they are back
        "forget_new": turns and plan["old_lives"] and back,
        "back": True,
    }
    if not hosts or not takes_place[play]:
        return []
    if fleet and (play in ONCE or (play == "reencrypt" and plan["shares"])):
        return [speaker] if speaker else []
    return list(hosts)
