"""What every store does. Each step is safe to repeat with the same rotation id, after a kill between any two calls too.

A path has at most three versions: ``pending`` (staged, nobody uses it), ``current`` and ``previous``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ..base import shape
from ..base.errors import KeyturnError
from ..base.fingerprint import fingerprints
from ..base.timestamps import ROTATION_ID

# for the whole of a call, with all that its library tries
CALL_SECONDS = 60
BY_HAND = "docs/stores.md says how, without an argument that others see"


class Denied(KeyturnError):
    """The store does not let this login do that."""


@dataclass(frozen=True)
class Version:
    """Values by variable, and the rotation that wrote them: empty where somebody else did."""

    values: Mapping[str, str] = field(repr=False)
    rotation_id: str

    @property
    def fingerprints(self) -> dict[str, str]:
        """What may be shown of the values."""
        return fingerprints(self.values)


class Held(NamedTuple):
    """The versions of a path; None for one that is not there."""

    current: Version | None
    pending: Version | None
    previous: Version | None


class Store(Protocol):
    """The contract. Every method raises KeyturnError, with the path and the remedy, and has then changed nothing of use."""

    def read(self, path: str) -> Held:
        """Return what the path holds."""

    def stage(self, path: str, rotation_id: str, values: Mapping[str, str]) -> bool:
        """Make ``values`` the pending version durably. A pending one of another rotation, or of other values, is refused.

        One that a person has put there, with the same values, becomes this rotation's. Returns whether anything changed, as
        the other steps do.
        """

    def promote(self, path: str, rotation_id: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
        """Make the pending version current and the current one previous.

        ``old`` and ``new`` are the fingerprints that the hosts hold. Refused where the current version is another than ``old``
        (none yet is fine), also when it changes in the last moment.
        """

    def discard(self, path: str, rotation_id: str) -> bool:
        """Forget the pending version of this rotation; one of another stays."""

    def destroy_previous(self, path: str, rotation_id: str) -> bool:
        """Forget the version that this rotation has replaced. A later rotation has dropped it already."""

    def may_read(self, path: str) -> bool:
        """Tell whether the login may read a value at ``path``, be there one or not."""

    def kept(self, path: str, name: str) -> str:
        """Return one text of what somebody else keeps at ``path``, whatever stands beside it; empty where there is none."""


def rotation_of(name: str) -> str:
    """Return ``name`` if it is a rotation's id, else nothing."""
    return name if re.fullmatch(ROTATION_ID, name) else ""


def texts(path: str, found: object) -> dict[str, str]:
    """Return what a path holds if it is an object of texts, which alone can be values; KeyturnError names the key that is none."""
    if not isinstance(found, Mapping):
        raise KeyturnError(
            f"{path}: the value in the store is not a JSON object of variables: write it as one ({BY_HAND})"
        )
    for name, value in found.items():
        if any(shape.misfits("", str, value)):
            raise KeyturnError(
                f"{path}: {name} in the store is not a text, as a value is: write it anew, in quotes ({BY_HAND})"
            )
    return dict(found)


def text_in(found: object, name: str) -> str:
    """Return the text of this name in what a path holds, empty where there is none."""
    value = found.get(name) if isinstance(found, Mapping) else None
    return "" if any(shape.misfits("", str, value)) else str(value)


def must_stage(path: str, held: Held, rotation_id: str, values: Mapping[str, str]) -> bool:
    """Tell whether the pending version must be written; KeyturnError where another one stands there."""
    pending = held.pending
    if pending is None:
        return True
    if pending.rotation_id not in ("", rotation_id):
        raise KeyturnError(
            f"{path}: rotation {pending.rotation_id} has a pending value in the store. If it is open on a host, end it with "
            f"resume.yml or rollback.yml; if it is open on none, run this with keyturn_store_abandoned={pending.rotation_id}"
        )
    if dict(pending.values) != dict(values):
        raise KeyturnError(
            f"{path}: the store has another pending value already ({_text(pending.fingerprints)}): use that one; only where "
            "no host has it and its provider does not know it may it be deleted from the store"
        )
    return pending.rotation_id != rotation_id


def must_promote(path: str, held: Held, rotation_id: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Tell whether the pending version must become current; KeyturnError where it may not."""
    pending = held.pending if held.pending is not None and held.pending.rotation_id == rotation_id else None
    if held.current is not None and held.current.fingerprints == new:
        if pending is not None and pending.fingerprints != new:
            raise KeyturnError(
                f"{path}: the store's current value is {_text(new)}, and what rotation {rotation_id} has staged there "
                f"({_text(pending.fingerprints)}) is not what the hosts say that they hold: nothing was given up; see what the hosts "
                "hold by verify.yml, then run resume.yml"
            )
        return False
    if held.pending is None or held.pending.rotation_id != rotation_id or held.pending.fingerprints != new:
        raise KeyturnError(
            f"{path}: the store has no pending value of rotation {rotation_id} that matches the hosts' ({_text(new)}). Write the "
            f"value that the hosts hold to the store as its current one ({BY_HAND}), then run resume.yml"
        )
    if held.current is not None and held.current.fingerprints != old:
        raise conflict(path, _text(held.current.fingerprints), old)
    return True


def refuse_other(path: str, held: Held, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Refuse while the current version is another than the hosts hold, before or after the switch. None yet is fine."""
    if held.current is not None and held.current.fingerprints not in (old, new):
        raise KeyturnError(
            f"{path}: the store's current value is {_text(held.current.fingerprints)}, and the hosts hold {_text(old)}; nothing "
            f"was changed: put the right one where the other is ({BY_HAND}), then rotate"
        )


def conflict(path: str, found: str, old: Mapping[str, str]) -> KeyturnError:
    """Return the refusal of a current version that is not the expected one."""
    return KeyturnError(
        f"{path}: the store's current value is {found}, and this rotation began with {_text(old)}: somebody else has changed "
        f"it. Put the right one back as current ({BY_HAND}), then run resume.yml"
    )


def _text(shown: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(shown.items())) or "empty"
