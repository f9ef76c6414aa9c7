"""Stored values that are JSON with tokens at declared paths: a row is what its tokens are, and the text around them stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...base import json_text
from ...base.errors import KeyturnError
from ...base.json_text import Document, NoJson, Text
from ...base.sides import Side, other
from .fernet_forms import JSON, Embedded, Opened, OtherShape, Stored, Turner, Unreadable, of_any_shape
from .fernet_pages import BROKEN, OpenedChunk, Pages
from .sqlite_file import Chunk

NOTHING = Document([], [])


class Undeclared(Embedded):
    """A token of the key at a place that nothing turns."""

    hint = "declare its place as well (`paths` of the column in the catalogue)"


class JsonPages(Pages):
    """Opens and turns pages of a column of JSON texts, the tokens of a page together."""

    def __init__(self, turner: Turner, keys: Mapping[Side, str], paths: Sequence[str]) -> None:
        """``paths`` are where tokens may stand; the rest is as for ``Pages``."""
        super().__init__(turner, keys)
        self._paths = paths

    def weigh(self, stored: str | bytes) -> int:
        """Return how many bytes of memory a text takes, which is read."""
        return json_text.weight(stored)

    def open(self, page: Sequence[Stored], likely: Side = "old") -> list[Opened | Unreadable]:
        """Return for each text what its tokens are, or why it may not be touched."""
        documents = [self._read(stored) for stored in page]
        strings = [str(place.found) for one in documents if isinstance(one, Document) for place in one.places]
        opened = iter(super().open(strings, likely))
        return [
            _row(_text(stored), one, opened) if isinstance(one, Document) else one
            for stored, one in zip(page, documents, strict=True)
        ]

    def open_chunk(self, chunk: Chunk) -> OpenedChunk | None:
        """Return None: each text is read by itself."""
        return None

    def turn(self, rows: Sequence[tuple[Stored, Opened]], to: Side) -> list[Stored]:
        """Return each text with its tokens under the key of ``to``, read and opened again."""
        documents = [json_text.read(_text(stored), self._paths) if opened.parts else NOTHING for stored, opened in rows]
        tokens = [
            (str(place.found), part)
            for (_, opened), document in zip(rows, documents, strict=True)
            for place, part in zip(document.places, opened.parts, strict=True)
        ]
        turned = iter(super().turn(tokens, to))
        result = [_put(stored, document, turned) for (stored, _), document in zip(rows, documents, strict=True)]
        for (_, before), after in zip(rows, self.open(result, to), strict=True):
            again = of_any_shape(after)
            if isinstance(again, Unreadable) or again.under(other(to)) or again.plaintext != before.plaintext:
                raise KeyturnError(BROKEN)
        return result

    def _read(self, stored: Stored) -> Document | Unreadable:
        if stored is None or stored in ("", b""):
            return NOTHING
        if not isinstance(stored, str | bytes):
            return Unreadable("is a number, not text")
        try:
            json_text.check_size(stored)
            document = json_text.read(_text(stored), self._paths)
            for one in document.others:
                self._turner.check_apart(one.encode(errors="surrogatepass"))
        except UnicodeError:
            return Unreadable("is text that is not valid UTF-8")
        except NoJson as reason:
            return Unreadable(str(reason))
        except Embedded:
            return Undeclared("holds a token of this key at a place that is not declared")
        wrong = next((place.path for place in document.places if not isinstance(place.found, Text)), None)
        return document if wrong is None else Unreadable(f"holds no text at {wrong}")


def _row(content: str, document: Document, opened: Iterator[Opened | Unreadable]) -> Opened | Unreadable:
    """Return what a text is by what its strings are, which are next in ``opened``."""
    found = [(place, next(opened)) for place in document.places]
    parts = [(place, of_any_shape(part)) for place, part in found]
    for place, part in parts:
        if isinstance(part, Unreadable):
            return type(part)(f"at {place.path} {part}")
    known = [(place.found, part) for place, part in parts if isinstance(part, Opened)]
    sides = {part.side for _, part in known if part.side}
    forms = {part.form for _, part in known}
    form = "plaintext" if "plaintext" in forms else JSON if sides else "empty"
    tokens = [(string, part) for string, part in known if part.side]
    around = json_text.splice(content, [(string, "") for string, _ in tokens])
    plaintext = ascii((around, [part.plaintext for _, part in tokens])).encode()
    row = Opened(form, sides.pop() if len(sides) == 1 else None, b"", plaintext, tuple(part for _, part in known))
    for place, part in found:
        if isinstance(part, OtherShape):
            return OtherShape(f"at {place.path} {part}", row)
    return row


def _put(stored: Stored, document: Document, turned: Iterator[Stored]) -> Stored:
    """Return a text with the strings at its paths as they are next in ``turned``."""
    pairs = [(place.found, str(next(turned))) for place in document.places]
    changed = [(old, new) for old, new in pairs if new != old]
    content = json_text.splice(_text(stored), changed)
    return stored if not changed else content if isinstance(stored, str) else content.encode()


def _text(stored: Stored) -> str:
    """Return a text as such; UnicodeError where it is not UTF-8. SQLite's own has half characters there."""
    content = stored if isinstance(stored, bytes) else str(stored or "").encode()
    return content.decode()
