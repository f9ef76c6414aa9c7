"""What a row store is: data of the application that depends on a value, as the phases of a rotation see it.

docs/contributing/row-store.md says what each has to promise. KeyturnError begins with the name of the data and says the remedy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, Protocol, TypedDict

from ...base.errors import KeyturnError
from ...base.sides import Side

OTHER_WRITER = (
    "who writes under another value is likely another process that still has it (a worker, a script): stop it"
)
# what a login to a server may have, one by one
LOGIN_PARTS = ("dbname", "host", "password", "port", "sslmode", "user")

# the catalogue's ``migration``, as the options of its kind have validated it
Spec = Mapping[str, Any]


class Census(TypedDict):
    """How many rows there are by form, how many open under which value, and which are refused (up to ten named).

    ``shown`` says what a proof is to say of it, where rows are not counted.
    """

    rows: dict[str, int]
    under: dict[Side, int]
    refused: int
    refusals: str
    empty_tables: list[str]
    shown: NotRequired[str]


class Examined(NamedTuple):
    """Rows by form, and what a person should know."""

    rows: dict[str, int]
    findings: list[str]


class Space(NamedTuple):
    """Bytes that a rotation needs: for what it keeps of the rows, and by folder beside the data."""

    kept: int
    beside: Mapping[Path, int]


class Prepared(NamedTuple):
    """What one call has done: rows staged and read, and whether all are."""

    staged: int
    read: int
    finished: bool


class Online(NamedTuple):
    """What one call has turned beside the application: rows read and turned, and whether all are read.

    Then ``left`` is how many are still under the other value, as they were seen at one moment, and ``refusals`` names rows that
    open under neither.
    """

    read: int
    turned: int
    finished: bool
    left: int = 0
    refusals: str = ""


class Backup(TypedDict):
    """The copy that was made; of several stores all of them, each also by itself."""

    path: str
    bytes: int
    sha256: str
    parts: NotRequired[list[Backup]]


class Turned(TypedDict, total=False):
    """What a switch has done: rows turned, those of them that prepare had not staged, and by name the rows left or encrypted."""

    turned: int
    on_the_fly: int
    left: str
    encrypted: str


class Deferred(Exception):
    """A backup that cannot be made beside the running service; the text is the reason."""


class Unreached(KeyturnError):
    """Data that several hosts share, and that this one does not reach."""


class RowStore(Protocol):
    """The data of one secret. What it keeps for a rotation lies in the folder of that, as ``backup.*`` and ``prepared.*``.

    What is one for all hosts is turned by one of them, and may keep more in the data itself, which ``forget`` removes.
    """

    @property
    def name(self) -> str:
        """The data's name, which messages begin with."""

    @property
    def label(self) -> str:
        """The same in short, for a proof."""

    @property
    def parts(self) -> Sequence[RowStore]:
        """The stores that it is made of, of which each is told by itself: itself alone, where it is one."""

    @property
    def secrets(self) -> Collection[str]:
        """What it has made of the values, which is hidden as they are."""

    def examine(self, allow_empty: Sequence[str], encrypt_plaintext: bool) -> Examined:
        """Refuse what would stop the rotation later. Changes nothing."""

    def space(self) -> Space:
        """Return what backup, prepare and switch need."""

    def check_switch(self) -> None:
        """Refuse data that takes no write of the switch, as far as that shows without one."""

    def census(self) -> Census:
        """Open every row, reading only."""

    def sample(self) -> Census:
        """Open some rows, reading only: for a host that shares the data, and leaves the whole of it to another."""

    def refusal(self, census: Census) -> str:
        """Return the sentence about rows that cannot be turned, empty where all can."""

    def backup(self, folder: Path, online: bool) -> Backup:
        """Make a consistent copy in ``folder``, durable and 0600; ``online`` also try the switch on it, or raise Deferred."""

    def recall(self, folder: Path, prepared: Mapping[str, object] | None) -> bool:
        """Tell whether ``folder`` holds what the journal's ``prepared`` vouches for: prepare goes on with it, switch uses it.

        It comes before both; what is not vouched for is never used.
        """

    def prepare(self, encrypt_plaintext: bool, seconds: float) -> Prepared:
        """Compute new rows beside the running service for about ``seconds``, from where the last call has come to."""

    def marks(self, finished: bool) -> dict[str, object]:
        """Return what the journal keeps, so that ``recall`` knows again what the last call has left."""

    def check_unused(self) -> None:
        """Refuse while another process has the data open; the message names it."""

    def switch(self, to: Side, encrypt_plaintext: bool = False) -> Turned:
        """Put all rows under the value of ``to`` or none: turned by what opens them, checked, durable.

        Towards ``new`` a row that cannot be turned is refused, towards ``old`` it is left.
        """

    def turn_online(self, to: Side, folder: Path, seconds: float) -> Online:
        """Turn rows to the value of ``to`` for about ``seconds`` while the application, which reads both values, serves and writes.

        A row is written only where it still holds the ciphertext that was read, in short transactions, all of which are durable once
        all rows were read. It goes on from where the last call has come to, and begins anew then. ``folder`` is of the rotation.
        """

    def opened_before(self, seconds: float) -> list[str]:
        """Name who has had the data open for longer than that and may write to it, where the data itself says so."""

    def forget(self, rotation_id: str) -> None:
        """Remove what a rotation has left in the data itself, when that has ended; to repeat it changes nothing."""

    def left(self) -> list[str]:
        """Name what rotations have left in the data itself, each with its remedy. None is open."""

    def residue(self) -> list[str]:
        """Return findings about old ciphertexts that are left in free parts of the data."""

    def restore(self, folder: Path, backup: Mapping[str, object], scratch: Path) -> int:
        """Restore the journal's ``backup`` from ``folder`` below ``scratch``; return its number of rows, all of which open."""


class Readable(RowStore, Protocol):
    """A store whose rows a program of the application's may turn, since what that has done shows in them."""

    def tally(self, key: bytes) -> list[tuple[int, int]]:
        """Return of each column how many rows it has, and what all hold as one number: the same under either value, for one ``key``.

        A row that opens under neither value holds what is stored.
        """

    def put_back(self, folder: Path) -> None:
        """Give rows what the backup in ``folder`` has of them, all or none; those that open under the old value are left."""


class Item(NamedTuple):
    """A row with a token: the name it is known by, the column and the form it stands in, the token, the store's own way back to it."""

    name: str
    column: str
    form: str
    token: str
    row: Any


class Tokens(Protocol):
    """The tokens in the rows of one store that somebody else gave out, under the value in use: what replacing them needs."""

    @property
    def name(self) -> str:
        """The data's name, which messages begin with."""

    def items(self) -> list[Item]:
        """Return the rows that hold a token; KeyturnError for one that does not open."""

    def seal(self, token: str) -> str:
        """Return a token encrypted under the value in use, as a text for a log."""

    def unseal(self, sealed: str) -> str | None:
        """Return what ``seal`` was given, None where the text does not open."""

    def repair(self) -> None:
        """Take back a write that was cut off by a kill."""

    def put(self, item: Item, token: str) -> bool:
        """Write a token into its row, durably and in the form that it has; False where somebody else has written there."""
