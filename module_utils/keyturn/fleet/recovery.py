"""Which rotation is open in a fleet, and which way it must end. Each host tells its open journal and those it has closed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from ..base.errors import KeyturnError
from ..base.shown import IN_OTHER_HANDS
from ..host.journal import PHASES, JournalRecord
from ..host.phases.answers import HostAnswer
from ..inputs.catalogue import Entry

Looked = Mapping[str, HostAnswer]
Catalogue = Mapping[str, Entry]


def choose(
    wish: str,
    hosts: Looked,
    catalogue: Catalogue,
    unreported: Sequence[str] = (),
    known: Mapping[str, str] = MappingProxyType({}),
    named: str = "",
    decided: Collection[str] = (),
    over: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Return ``way`` (forward, back or none), ``rotation_id``, ``secret`` and a ``message``.

    ``hosts`` has what each host that answers said: ``rotation`` (its open journal or nothing) and ``closed``. A decision
    that stands anywhere binds every host, also one that was away; ``wish`` counts where none does. Where each host has its
    own value (``catalogue``), a batch that has committed binds no other. KeyturnError when two rotations are open, or when
    the wish is to go back on a decision. ``unreported`` are the rotations without a report of
    their end: where none is open, one of them that has ended on the hosts is taken through its phases, which change nothing
    any more, to its report. ``known`` are the secrets of the rotations that log and reports know, ``named`` is one that a person
    knows; any other goes forward only where every host knows it. ``decided`` are those of which the controller has heard that every host
    had decided: they go forward, whatever a host says now. ``over`` has the outcome of those of which the controller has written the end:
    one of them begins on no host by the word of another.
    """
    opened = {name: said["rotation"] for name, said in hosts.items() if said.get("rotation")}
    ids = sorted({str(journal["rotation_id"]) for journal in opened.values()})
    if len(ids) > 1:
        where = places(hosts, {*known, named})
        raise KeyturnError(
            f"more than one rotation is open: {where}; end one at a time, with an inventory of its hosts"
        )
    ids = ids or [rotation_id for rotation_id in sorted(unreported) if _known(hosts, rotation_id)]
    if not ids:
        return {"way": "none", "rotation_id": "", "secret": "", "message": "nothing is open: there is nothing to do"}
    told = _known(hosts, ids[0])
    secret = _secret(ids[0], told, known)
    shared = catalogue.get(secret, {}).get("value") != "per_host"
    binding = told if shared or not opened else opened
    way = "forward" if ids[0] in decided else _way(wish, list(told.values()), list(binding.values()))
    if wish == "back" and way == "forward":
        raise KeyturnError(
            f"rotation {ids[0]} is decided on every host that answers: it only goes forward, run resume.yml; "
            "to go back afterwards is a new rotation"
        )
    if way == "forward" and ids[0] != named and (ids[0] not in known or ids[0] in over):
        _refuse_to_begin(ids[0], told, hosts, over.get(ids[0], ""))
    where = "has ended on the hosts and lacks its report"
    if opened:
        where = f"is open on {', '.join(sorted(opened))}{_by_word({*known, named}, ids[0])}"
    message = f"rotation {ids[0]} of {secret} {where}: going {way}"
    return {"way": way, "rotation_id": ids[0], "secret": secret, "message": message}


def places(hosts: Looked, known: Collection[str]) -> str:
    """Say which rotations are open on which hosts, and of which of them only these tell: no other is in ``known``."""
    on: dict[str, list[str]] = {}
    for name, said in sorted(hosts.items()):
        if said.get("rotation"):
            on.setdefault(str(said["rotation"]["rotation_id"]), []).append(name)
    return "; ".join(f"{one} on {', '.join(names)}{_by_word(known, one)}" for one, names in sorted(on.items()))


def _by_word(known: Collection[str], rotation_id: str) -> str:
    return "" if rotation_id in known else f", as that host says and neither log nor reports know ({IN_OTHER_HANDS})"


def needs_value(rotation_id: str, hosts: Looked) -> bool:
    """Tell whether the value that all hosts share must be generated: none has gone on with one, or not all have it staged."""
    known = list(_known(hosts, rotation_id).values())
    if any(_gone_on(journal) for journal in known):
        return False
    staged = [journal["new"] for journal in known if journal.get("new")]
    return len(staged) < len(hosts) or any(new != staged[0] for new in staged)


def stays(answers: Sequence[HostAnswer]) -> bool:
    """Tell whether all hosts stay where they are, since the old value may be dead at its provider.

    ``answers`` has what each host of the fleet said to ``keyturn_ask_provider``: the ``verdict`` on the old value, and whether its switch
    had begun (``touched``). Where that is so of none, and of none unknown, nothing is put back, whatever a provider says.
    """
    answered = [one for one in answers if one and not one.get("unreachable")]
    touched = [one for one in answered if one.get("touched", True)]
    if len(answered) == len(answers) > 0 and not touched:
        return False
    asked = touched or answered
    return not asked or any(one.get("verdict") != "accepted" for one in asked)


def _secret(rotation_id: str, told: Mapping[str, JournalRecord], known: Mapping[str, str]) -> str:
    """Return the secret of a rotation; KeyturnError where hosts do not tell the same, or another than the controller knows."""
    said = {name: str(journal["secret"]) for name, journal in told.items()}
    secret = known.get(rotation_id) or next(iter(said.values()))
    if set(said.values()) != {secret}:
        words = [
            *(f"{name}: {one}" for name, one in said.items()),
            *([f"the log: {secret}"] if rotation_id in known else []),
        ]
        raise KeyturnError(
            f"rotation {rotation_id} is not of the same secret on every host ({'; '.join(words)}): {IN_OTHER_HANDS}"
        )
    return secret


def _refuse_to_begin(rotation_id: str, told: Mapping[str, JournalRecord], hosts: Looked, outcome: str) -> None:
    """Refuse to go on with a rotation that only hosts know, or that is over, where another one would begin it by their word."""
    strangers = ", ".join(name for name in hosts if name not in told)
    opened = f"rotation {rotation_id} is open on {', '.join(sorted(told))}"
    if strangers and outcome:
        raise KeyturnError(
            f"{opened}, log and report say that it has ended as {outcome}, and {strangers} would begin it: run rollback.yml, or say that "
            f"it is to begin by -e keyturn_rotation_id={rotation_id}. If it is open nowhere, {IN_OTHER_HANDS}"
        )
    if strangers:
        raise KeyturnError(
            f"{opened}, neither log nor reports know it, and {strangers} would begin it: bring the reports of the controller that has "
            "begun it. If they are lost, and you know that it was begun, say so by "
            f"-e keyturn_rotation_id={rotation_id}. If nobody has begun it, {IN_OTHER_HANDS}"
        )


def _known(hosts: Looked, rotation_id: str) -> dict[str, JournalRecord]:
    """What each host knows of the rotation, open or closed."""
    known = {}
    for name, said in hosts.items():
        journal = said.get("rotation") or {}
        if journal.get("rotation_id") != rotation_id:
            journal = said.get("closed", {}).get(rotation_id, {})
        if journal:
            known[name] = journal
    return known


def _way(wish: str, journals: Sequence[JournalRecord], binding: Sequence[JournalRecord]) -> str:
    """``binding`` are the journals whose decision to commit binds the open hosts; one to go back always does."""
    if any(journal.get("decision") == "rollback" for journal in journals):
        return "back"
    if any(journal.get("outcome") == "committed" for journal in binding):
        return "forward"
    return "forward" if all(journal.get("decision") == "commit" for journal in binding) else wish


def _gone_on(journal: JournalRecord) -> bool:
    return PHASES.index(str(journal["phase"])) > PHASES.index("staged")
