"""Whole pages of stored values: tokens of one form and length go through ``fernet_batch``, all else row by row.

Stock Fernet is the path of every small page and of every row that a batch does not open, and what it says counts.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ...base.errors import KeyturnError
from ...base.sides import Side, other
from . import fernet_batch
from .fernet_forms import (
    ONE_LAYER_PREFIX,
    TIME,
    TWO_LAYER_PREFIX,
    Embedded,
    NoToken,
    Opened,
    Stored,
    Turner,
    Unreadable,
    of_any_shape,
)
from .sqlite_file import Chunk, Row

# From here on a batch is clearly faster; docs/performance.md has the measurement.
BATCH_ROWS = 100
BROKEN = "a new ciphertext did not open again: the cryptography library of this host is broken"
LAYERS = {"one_layer": 1, "two_layer": 2}
PREFIXES = {"one_layer": ONE_LAYER_PREFIX, "two_layer": TWO_LAYER_PREFIX}


class OpenedChunk(NamedTuple):
    """What ``Opened`` is to a row, for a chunk whose rows all open under one key."""

    form: str
    side: Side
    times: list[bytes]
    plaintexts: list[bytes]


class Pages:
    """Opens and turns pages of one column."""

    def __init__(self, turner: Turner, keys: Mapping[Side, str]) -> None:
        """``keys`` are those of ``turner``, as text."""
        self._turner = turner
        self._keys = keys

    def weigh(self, stored: str | bytes) -> int:
        """Return how many bytes of memory a value takes of its page."""
        return len(stored)

    def open(self, page: Sequence[Stored], likely: Side = "old") -> list[Opened | Unreadable]:
        """Return for each value what it is, or why it may not be touched. The key of ``likely`` is tried first."""
        found: list[Opened | Unreadable | None] = [None] * len(page)
        for form, places in _alike(page):
            for place, opened in zip(
                places, self._open_batch(form, [page[place] for place in places], likely), strict=True
            ):
                found[place] = opened
        return [self._open(stored) if opened is None else opened for stored, opened in zip(page, found, strict=True)]

    def open_rows(self, rows: Sequence[Row], flag: str = "") -> list[Opened | Unreadable]:
        """Do what ``open`` does, of what the column ``flag`` says to be encrypted. The rest is a plaintext by its word, and no token."""
        if not flag:
            return self.open([row.stored for row in rows])
        said = iter(self.open([row.stored for row in rows if row.flag == 1]))
        return [_as_said(next(said), flag) if row.flag == 1 else self._open_unsaid(row, flag) for row in rows]

    def _open_unsaid(self, row: Row, flag: str) -> Opened | Unreadable:
        if row.flag is None:
            return Unreadable(f"has neither 0 nor 1 in {flag}, which says whether it is encrypted")
        try:
            return self._turner.open_plain(row.stored)
        except Embedded:
            return Embedded(f"holds a token of this key, and is not encrypted by what {flag} says")

    def _open(self, stored: Stored) -> Opened | Unreadable:
        try:
            return self._turner.open(stored)
        except Unreadable as reason:
            return reason.with_traceback(None)  # which would keep all that was at work

    def _open_batch(self, form: str, stored: Sequence[Stored], likely: Side) -> Sequence[Opened | None]:
        found: list[Opened | None] = [None] * len(stored)
        texts = [_bytes(value) for value in stored]
        try:
            tokens = fernet_batch.decode(texts, LAYERS[form])
        except fernet_batch.Irregular:
            return found
        if not all(text.startswith(PREFIXES[form]) for text in texts):
            return found
        for side in (likely, other(likely)):
            if side not in self._keys or None not in found:
                continue
            opened_tokens = fernet_batch.open_tokens(self._keys[side], tokens)
            found = [
                Opened(form, side, token[TIME], plaintext)
                if plaintext is not None and self._turner.fits(plaintext)
                else opened
                for token, plaintext, opened in zip(tokens, opened_tokens, found, strict=True)
            ]
        return found

    def open_chunk(self, chunk: Chunk) -> OpenedChunk | None:
        """Open a page in one piece, by the key that opens its first row; None leaves it to ``open``, row by row."""
        form = next((form for form, prefix in PREFIXES.items() if chunk.stored.startswith(prefix)), None)
        if form is None or chunk.rows < BATCH_ROWS:
            return None
        for place, character in enumerate(PREFIXES[form]):
            if chunk.stored[place :: chunk.width] != bytes([character]) * chunk.rows:
                return None
        try:
            tokens = fernet_batch.decode_column(chunk.stored, chunk.width, LAYERS[form])
        except fernet_batch.Irregular:
            return None
        for side, key in self._keys.items():
            if fernet_batch.open_tokens(key, tokens[:1]) != [None]:
                opened = fernet_batch.open_tokens(key, tokens)
                plaintexts = [plaintext for plaintext in opened if plaintext is not None]
                if len(plaintexts) == chunk.rows and self._turner.all_fit(plaintexts):
                    return OpenedChunk(form, side, [token[TIME] for token in tokens], plaintexts)
        return None

    def turn_chunk(self, chunk: Chunk, opened: OpenedChunk, to: Side) -> Chunk:
        """Return a chunk under the key of ``to``. Nothing has opened it yet: that is for when it is written down."""
        return chunk._replace(
            stored=fernet_batch.seal_column(self._keys[to], opened.times, opened.plaintexts, LAYERS[opened.form])
        )

    def holds(self, chunk: Chunk, opened: OpenedChunk, side: Side) -> bool:
        """Tell whether a chunk, opened by code that has not sealed it, is exactly ``opened`` under the key of ``side``.

        The same times and the version that is part of a token make the same first characters.
        """
        try:
            tokens = fernet_batch.decode_column(chunk.stored, chunk.width, LAYERS[opened.form])
        except fernet_batch.Irregular:
            return False
        times = [token[TIME] for token in tokens]
        return times == opened.times and fernet_batch.open_tokens(self._keys[side], tokens) == opened.plaintexts

    def turn(self, rows: Sequence[tuple[Stored, Opened]], to: Side) -> list[Stored]:
        """Return each value under the key of ``to`` as ``Turner.turn`` does, opened again by code that has not sealed it."""
        result = [stored for stored, _ in rows]
        alike: dict[tuple[str, type, int], list[int]] = defaultdict(list)
        for place, (stored, opened) in enumerate(rows):
            if opened.side == other(to):
                alike[opened.form, type(stored), len(opened.plaintext)].append(place)
        for (form, kind, _), places in alike.items():
            batch = [rows[place] for place in places]
            if len(batch) < BATCH_ROWS:
                turned = [self._checked(self._turner.turn(*row, to), row[1], to) for row in batch]
            else:
                texts = self._turn_batch([opened for _, opened in batch], form, to)
                turned = [text.decode() for text in texts] if kind is str else [*texts]
            for place, new in zip(places, turned, strict=True):
                result[place] = new
        return result

    def _turn_batch(self, batch: Sequence[Opened], form: str, to: Side) -> list[bytes]:
        plaintexts, key = [opened.plaintext for opened in batch], self._keys[to]
        texts = fernet_batch.seal(key, [opened.time for opened in batch], plaintexts, LAYERS[form])
        if fernet_batch.open_tokens(key, fernet_batch.decode(texts, LAYERS[form])) != plaintexts:
            raise KeyturnError(BROKEN)
        return texts

    def encrypt(self, stored: Stored, opened: Opened, to: Side) -> Stored:
        """Return one plaintext row as a token as ``Turner.encrypt`` does, and opened again."""
        return self._checked(self._turner.encrypt(stored, opened, to), opened, to)

    def _checked(self, new: Stored, opened: Opened, to: Side) -> Stored:
        again = of_any_shape(self._open(new))
        if isinstance(again, Unreadable) or again.side != to or again.plaintext != opened.plaintext:
            raise KeyturnError(BROKEN)
        return new


def _as_said(found: Opened | Unreadable, flag: str) -> Opened | Unreadable:
    plain = isinstance(found, Opened) and found.form == "plaintext"
    if plain or isinstance(found, NoToken):
        return Unreadable(f"is no token, and is encrypted by what {flag} says")
    return found


def opened_by(key: str, texts: Sequence[bytes]) -> set[bytes]:
    """Return those of ``texts`` that a batch opens with ``key``: the others may be tokens as well."""
    found: set[bytes] = set()
    for form, places in _alike(texts):
        batch = [texts[place] for place in places]
        with contextlib.suppress(fernet_batch.Irregular):
            opened = fernet_batch.open_tokens(key, fernet_batch.decode(batch, LAYERS[form]))
            found.update(text for text, plaintext in zip(batch, opened, strict=True) if plaintext is not None)
    return found


def _alike(page: Sequence[Stored]) -> Iterator[tuple[str, list[int]]]:
    """Yield the places of values that make a batch, with their form."""
    alike: dict[tuple[type, int, str | bytes], list[int]] = defaultdict(list)
    for place, stored in enumerate(page):
        if isinstance(stored, str | bytes):
            alike[type(stored), len(stored), stored[:6]].append(place)
    for (_, _, start), places in alike.items():
        for form, prefix in PREFIXES.items():
            if len(places) >= BATCH_ROWS and _bytes(start) == prefix[:6]:
                yield form, places


def _bytes(stored: Stored) -> bytes:
    # what is no ASCII becomes "?", which is in no token
    return stored.encode("ascii", "replace") if isinstance(stored, str) else bytes(stored)  # type: ignore[arg-type]
