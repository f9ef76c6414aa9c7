"""Tokens made without a library are those that the library makes and takes. PyJWT is the oracle."""

from __future__ import annotations

import time

import jwt as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyturn.base import jwt

SECRET = "0123456789abcdef0123456789abcdef"


@given(st.text(st.characters(codec="utf-8"), min_size=32))
def test_the_oracle_takes_what_is_minted(secret: str) -> None:
    before = int(time.time())
    claims = oracle.decode(jwt.mint(secret), secret, algorithms=["HS256"])
    assert claims["sub"] == jwt.SUBJECT
    assert claims["exp"] - claims["iat"] == jwt.LIFE_SECONDS
    assert before <= claims["iat"] <= time.time()


def test_another_secret_is_refused() -> None:
    with pytest.raises(oracle.InvalidSignatureError):
        oracle.decode(jwt.mint(SECRET), SECRET + "x", algorithms=["HS256"])


def test_a_signature_is_recognised() -> None:
    token = oracle.encode({"sub": "someone"}, SECRET, algorithm="HS256")
    assert jwt.signed_with(token, SECRET)
    assert not jwt.signed_with(token, SECRET + "x")
    assert not jwt.signed_with("no token", SECRET)
