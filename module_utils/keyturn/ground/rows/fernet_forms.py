"""The forms in which an application stores a Fernet token, and turning a token in the form that it has.

``two_layer`` is urlsafe_b64encode(token), ``one_layer`` the token itself, ``plaintext`` a value that was never
encrypted, ``empty`` NULL or no characters. What a stored value is under is decided by what opens it, nothing else.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from ...base.errors import KeyturnError
from ...base.sides import Side
from .contract import OTHER_WRITER

Stored = str | bytes | int | float | None
FORMS = ("two_layer", "one_layer", "plaintext", "empty")
JSON = "json"
TIME = slice(1, 9)

# version 0x80 and the leading zeros of a 64-bit time (until the year 2106) fix the first characters
ONE_LAYER_PREFIX = b"gAAAAA"
TWO_LAYER_PREFIX = b"Z0FBQUFB"
PREFIXES = (ONE_LAYER_PREFIX, TWO_LAYER_PREFIX)
START = re.compile(rb"gAAAAA|Z0FBQUFB")
KEY = re.compile(r"[A-Za-z0-9+/_-]{43}=")
# texts of one of these lengths are often meant as a key, and the library takes none of them
OTHER_KEYS = {
    "64 hexadecimal digits": re.compile(r"[0-9A-Fa-f]{64}"),
    "32 characters, a raw key": re.compile(r".{32}", re.DOTALL),
}
# the shortest token protects one block: 73 bytes, 98 characters without the padding
SHORTEST_TOKEN = 98
RUN = re.compile(rb"(?:gAAAAA|Z0FBQUFB)[A-Za-z0-9_-]{92,}")
# A token that other text follows is looked for up to this length, about what fits in a page of a database file.
LONGEST_EMBEDDED = 4096


class Unreadable(Exception):
    """A stored value that may not be touched. The text says why, and holds nothing of the value; ``hint`` is for all of its kind."""

    hint = ""


class OtherKey(Unreadable):
    """A token that no known value opens."""

    hint = OTHER_WRITER


class Embedded(Unreadable):
    """A text in which a token of the key is one part: turning the token alone, or the text as a whole, would lose something."""

    hint = (
        "a token is turned where it is all that a column holds: give it a column of its own and declare that, or, in JSON, its place "
        "(`paths`)"
    )


class NoToken(Unreadable):
    """A value that is no token, where nothing says what else may stand there: a damaged token would pass for a plaintext."""

    hint = (
        "where plaintexts are right, declare their shape (`plaintext` of the column in the catalogue), or the column that says whether "
        "a value is encrypted (`flag`)"
    )


class Opened(NamedTuple):
    """A stored value that was understood: its form, the side whose key opens it, when it was encrypted, what it protects.

    ``time`` is as the token holds it: 8 bytes, the seconds since 1970. Of a JSON text ``parts`` are what stands at its paths, ``side`` is
    that of all of its tokens, and ``plaintext`` what is around them, too.
    """

    form: str
    side: Side | None
    time: bytes
    plaintext: bytes
    parts: tuple[Opened, ...] = ()

    def under(self, side: Side) -> bool:
        """Tell whether the key of ``side`` is needed."""
        return side in (self.side, *(part.side for part in self.parts))


class OtherShape(Unreadable):
    """A token that opens, and protects what has another shape than the catalogue declares: a person may say that it is right."""

    hint = (
        "where such a row is right, declare its shape too (`plaintext` of the column in the catalogue), or accept it by its key: "
        "keyturn_accept_shapes: {ITEM: reason}"
    )

    def __init__(self, why: str, opened: Opened) -> None:
        super().__init__(why)
        self.opened = opened


def of_any_shape(found: Opened | Unreadable) -> Opened | Unreadable:
    """Return what a value is, also where its shape is another one."""
    return found.opened if isinstance(found, OtherShape) else found


def fernet(name: str, key: str) -> Fernet:
    """Return the Fernet of ``key``; KeyturnError names the variable when it is no Fernet key, and nothing else.

    The library is content with a key that something follows, and takes no notice of the rest.
    """
    if KEY.fullmatch(key):
        return Fernet(key)
    keys = len(KEY.findall(key))
    what = next((kind for kind, shape in OTHER_KEYS.items() if shape.fullmatch(key)), f"{len(key)} characters")
    raise KeyturnError(
        f"{name} is a list of {keys} Fernet keys: where the application reads such lists, say so in the catalogue (overlap: key_list); "
        "where it does not, have the application write every row under one of them, then leave that one, and keep the others until all "
        "rows open"
        if keys > 1
        else f"{name} is not a Fernet key: 32 bytes as 44 characters of URL-safe base64 are needed, it has {what}"
    )


def cipher(name: str, keys: Sequence[str]) -> Fernet | MultiFernet:
    """Return what opens under any of ``keys`` and encrypts under the first; KeyturnError names the variable where one is no key."""
    several = [fernet(name, key) for key in keys]
    return several[0] if len(several) == 1 else MultiFernet(several)


class Turner:
    """Opens stored values under the old or the new key, and turns them to either."""

    def __init__(self, ciphers: Mapping[Side, Fernet | MultiFernet], plaintext: str | None) -> None:
        """``ciphers`` has ``old``, and ``new`` once there is one; ``plaintext`` is the shape of what is protected, None where it is any."""
        self._ciphers = ciphers
        try:
            self._shape = None if plaintext is None else re.compile(plaintext.encode())
        except re.error as error:
            raise KeyturnError(f"`plaintext` of the catalogue's migration is no regular expression: {error}") from None

    def open(self, stored: Stored) -> Opened:
        """Return what ``stored`` is. Unreadable when no key opens it, or what it protects has another shape."""
        if stored is None or stored in ("", b""):
            return Opened("empty", None, b"", b"")
        if not isinstance(stored, str | bytes):
            raise Unreadable("is a number, not text")
        try:
            text = stored.encode() if isinstance(stored, str) else stored
        except UnicodeEncodeError:
            raise Unreadable("is text that is not valid UTF-8") from None
        if text.startswith(ONE_LAYER_PREFIX):
            return self._open_token("one_layer", text, text)
        if text.startswith(TWO_LAYER_PREFIX):
            try:
                return self._open_token("two_layer", text, base64.urlsafe_b64decode(text))
            except binascii.Error:
                raise Unreadable("is a damaged token (its outer layer cannot be decoded)") from None
        if self._shape is None:
            raise NoToken("is no token")
        if self._shape.search(text):
            self.check_apart(text)
            return Opened("plaintext", None, b"", text)
        raise Unreadable("is neither a token nor of the declared shape of a plaintext")

    def open_plain(self, stored: Stored) -> Opened:
        """Return what ``stored`` is that is said to be a plaintext; Embedded where it holds a token of a known key."""
        if stored is None or stored in ("", b""):
            return Opened("empty", None, b"", b"")
        text = stored if isinstance(stored, bytes) else str(stored).encode(errors="surrogateescape")
        self.check_apart(text)
        return Opened("plaintext", None, b"", text)

    def _has_shape(self, plaintext: bytes) -> bool:
        return self._shape is None or bool(self._shape.search(plaintext))

    def fits(self, plaintext: bytes) -> bool:
        """Tell whether a token may protect ``plaintext``: it is empty, or has the declared shape and no token in it."""
        return not plaintext or (not _may_hold_token(plaintext) and self._has_shape(plaintext))

    def all_fit(self, plaintexts: Sequence[bytes]) -> bool:
        """Tell whether each of ``plaintexts`` fits."""
        if _may_hold_token(b"\n".join(plaintexts)):
            return False
        return self._shape is None or all(map(self._shape.search, filter(None, plaintexts)))

    def check_apart(self, text: bytes) -> None:
        """Refuse a text with a token of a known key in it."""
        if _may_hold_token(text):
            for token in tokens_in(text.replace(b"\0", b"")):
                if any(opens(cipher, token) for cipher in self._ciphers.values()):
                    raise Embedded("holds a token of this key inside a longer text")

    def _open_token(self, form: str, text: bytes, token: bytes) -> Opened:
        for side, cipher in self._ciphers.items():
            try:
                plaintext = cipher.decrypt(token)
            except InvalidToken:
                continue
            content = base64.urlsafe_b64decode(token)
            if _dress(form, base64.urlsafe_b64encode(content), as_text=False) != text:
                raise Embedded("begins with a token of this key, and more than a token stands there")
            opened = Opened(form, side, content[TIME], plaintext)
            if self.fits(plaintext):
                return opened
            known = str(side) if len(self._ciphers) > 1 else "current"
            if plaintext.startswith(PREFIXES):
                raise Unreadable(f"is a token inside a token (the outer one opens under the {known} value)")
            self.check_apart(plaintext)
            if self._has_shape(plaintext):
                return opened
            raise OtherShape(f"opens under the {known} value, but its plaintext has not the declared shape", opened)
        known = (
            "neither the old nor the new value"
            if len(self._ciphers) > 1
            else "no value that is known (the current one does not open it)"
        )
        raise OtherKey(f"opens under {known}")

    def turn(self, stored: Stored, opened: Opened, to: Side) -> Stored:
        """Return ``stored`` under the key of ``to``: same form, type and time of encryption. What is there stays."""
        if opened.side in (None, to):
            return stored
        token = self._ciphers[to].encrypt_at_time(opened.plaintext, int.from_bytes(opened.time, "big"))
        return _dress(opened.form, token, isinstance(stored, str))

    def encrypt(self, stored: Stored, opened: Opened, to: Side) -> Stored:
        """Return the plaintext row ``stored`` as a two-layer token under the key of ``to``."""
        return _dress("two_layer", self._ciphers[to].encrypt(opened.plaintext), isinstance(stored, str))


def seal(cipher: Fernet | MultiFernet, form: str, plaintext: bytes, as_text: bool) -> str | bytes:
    """Return ``plaintext`` in a form: a token of ``cipher`` in one or two layers, or as it is."""
    if form == "plaintext":
        return plaintext.decode() if as_text else plaintext
    return _dress(form, cipher.encrypt(plaintext), as_text)


def _dress(form: str, token: bytes, as_text: bool) -> str | bytes:
    content = base64.urlsafe_b64encode(token) if form == "two_layer" else token
    return content.decode() if as_text else content


def _may_hold_token(content: bytes) -> bool:
    """Tell whether a prefix of a token is anywhere in ``content``, in UTF-16 too, where a NUL stands beside each character."""
    return any(prefix in content.replace(b"\0", b"") for prefix in PREFIXES)


def texts_in(content: bytes) -> list[bytes]:
    """Return every run of characters in ``content`` that may hold tokens, padded as if it were one."""
    return [_padded(text) for text in RUN.findall(content)]


def tokens_in(content: bytes) -> Iterator[bytes]:
    """Yield what may be a Fernet token anywhere in ``content``, each in its one-layer form, with its padding.

    For finding tokens where none were declared: it overlooks none, whatever stands directly before or behind it, and
    also yields text that is no token.
    """
    for run in RUN.finditer(content):
        text = run.group()
        for start in START.finditer(text):
            # only the first start gets the whole run, or a long text that repeats the prefix would take forever
            part = text[start.start() : start.start() + LONGEST_EMBEDDED] if start.start() else text
            token = part if part.startswith(ONE_LAYER_PREFIX) else _inner(part)
            if token:
                yield from _possible_tokens(token)


def _inner(text: bytes) -> bytes:
    """Return what a two-layer text begins with, without padding; nothing where that is no token."""
    # one character more than whole groups of four decodes to nothing: it belongs to the text behind
    decodable = text[:-1] if len(text) % 4 == 1 else text
    run = RUN.match(base64.urlsafe_b64decode(_padded(decodable)))
    return run.group() if run and run.group().startswith(ONE_LAYER_PREFIX) else b""


def _possible_tokens(text: bytes) -> Iterator[bytes]:
    """Yield the beginnings of ``text`` that have the length of a token (57 + 16n bytes), the longest first."""
    if len(text) > LONGEST_EMBEDDED:
        yield _padded(text)
    blocks = (min(len(text), LONGEST_EMBEDDED) * 3 // 4 - 57) // 16
    for size in range(57 + 16 * blocks, 57, -16):
        yield _padded(text[: -(-size * 4 // 3)])


def _padded(text: bytes) -> bytes:
    return text + b"=" * (-len(text) % 4)


def opens(cipher: Fernet | MultiFernet, token: bytes) -> bool:
    """Tell whether ``cipher`` opens ``token``."""
    try:
        cipher.decrypt(token)
    except InvalidToken:
        return False
    return True
