"""What every issuer does. An issuer can be told a value, where a provider can only be asked.

Each call may be made again for the same rotation: after a kill, or when its answer was lost. A host writes into its journal before it
makes one. What the issuer holds is decided by evidence, ``providers.ask``, and never by what a call has returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..base.errors import KeyturnError

if TYPE_CHECKING:
    from pathlib import Path

    from ..ground.scripts import Scripts

# the catalogue's ``issuer``, as the options of ``ISSUER`` have validated it
Spec = Mapping[str, Any]
Values = Mapping[str, str]
Hide = Callable[[Iterable[str]], None]


class Told(NamedTuple):
    """What an issuer is told of a rotation: its id, and the values of both sides by variable; what it reads itself it gives to ``hide``.

    ``admins_password`` is what the controller has read in the secret store, None where the entry's admin has none there.
    ``scripts`` runs programs as the application's user, None where only the service is given the values. A program that outlives its call
    holds ``lock``, a file, until it ends.
    """

    rotation_id: str
    old: Values
    new: Values
    hide: Hide
    scripts: Scripts | None = None
    lock: Path | None = None
    admins_password: str | None = None


class Unanswered(KeyturnError):
    """An issuer was told, and has not said what it has done; it would have done nothing but what a question with the value shows."""


class Issuer(Protocol):
    """One issuer. KeyturnError names it, what it refuses and the remedy; no value, and no text of its own words."""

    def prepare(self) -> list[str]:
        """See that ``set`` would be done, and return what surprises. Changes nothing."""

    def set(self) -> None:
        """Have the new value accepted. Whether the old one lives on is the strategy's word (``old_lives``)."""

    def mark(self) -> str:
        """Return a mark of the moment, when the new value is accepted: by it ``retire`` knows what began with the old one."""

    def unset(self) -> None:
        """Have the old value accepted, and the new one not any more."""

    def retire(self, mark: str) -> list[str]:
        """Have the old value accepted no more, once every host runs on the new one; return what surprises."""
