"""The forms of a stored token, with stock Fernet and the application's own reader as judges."""

from __future__ import annotations

import base64
import json
import string

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from keyturn.base.errors import KeyturnError
from keyturn.ground.rows import fernet_forms
from keyturn.ground.rows.fernet_forms import Opened, Stored, Turner, Unreadable
from trader_ai.token_encryption import TokenEncryption

OLD_KEY, NEW_KEY = Fernet.generate_key().decode(), Fernet.generate_key().decode()
OLD, NEW, FOREIGN = Fernet(OLD_KEY), Fernet(NEW_KEY), Fernet(Fernet.generate_key())
TURNER = Turner({"old": OLD, "new": NEW}, "^access-")
ANY_SHAPE = Turner({"old": OLD, "new": NEW}, "")
LAYERS = {"one_layer": 0, "two_layer": 1}


secrets_ = st.text(min_size=1, max_size=300).map(lambda text: f"access-{text}")
times = st.integers(min_value=0, max_value=2**32 - 1)
token_characters = string.ascii_letters + string.digits + "-_="


def wrap(
    cipher: Fernet, plaintext: str | bytes, form: str, as_text: bool = True, time: int | None = None
) -> str | bytes:
    """``plaintext`` as an application stores it."""
    content = plaintext.encode() if isinstance(plaintext, str) else plaintext
    token = cipher.encrypt(content) if time is None else cipher.encrypt_at_time(content, time)
    if form == "two_layer":
        token = base64.urlsafe_b64encode(token)
    return token.decode() if as_text else token


def unwrap(cipher: Fernet, stored: Stored, form: str) -> tuple[bytes, int]:
    """The plaintext and the time of ``stored``, by stock Fernet alone."""
    assert isinstance(stored, str | bytes)
    token = stored.encode() if isinstance(stored, str) else stored
    if form == "two_layer":
        token = base64.urlsafe_b64decode(token)
    return cipher.decrypt(token), cipher.extract_timestamp(token)


@given(secrets_, st.sampled_from(list(LAYERS)), st.booleans(), times)
def test_a_token_turns_in_its_form_type_and_time_and_back(secret: str, form: str, as_text: bool, time: int) -> None:
    stored = wrap(OLD, secret, form, as_text, time)
    opened = TURNER.open(stored)
    assert (opened.form, opened.side, opened.plaintext) == (form, "old", secret.encode())

    turned = TURNER.turn(stored, opened, "new")
    assert type(turned) is type(stored) and turned != stored
    assert unwrap(NEW, turned, form) == (secret.encode(), time)
    again = TURNER.open(turned)
    assert (again.form, again.side, again.plaintext) == (form, "new", secret.encode())
    assert TURNER.turn(turned, again, "new") is turned

    back = TURNER.turn(turned, again, "old")
    assert type(back) is type(stored)
    assert unwrap(OLD, back, form) == (secret.encode(), time)


@given(secrets_)
def test_the_application_reads_what_was_turned_and_what_was_encrypted(secret: str) -> None:
    application = TokenEncryption(NEW_KEY)
    stored = TokenEncryption(OLD_KEY).encrypt(secret)
    turned = TURNER.turn(stored, TURNER.open(stored), "new")
    encrypted = TURNER.encrypt(secret, TURNER.open(secret), "new")
    assert isinstance(turned, str) and isinstance(encrypted, str)
    assert application.decrypt(turned) == application.decrypt(encrypted) == secret
    assert turned.startswith("Z0FBQUFB") and len(turned) == len(stored) == len(encrypted)


def test_the_documented_length() -> None:
    stored = wrap(OLD, "access-sandbox-01234567-89ab-cdef-0123-456789abcdef", "two_layer")
    turned = TURNER.turn(stored, TURNER.open(stored), "new")
    assert isinstance(turned, str) and len(turned) == 220


@pytest.mark.parametrize("stored", [None, "", b""])
def test_nothing_stays_nothing(stored: Stored) -> None:
    opened = TURNER.open(stored)
    assert opened == Opened("empty", None, b"", b"")
    assert TURNER.turn(stored, opened, "new") is stored


@pytest.mark.parametrize("stored", ["access-sandbox-1", b"access-sandbox-1"])
def test_a_plaintext_stays_or_becomes_two_layers_of_its_type(stored: str | bytes) -> None:
    opened = TURNER.open(stored)
    assert (opened.form, opened.side) == ("plaintext", None)
    assert TURNER.turn(stored, opened, "new") is stored
    encrypted = TURNER.encrypt(stored, opened, "new")
    assert type(encrypted) is type(stored)
    assert unwrap(NEW, encrypted, "two_layer")[0] == b"access-sandbox-1"


REFUSED = {
    "number": (7, "is a number"),
    "zero": (0, "is a number"),
    "real": (1.5, "is a number"),
    "other text": ("hello", "neither a token nor"),
    "shape further on": ("no-access-1", "neither a token nor"),
    "invalid UTF-8": ("access-\udcff", "not valid UTF-8"),
    "another key": (wrap(FOREIGN, "access-1", "one_layer"), "neither the old nor the new"),
    "another key, two layers": (wrap(FOREIGN, "access-1", "two_layer"), "neither the old nor the new"),
    "wrapped twice": (wrap(OLD, wrap(OLD, "access-1", "one_layer"), "one_layer"), "token inside a token"),
    "wrapped twice, both layers": (wrap(OLD, wrap(NEW, "access-1", "two_layer"), "two_layer"), "token inside a token"),
    "three layers": (base64.urlsafe_b64encode(wrap(OLD, "access-1", "two_layer", False)), "neither a token nor"),
    "wrong shape": (wrap(OLD, "link-1", "two_layer"), "under the old value, but its plaintext"),
    "wrong shape, new": (wrap(NEW, "link-1", "one_layer"), "under the new value, but its plaintext"),
    "cut outer layer": (str(wrap(OLD, "access-1", "two_layer"))[:-1], "outer layer cannot be decoded"),
    "cut inner layer": (str(wrap(OLD, "access-1", "one_layer"))[:-4], "neither the old nor the new"),
    "no padding": (str(wrap(OLD, "access-1", "two_layer")).rstrip("="), "outer layer cannot be decoded"),
}


@pytest.mark.parametrize(("stored", "why"), REFUSED.values(), ids=REFUSED)
def test_what_may_not_be_touched_is_refused_without_its_content(stored: Stored, why: str) -> None:
    with pytest.raises(Unreadable, match=why) as refused:
        TURNER.open(stored)
    assert str(stored)[:12] not in str(refused.value) or isinstance(stored, int | float)


def test_a_token_in_a_token_is_refused_whatever_the_shape() -> None:
    with pytest.raises(Unreadable, match="token inside a token"):
        ANY_SHAPE.open(wrap(OLD, wrap(OLD, "access-1", "two_layer"), "two_layer"))


def test_without_a_new_value_the_message_does_not_speak_of_one() -> None:
    with pytest.raises(Unreadable, match="the current one does not open it"):
        Turner({"old": OLD}, "^access-").open(wrap(NEW, "access-1", "one_layer"))


@given(st.data())
def test_a_tampered_token_is_refused(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(list(LAYERS)))
    token = bytearray(base64.urlsafe_b64decode(wrap(OLD, "access-" + data.draw(st.text(max_size=40)), "one_layer")))
    token[data.draw(st.integers(0, len(token) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    stored = base64.urlsafe_b64encode(token)
    with pytest.raises(Unreadable):
        TURNER.open(base64.urlsafe_b64encode(stored) if form == "two_layer" else stored)


@given(st.one_of(st.text(), st.binary(), st.integers(), st.floats(), st.text(token_characters).map("gAAAAA".__add__)))
def test_no_garbage_opens_and_none_raises_anything_else(stored: Stored) -> None:
    try:
        opened = TURNER.open(stored)
    except Unreadable:
        return
    assert opened.side is None and (opened.form == "empty" or opened.plaintext.startswith(b"access-"))


@pytest.mark.parametrize(
    "key",
    ["", "short", "=" * 44, "é" * 44, "your_key_here", OLD_KEY[:-2], OLD_KEY[:-1] + "A"],
    ids=["none", "short", "padding", "not ASCII", "placeholder", "cut", "too long"],
)
def test_a_malformed_key_is_named_and_not_shown(key: str) -> None:
    with pytest.raises(KeyturnError, match=r"^DATABASE_ENCRYPTION_KEY is not a Fernet key") as refused:
        fernet_forms.fernet("DATABASE_ENCRYPTION_KEY", key)
    assert not key or key not in str(refused.value)


def test_a_malformed_shape_is_named() -> None:
    with pytest.raises(KeyturnError, match="no regular expression"):
        Turner({"old": OLD}, "access-[")


# -- tokens where none were declared ---------------------------------------------------------------------------------


def found_in(content: bytes) -> list[bytes]:
    """The plaintexts of the tokens under the old key that the scan finds."""
    return [OLD.decrypt(token) for token in fernet_forms.tokens_in(content) if fernet_forms.opens(OLD, token)]


def test_the_sizes_below_give_every_padding() -> None:
    lengths = {len(str(wrap(OLD, "x" * size, form)).rstrip("=")) % 4 for form in LAYERS for size in range(0, 112, 16)}
    assert lengths == {0, 2, 3}


@pytest.mark.parametrize(
    "behind", ["", '"', "x", "2025-01-01", "a=", "=", "==", "name=value", "A" * 37, "A" * 37 + "="]
)
@pytest.mark.parametrize("stripped", [False, True], ids=["padded", "stripped"])
@pytest.mark.parametrize("form", LAYERS)
@pytest.mark.parametrize("size", range(0, 112, 16))
def test_a_token_is_found_whatever_follows(size: int, form: str, stripped: bool, behind: str) -> None:
    token = str(wrap(OLD, "x" * size, form))
    assert found_in((token.rstrip("=" if stripped else "") + behind).encode()) == [b"x" * size]


@given(
    st.lists(
        st.tuples(st.binary(max_size=90), st.sampled_from(list(LAYERS)), st.text(token_characters, max_size=90)),
        max_size=4,
    ),
    st.binary(max_size=60),
)
def test_tokens_are_found_in_any_surroundings(cells: list[tuple[bytes, str, str]], before: bytes) -> None:
    """Also one directly behind the other, as two columns of one row stand in a database file."""
    content = before + b"".join(wrap(OLD, plain, form, False) + behind.encode() for plain, form, behind in cells)
    assert sorted(found_in(content)) == sorted(plain for plain, _, _ in cells)


@given(st.binary(max_size=200), st.sampled_from(list(LAYERS)))
def test_tokens_are_found_in_json(plaintext: bytes, form: str) -> None:
    document = json.dumps({"a": [{"token": wrap(OLD, plaintext, form)}], "note": "gAAAAA"})
    assert found_in(document.encode()) == [plaintext]


@pytest.mark.parametrize("form", LAYERS)
def test_a_long_token_is_found(form: str) -> None:
    document = b"x" * 3_000_001
    assert found_in(b'{"document": "' + wrap(OLD, document, form, False) + b'"}') == [document]


@pytest.mark.parametrize(
    "text",
    [b"gAAAAA" * 2_000, b"Z0FBQUFB" * 2_000, b"gAAAAA" + b"A" * 2_000_000],
    ids=["one layer", "two layers", "long"],
)
def test_text_that_only_looks_like_tokens_is_bounded_work(text: bytes) -> None:
    """A candidate costs up to 4 KiB of HMAC: no text may cost the square of its length."""
    starts = text.count(b"gAAAAA") + text.count(b"Z0FBQUFB")
    assert sum(len(token) <= 4096 for token in fernet_forms.tokens_in(text)) <= 192 * starts


@given(st.binary(max_size=2_000))
def test_a_foreign_token_is_reported_and_does_not_open(plaintext: bytes) -> None:
    tokens = list(fernet_forms.tokens_in(wrap(FOREIGN, plaintext, "two_layer", False)))
    assert any(fernet_forms.opens(FOREIGN, token) for token in tokens)
    assert not any(fernet_forms.opens(OLD, token) for token in tokens)
