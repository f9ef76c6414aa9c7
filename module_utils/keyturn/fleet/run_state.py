"""What the hosts have said in this run so far, and what follows for all of them.

``hosts`` has the variables of each host, by its name: what its calls returned is registered there, as ``rotation_NAME``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from ..host.journal import PHASES, JournalRecord, touched
from ..host.phases.answers import HostAnswer
from ..inputs.request import Plan
from ..inputs.variables import NEEDED
from . import recovery, taking_part
from .host_variables import Hosts, HostVariables

NOTHING: HostAnswer = {}

Call = Literal[
    "rotation_looked",
    "rotation_staged",
    "rotation_issued",
    "rotation_prepared",
    "rotation_turned",
    "rotation_decided",
    "rotation_ended_old",
    "rotation_finished",
    "rotation_taken_back",
    "rotation_asked_provider",
    "rotation_went_back",
    "rotation_left_open",
]
# the calls of a rotation in their order; one that failed said nothing
CALLS: tuple[Call, ...] = get_args(Call)
# those by which a host goes back: no other takes back that it has decided to commit, whatever it answers
BACK: tuple[Call, ...] = ("rotation_taken_back", "rotation_went_back", "rotation_left_open")


def missing(hosts: Hosts) -> list[str]:
    """Return the variables that the inventory has to say of a host and does not."""
    return [f"{name} of {host}" for host, known in hosts.items() for name in NEEDED if name not in known]


def records(hosts: Hosts, rotation_id: str) -> dict[str, JournalRecord]:
    """Return the journal of a rotation as each host told it last, empty for one that never did."""

    def last(known: HostVariables) -> JournalRecord:
        found: JournalRecord = {}
        for call in CALLS:
            told = known.get(call, NOTHING).get("rotation") or {}
            keeps = found.get("decision") != "commit" or told.get("decision") == "commit" or call in BACK
            if told.get("rotation_id") == rotation_id and keeps:
                found = told
        return found

    return {host: last(known) for host, known in hosts.items()}


def causes(hosts: Hosts) -> list[str]:
    """Return why each host has failed, and the controller, which needs no name; the others of their batch have no cause."""
    return [
        f"{host}: {known['rotation_failure']}" if host != "localhost" else str(known["rotation_failure"])
        for host, known in hosts.items()
        if known.get("rotation_failure")
    ]


def worked_on(known: HostVariables) -> bool:
    """Tell whether a call of this run, or of one before it, may have changed more on a host than what is staged there."""
    begun = (known.get("rotation_looked", {}).get("rotation") or {}).get("phase", "staging")
    work = CALLS[CALLS.index("rotation_issued") : CALLS.index("rotation_taken_back")]
    called = any("skipped" not in known[call] for call in work if call in known)
    return called or PHASES.index(begun) > PHASES.index("staged")


def unreachable(hosts: Hosts) -> list[str]:
    """Return the hosts that gave no answer when they were looked at."""
    return [host for host, known in hosts.items() if known.get("rotation_looked", {}).get("unreachable")]


def looked(hosts: Hosts) -> dict[str, HostAnswer]:
    """Return what each host that answers knows of rotations: nothing of one that has just begun, so that nobody was asked."""
    silent = unreachable(hosts)
    return {host: known.get("rotation_looked", {}) for host, known in hosts.items() if host not in silent}


def answers(hosts: Hosts) -> dict[str, HostAnswer | None]:
    """Return the answer of each host, None for one that gave none: the status wants to know of silent hosts as well."""
    found = {host: known.get("rotation_looked", {}) for host, known in hosts.items()}
    return {host: answer if "rotation" in answer else None for host, answer in found.items()}


def undecided(hosts: Hosts, rotation_id: str, unit: str) -> list[str]:
    """Return the hosts that have not decided to commit: while there is one, nobody can have finished.

    A decision may be of an earlier run. Of a host that could not be looked at, or was lost when it decided, nobody knows. Where the
    hosts share a value (``unit`` is fleet), one says that it has finished, another that it has decided, or finished too, and none has
    gone back, nobody goes back on the word of a third: either may be in other hands, or was left out when they ended, and they would be
    parted.
    """
    told = {host: _told(known, rotation_id) for host, known in hosts.items()}
    decisions = [one.get("decision") for one in told.values()]
    ended = decisions.count("commit") > 1 and "rollback" not in decisions and any(map(_has_finished, told.values()))
    if unit == "fleet" and ended:
        return []
    return [
        host for host, one in told.items() if one.get("decision") != "commit" and (one or not _unknown(hosts[host]))
    ]


def finished(hosts: Hosts, rotation_id: str) -> list[str]:
    """Return the hosts that have committed and ended."""
    return [host for host, known in hosts.items() if _has_finished(_told(known, rotation_id))]


def _has_finished(told: JournalRecord) -> bool:
    """Tell whether a host has committed and ended: who has not decided to commit has not, whatever it says besides."""
    return bool(told.get("outcome") == "committed" and told.get("decision") == "commit")


def _told(known: HostVariables, rotation_id: str) -> JournalRecord:
    """Return what a host told last of a rotation, open or ended; nothing where it was lost when it decided."""
    if "lost" in known.get("rotation_decided", {}):
        return {"decision": "commit"}
    ended = (known.get("rotation_looked", {}).get("closed") or {}).get(rotation_id)
    return records({"": known}, rotation_id)[""] or ended or {}


def _unknown(known: HostVariables) -> bool:
    """Tell whether a host was looked at, since it may know the rotation of an earlier run, and has not answered."""
    return "closed" not in known.get("rotation_looked", {"closed": {}})


def all_back(hosts: Hosts, rotation_id: str) -> bool:
    """Tell whether each host has said that it runs on the old value. Until then none of them can do without the new one."""
    return all(_is_back(known, rotation_id) for known in hosts.values())


def _is_back(known: HostVariables, rotation_id: str) -> bool:
    """Tell whether a host has gone back, or has never heard of the rotation."""
    told = _told(known, rotation_id)
    if not told:
        return not _unknown(known)
    gone = told.get("phase") == "closed" or told.get("turned_back") or not touched(told.get("phase", PHASES[-1]))
    return bool(told.get("decision") == "rollback" and gone)


def switched(hosts: Hosts, rotation_id: str) -> list[str]:
    """Return the hosts on which a switch has begun and nothing is back: the way back starts their services anew."""
    told = records(hosts, rotation_id)
    return [
        host
        for host, one in told.items()
        if touched(one.get("phase", PHASES[0])) and one["phase"] != "closed" and not one.get("turned_back")
    ]


def stays(hosts: Hosts, override: str = "") -> bool:
    """Tell whether no host goes back, since the old value may be dead at its provider.

    Where the issuer was to have the old value accepted again and nobody knows that it has, no host forgets the new one either: it may be
    the only one that the server takes in a moment. A person who knows better says so (``override``).
    """
    told = [known.get("rotation_taken_back", {}) for known in hosts.values()]
    if not override and any(one.get("failed") or one.get("unreachable") for one in told):
        return True
    return recovery.stays([known.get("rotation_asked_provider", {}) for known in hosts.values()])


def held_back(hosts: Hosts) -> list[str]:
    """Return the hosts that must not go back, of data without an inverse: they would lose what was written, or give no answer any more.

    The others wait for them, also those that were only staged: once one has gone back, none goes forward.
    """
    asked = {host: known.get("rotation_allowed", NOTHING) for host, known in hosts.items() if worked_on(known)}
    return [host for host, answer in asked.items() if "msg" in answer]


def speaker(hosts: Hosts, plan: Plan, adopted: str) -> str:
    """Return who speaks for hosts that share a value, empty where nobody can: ``adopted`` is whose value a person holds right.

    Where they share data, too, it turns that for all of them: so it reaches it, and knows the rotation where one of them does. One that is
    lost on the way is replaced by the next, since what was done is seen in the data.
    """
    able = {host: known for host, known in hosts.items() if not _lost(known)}
    if plan["shares"]:
        able = {host: known for host, known in able.items() if known.get("rotation_reached", {}).get("reaches")}
        knowing = [host for host, known in able.items() if _looked_and_knows(known, plan["rotation_id"])]
        return taking_part.speaker(knowing or able, adopted)
    return taking_part.speaker(hosts, adopted)


def unreached(hosts: Hosts) -> list[str]:
    """Return why no host reaches the data that all of them share."""
    return [
        f"{host}: {known.get('rotation_reached', {}).get('why') or 'it gives no answer'}"
        for host, known in hosts.items()
    ]


def rows_under(hosts: Hosts, rotation_id: str) -> str:
    """Return the side that the speaker has said to have brought the shared rows to, empty where none has said it yet."""
    told = [one["rows_under"] for one in records(hosts, rotation_id).values() if "rows_under" in one]
    return "old" if "old" in told else "new" if told else ""


def _lost(known: HostVariables) -> bool:
    """Tell whether a host has given no answer to a call of this run."""
    return any(one.get("lost") or one.get("unreachable") for one in (known.get(call, NOTHING) for call in CALLS))


def _looked_and_knows(known: HostVariables, rotation_id: str) -> bool:
    return bool(records({"": {"rotation_looked": known.get("rotation_looked", NOTHING)}}, rotation_id)[""])


QUESTIONS: dict[str, Callable[..., object]] = {
    one.__name__: one
    for one in (
        records,
        causes,
        unreachable,
        looked,
        answers,
        undecided,
        finished,
        all_back,
        switched,
        stays,
        held_back,
        speaker,
        unreached,
        rows_under,
    )
}
