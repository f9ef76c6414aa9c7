"""When a secret was turned last: what the log says, and what the hosts say.

A host may be in other hands, and its word makes no secret of others due, nor keeps one from being due. Of a value that all share the log
counts, and what every host says alike; where the log knows nothing, what most of them say. Of a value of its own a host may say that it
is younger than the log knows, never that it is older.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from ..host.phases.answers import HostAnswer
from .rotation_log import COMMITTED, TAKEN_OVER, Record


@dataclass(frozen=True, order=True)
class End:
    """The end of a rotation: its id, which begins with its time, and when it had finished; both empty for none.

    The id alone is compared: each host, and the controller, finishes at a second of its own.
    """

    rotation_id: str = ""
    finished: str = field(default="", compare=False)


class Age(NamedTuple):
    """When a secret was turned last on the host that waits longest, empty for never, and by host what it says against the others."""

    last: str
    doubts: dict[str, str]


def of(secret: str, shared: bool, hosts: Mapping[str, HostAnswer], records: Sequence[Record]) -> Age:
    """Return the age of a secret of ``hosts``, all of which use it, by what they answered and the ``records`` of the log."""
    claims = {host: _newest(_ends(said["closed"].values(), secret)) for host, said in hosts.items()}
    logged = {host: _newest(_ends(records, secret, host)) for host in hosts}
    newest = _newest(_ends(records, secret))
    doubts = {
        host: f"its journals do not know rotation {end.rotation_id}, with which the log says that {secret} was turned there: it was made "
        f"anew, or is in other hands; look at it, then rotate {secret}"
        for host, end in logged.items()
        if claims[host] < end
    }
    if not shared:
        return Age(min((max(logged[host], claims[host]).finished for host in hosts), default=""), doubts)
    agreed, number = Counter(sorted(claims.values())).most_common(1)[0] if claims else (End(), 0)
    if newest.finished and not (number == len(hosts) and agreed > newest):
        known = [end.finished for end in logged.values() if end.finished]
        return Age(min(known, default=newest.finished), doubts)
    others = {
        host: f"it says that {secret} was turned last {_told(claim)}, and {number} of {len(hosts)} hosts say {_told(agreed)}: see which "
        "is right"
        for host, claim in claims.items()
        if claim != agreed
    }
    return Age(agreed.finished, others | doubts)


def _ends(told: Iterable[Mapping[str, object]], secret: str, host: str | None = None) -> list[End]:
    """Return the rotations of a secret that have committed, of a host where one is named, from journals or from records."""
    return [
        End(str(one["rotation_id"]), str(one["finished"]))
        for one in told
        if one.get("secret") == secret
        and one.get("outcome") in COMMITTED
        and one.get("finished")
        and one.get("event") in (None, "ended", TAKEN_OVER)
        and (host is None or (host in _named(one, "hosts") and host not in _named(one, "excluded")))
    ]


def _named(one: Mapping[str, object], name: str) -> Collection[str]:
    return cast(Collection[str], one.get(name, ()))


def _newest(ends: Sequence[End]) -> End:
    return max(ends, default=End())


def _told(end: End) -> str:
    return f"at {end.finished}" if end.finished else "never"
