"""May the hosts of a fleet go on together, after all have staged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from ..base.errors import KeyturnError
from ..base.jwt import LIFE_SECONDS
from ..host.journal import Marks


class StagedHost(TypedDict):
    """A host that has staged: which machine and folder it is, how its clock differs, the fingerprints; no ``new`` in check mode."""

    place: str
    clock_offset: float
    old: Marks
    new: Marks | None


def check(value: str, hosts: Mapping[str, StagedHost], adopted: str) -> None:
    """Raise KeyturnError that says who has what, when they may not.

    ``value`` is the catalogue's. ``adopted`` is the host whose present value a person holds right.
    """
    _check_places({name: host["place"] for name, host in hosts.items()})
    _check_clocks({name: host["clock_offset"] for name, host in hosts.items()})
    new = {name: _text(staged) for name, host in hosts.items() if (staged := host.get("new"))}
    if value == "per_host":
        if len(set(new.values())) < len(new):
            raise KeyturnError(f"two hosts have staged the same value: {_who(new)}")
        return
    if len(set(new.values())) > 1:
        raise KeyturnError(f"the hosts have not staged the same value: {_who(new)}")
    old = {name: _text(host["old"]) for name, host in hosts.items()}
    if adopted and adopted not in hosts:
        raise KeyturnError(f"keyturn_adopt names {adopted}, which is no host here (they are: {', '.join(hosts)})")
    if len(set(old.values())) > 1 and not adopted:
        raise KeyturnError(
            f"the hosts hold different values now, and must share one: {_who(old)}; "
            "if the value of one host is right, rotate again with keyturn_adopt: HOST"
        )


def _check_places(places: Mapping[str, str]) -> None:
    for name, place in places.items():
        same = [other for other, found in places.items() if found == place]
        if len(same) > 1:
            raise KeyturnError(f"{name} and {same[-1] if same[0] == name else same[0]} are the same machine and folder")


def _check_clocks(clocks: Mapping[str, float]) -> None:
    spread = max(clocks.values()) - min(clocks.values())
    if spread > LIFE_SECONDS:
        raise KeyturnError(
            f"the clocks of the hosts differ by {spread:.0f} s, and a token of the proof lives {LIFE_SECONDS} s: "
            f"{_who({name: f'{offset:+.0f} s' for name, offset in clocks.items()})}; set them right"
        )


def _text(values: Mapping[str, str] | None) -> str:
    return ", ".join(f"{name} {found}" for name, found in sorted((values or {}).items()))


def _who(texts: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in texts.items())
