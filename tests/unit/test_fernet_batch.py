"""Batches against stock Fernet, both ways."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet, InvalidToken
from hypothesis import given, settings
from hypothesis import strategies as st
from keyturn.base.errors import KeyturnError
from keyturn.ground.rows import fernet_batch, fernet_pages
from keyturn.ground.rows.fernet_batch import Irregular
from keyturn.ground.rows.fernet_forms import Opened, Stored, Turner, Unreadable
from keyturn.ground.rows.fernet_pages import Pages

OLD, NEW, FOREIGN = (Fernet.generate_key().decode() for _ in range(3))
STOCK = {"old": Fernet(OLD), "new": Fernet(NEW)}
KEYS: Any = {"old": OLD, "new": NEW}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

keys = st.binary(min_size=32, max_size=32).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
times = st.integers(min_value=0, max_value=2**64 - 1)
batches = st.integers(0, 200).flatmap(
    lambda size: st.lists(st.tuples(times, st.binary(min_size=size, max_size=size)), min_size=1, max_size=5)
)
layers = st.integers(1, 2)


def stock_token(key: str, plaintext: bytes, time: int, count: int) -> bytes:
    token = Fernet(key).encrypt_at_time(plaintext, time)
    return base64.urlsafe_b64encode(token) if count == 2 else token


@given(keys, batches, layers)
def test_stock_fernet_opens_what_a_batch_seals(key: str, batch: list[tuple[int, bytes]], count: int) -> None:
    plaintexts = [plaintext for _, plaintext in batch]
    texts = fernet_batch.seal(key, [time.to_bytes(8, "big") for time, _ in batch], plaintexts, count)
    for (time, plaintext), text in zip(batch, texts, strict=True):
        token = base64.urlsafe_b64decode(text) if count == 2 else text
        assert Fernet(key).decrypt(token) == plaintext
        assert Fernet(key).extract_timestamp(token) == time
        assert len(text) == len(stock_token(key, plaintext, time, count))


@given(keys, batches, layers)
def test_a_batch_opens_what_stock_fernet_seals(key: str, batch: list[tuple[int, bytes]], count: int) -> None:
    texts = [stock_token(key, plaintext, time, count) for time, plaintext in batch]
    tokens = fernet_batch.decode(texts, count)
    assert [int.from_bytes(token[1:9], "big") for token in tokens] == [time for time, _ in batch]
    assert fernet_batch.open_tokens(key, tokens) == [plaintext for _, plaintext in batch]
    assert fernet_batch.open_tokens(FOREIGN, tokens) == [None] * len(batch)


def test_a_signature_that_the_library_would_not_make_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fernet_batch, "MASKS", fernet_batch.MASKS[::-1])
    with pytest.raises(KeyturnError, match="not the HMAC-SHA256"):
        fernet_batch.seal(OLD, [bytes(8)], [b"access-x"], 1)


@pytest.mark.parametrize("count", [1, 2])
def test_plaintexts_of_several_lengths_that_fill_as_many_blocks_make_one_batch(count: int) -> None:
    plaintexts = [b"x" * length for length in range(32, 48)]
    texts = fernet_batch.seal(OLD, [bytes(8)] * len(plaintexts), plaintexts, count)
    tokens = fernet_batch.decode(texts, count)
    assert [Fernet(OLD).decrypt(base64.urlsafe_b64encode(token)) for token in tokens] == plaintexts
    assert fernet_batch.open_tokens(OLD, tokens) == plaintexts


def test_no_iv_comes_twice() -> None:
    tokens = fernet_batch.decode(fernet_batch.seal(OLD, [bytes(8)] * 2000, [b"the same"] * 2000, 1), 1)
    assert len({token[9:25] for token in tokens}) == 2000
    assert len({token[25:41] for token in tokens}) == 2000


@pytest.mark.parametrize("length", range(49))
def test_every_padding(length: int) -> None:
    plaintext = bytes(range(length))
    (text,) = fernet_batch.seal(OLD, [bytes(8)], [plaintext], 1)
    assert Fernet(OLD).decrypt(text) == plaintext
    assert fernet_batch.open_tokens(OLD, fernet_batch.decode([text], 1)) == [plaintext]


def test_a_bad_padding_under_a_good_signature_is_not_opened() -> None:
    """Only who holds the key can make one, and stock Fernet refuses it."""
    from cryptography.hazmat.primitives import hashes, hmac
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    raw = base64.urlsafe_b64decode(OLD)
    for block in (b"x" * 15 + b"\x00", b"x" * 15 + b"\x11", b"x" * 14 + b"\x01\x02", b"x" * 16):
        encryptor = Cipher(algorithms.AES(raw[16:]), modes.CBC(bytes(16))).encryptor()
        body = b"\x80" + bytes(8) + bytes(16) + encryptor.update(block)
        signature = hmac.HMAC(raw[:16], hashes.SHA256())
        signature.update(body)
        token = body + signature.finalize()
        with pytest.raises(InvalidToken):
            Fernet(OLD).decrypt(base64.urlsafe_b64encode(token))
        assert fernet_batch.open_tokens(OLD, [token]) == [None]


@pytest.mark.parametrize("size", [0, 1, 56, 57, 72, 74, 88, 90])
def test_what_has_not_the_length_of_a_token_is_not_opened(size: int) -> None:
    assert fernet_batch.open_tokens(OLD, [bytes([0x80]) * size]) == [None]


def tampered_everywhere(text: bytes) -> list[bytes]:
    """``text`` with each character replaced by its neighbour in the alphabet, one at a time."""
    found = []
    for place, character in enumerate(text.decode()):
        other = ALPHABET[(ALPHABET.index(character) + 1) % 64] if character in ALPHABET else "A"
        found.append(text[:place] + other.encode() + text[place + 1 :])
    return found


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("length", [0, 5, 15, 16, 54])
def test_a_batch_accepts_no_tampered_text_that_stock_fernet_refuses(length: int, count: int) -> None:
    for text in tampered_everywhere(stock_token(OLD, b"x" * length, 1_700_000_000, count)):
        try:
            token = base64.urlsafe_b64decode(text) if count == 2 else text
            stock: bytes | None = Fernet(OLD).decrypt(token)
        except (InvalidToken, ValueError):
            stock = None
        try:
            (mine,) = fernet_batch.open_tokens(OLD, fernet_batch.decode([text], count))
        except Irregular:
            continue  # stock Fernet is asked
        assert mine == stock


@given(st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=4), layers)
def test_what_is_decoded_is_what_the_library_decodes(texts: list[bytes], count: int) -> None:
    try:
        decoded = fernet_batch.decode(texts, count)
    except Irregular:
        return
    for text, record in zip(texts, decoded, strict=True):
        for _ in range(count):
            text = base64.urlsafe_b64decode(text)
        assert record == text


# -- whole pages -----------------------------------------------------------------------------------------------------

Change = Callable[[bytes], bytes]
values = st.one_of(
    st.tuples(st.sampled_from(["old", "new", "foreign"]), st.sampled_from([50, 54]), layers, st.booleans()),
    st.sampled_from([None, "", b"", 7, 1.5, "access-plain", b"access-plain", "é", "gAAAAA", "Z0FBQUFB" + "x" * 212]),
)


def made(value: Any) -> Stored:
    """A stored value of the strategy ``values``."""
    if not isinstance(value, tuple):
        return value
    side, length, count, as_text = value
    key = {"old": OLD, "new": NEW, "foreign": FOREIGN}[side]
    text = stock_token(key, b"access-".ljust(length, b"x"), 1_700_000_000, count)
    return text.decode() if as_text else text


def stock_pages(turner: Turner, page: list[Stored]) -> list[Opened | str]:
    found: list[Opened | str] = []
    for stored in page:
        try:
            found.append(turner.open(stored))
        except Unreadable as reason:
            found.append(str(reason))
    return found


def check_page(page: list[Stored], shape: str = "^access-") -> None:
    """A page is opened and turned as stock Fernet does it row by row."""
    turner = Turner(STOCK, shape)  # type: ignore[arg-type]
    pages = Pages(turner, KEYS)
    expected = stock_pages(turner, page)
    for likely in ("old", "new"):
        found = pages.open(page, likely)  # type: ignore[arg-type]
        assert [str(opened) if isinstance(opened, Unreadable) else opened for opened in found] == expected
    rows = [(stored, opened) for stored, opened in zip(page, found, strict=True) if not isinstance(opened, Unreadable)]
    for to in ("old", "new"):
        turned = pages.turn(rows, to)  # type: ignore[arg-type]
        for (stored, opened), value in zip(rows, turned, strict=True):
            again = turner.open(value)
            assert type(value) is type(stored)
            assert again == opened._replace(side=opened.side and to)  # type: ignore[arg-type]
            assert (value == stored) == (opened.side in (None, to))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fernet_pages, "BATCH_ROWS", 2)


@pytest.mark.usefixtures("small_batches")
@settings(max_examples=60)
@given(st.lists(values, max_size=20))
def test_a_page_is_opened_and_turned_as_row_by_row(page: list[Any]) -> None:
    check_page([made(value) for value in page])


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("count", [1, 2])
def test_one_bad_row_leaves_the_others_as_they_are(count: int) -> None:
    good = [made(("old", 54, count, True)) for _ in range(3)]
    assert isinstance(good[0], str)
    for bad in tampered_everywhere(good[0].encode()):
        check_page([*good, bad.decode(), made(("new", 54, count, True))])


@pytest.mark.usefixtures("small_batches")
def test_a_token_in_a_token_and_another_shape_are_refused_in_a_batch() -> None:
    inner = Fernet(OLD).encrypt(b"access-x")
    for plaintext in (inner, base64.urlsafe_b64encode(inner), b"other"):
        bad: list[Stored] = [stock_token(OLD, plaintext, 1, 2).decode() for _ in range(4)]
        check_page(bad)
        check_page(bad, shape="")


@pytest.mark.usefixtures("small_batches")
def test_a_time_that_no_token_of_this_century_has_is_treated_as_row_by_row() -> None:
    for time, count in itertools.product((2**32, 2**36 - 1, 2**36, 2**63), (1, 2)):
        check_page([stock_token(OLD, b"access-x", time, count).decode() for _ in range(3)])


def test_small_pages_are_for_stock_fernet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fernet_batch, "open_tokens", None)
    monkeypatch.setattr(fernet_batch, "seal", None)
    check_page([made(("old", 54, 2, True))] * (fernet_pages.BATCH_ROWS - 1))


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("rows", [1, 3], ids=["row by row", "a batch"])
def test_a_ciphertext_that_does_not_open_again_is_never_used(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that seals something else, or a batch that mixes two rows up."""
    pages = Pages(Turner(STOCK, "^access-"), KEYS)  # type: ignore[arg-type]
    page = [stock_token(OLD, f"access-{number}".encode(), 1, 2) for number in range(rows)]
    opened = [
        (stored, found) for stored, found in zip(page, pages.open(page), strict=True) if isinstance(found, Opened)
    ]
    seal, wrong = fernet_batch.seal, stock_token(NEW, b"access-another", 1, 2)
    monkeypatch.setattr(fernet_batch, "seal", lambda *arguments: seal(*arguments)[::-1])
    monkeypatch.setattr(Turner, "turn", lambda *arguments: wrong)
    monkeypatch.setattr(Turner, "encrypt", lambda *arguments: wrong)
    with pytest.raises(KeyturnError, match="did not open again"):
        pages.turn(opened, "new")
    with pytest.raises(KeyturnError, match="did not open again"):
        pages.encrypt("access-plain", Opened("plaintext", None, b"", b"access-plain"), "new")
