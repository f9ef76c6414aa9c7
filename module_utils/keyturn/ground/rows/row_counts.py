"""What is counted of rows: what all of them hold, as one number, and those that may not be touched, by their names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from .fernet_forms import Stored
from .sqlite_file import Cell, Row

NAMED_ROWS = 10


class Named(Protocol):
    """A column of any store."""

    @property
    def name(self) -> str:
        """What messages call it."""


class Tally:
    """What rows hold, as one number: it is another one as soon as a row holds another plaintext, is gone or there twice.

    It is the sum of a keyed digest of each row, so it knows no order and keeps no plaintext. Nobody who does not have the key
    can make up for one row by another.
    """

    def __init__(self, key: bytes) -> None:
        self.rows = 0
        self.sum = 0
        self.key = key
        self._keyed = hashlib.blake2b(key=key, digest_size=32).copy

    def add(self, identity: Sequence[Cell], content: Stored) -> None:
        """Count one row in; ``content`` is its plaintext, or what is stored where nothing opens it."""
        digest = self._keyed()
        digest.update(ascii((*identity, content)).encode())
        self.rows += 1
        self.sum += int.from_bytes(digest.digest(), "big")


class Refusals:
    """Rows that may not be touched: counted, the first ten named by their key, with what can be done about their kinds."""

    def __init__(self) -> None:
        self.count = 0
        self.named: list[str] = []
        self.hints: dict[str, str] = {}

    def add(self, target: Named, row: Row, why: str, hint: str = "") -> None:
        """Note one row; ``hint`` is for all rows of its kind, with the key of the first of them for ITEM."""
        self.count += 1
        item = "NULL" if row.item is None else repr(row.item)[:80]
        if self.count <= NAMED_ROWS:
            self.named.append(f"{target.name} of {item} {why}")
        if hint:
            self.hints.setdefault(hint, hint.replace("ITEM", item))

    def __str__(self) -> str:
        """Name up to ten rows."""
        more = [f"and {self.count - NAMED_ROWS} more"] if self.count > NAMED_ROWS else []
        return "; ".join([*self.named, *more, *self.hints.values()])
