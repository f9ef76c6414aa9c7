"""Which hosts take part in a play of the lifecycle: a play with nothing to do has none, since a task that is skipped costs as much.

``hosts`` are those that were fixed on the controller; without that nobody takes part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def hosts_of(play: str, plan: Mapping[str, Any], hosts: Sequence[str], adopted: str, failed: bool) -> list[str]:
    """Return the hosts of a play. ``adopted`` is the host whose value a person holds right, ``failed`` whether a phase has failed.

    ``compare`` and ``promote`` are for who speaks for the value: one host for a shared one, else each for its own.
    """
    turns = plan["until"] == "committed"
    stored = plan["store"] != "dotenv"
    fleet, batch = plan["unit"] == "fleet", plan["unit"] == "batch"
    # more than the calls of a host: hooks of a balancer, or a secret store between a decision and its end
    in_steps = plan["drains"] or (stored and batch)
    takes_place = {
        "examine": plan["examines_first"],
        "keep": turns and stored and batch,
        "stage": turns,
        "compare": turns and stored,
        "turn": turns and not in_steps,
        "turn_in_steps": turns and in_steps,
        "decide": turns and fleet,
        "promote": turns and fleet and stored,
        # one host alone has done both when it decided
        "finish": turns and fleet and (stored or len(hosts) > 1),
        "take_back": turns and fleet and failed,
        "back": True,
    }
    if not hosts or not takes_place[play]:
        return []
    if fleet and play in ("compare", "promote"):
        return [adopted if adopted in hosts else hosts[0]]
    return list(hosts)
