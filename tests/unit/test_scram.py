"""SCRAM-SHA-256 by its published example, and against whoever is not what it pretends to be."""

from __future__ import annotations

import base64

import pytest
from keyturn.base import scram

# RFC 7677, section 3
NONCE, SERVER_NONCE = "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CHALLENGE = f"r={NONCE}{SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
PROOF = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SIGNATURE = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def exchange(nonce: str = NONCE, password: str = "pencil") -> scram.Exchange:
    found = scram.Exchange(password)
    found._nonce, found._bare = nonce, f"n=user,r={nonce}"
    return found


def test_the_example_of_the_standard() -> None:
    ours = exchange()
    assert ours.final(CHALLENGE.encode()).decode() == f"c=biws,r={NONCE}{SERVER_NONCE},p={PROOF}"
    ours.check(f"v={SIGNATURE}".encode())


@pytest.mark.parametrize("said", ["v=" + SIGNATURE.swapcase(), "v=", "", "e=invalid-proof", "\xe9"])
def test_a_server_that_does_not_know_the_password_is_none(said: str) -> None:
    ours = exchange()
    ours.final(CHALLENGE.encode())
    with pytest.raises(scram.Unfit):
        ours.check(said.encode("latin-1"))


@pytest.mark.parametrize(
    "challenge",
    [
        CHALLENGE.replace(NONCE, "another"),
        CHALLENGE.replace(SERVER_NONCE, ""),
        CHALLENGE.replace("i=4096", "i=0"),
        CHALLENGE.replace("i=4096", "i=4095"),
        CHALLENGE.replace("i=4096", "i=1000000000"),
        CHALLENGE.replace("i=4096", "i=x"),
        CHALLENGE.replace("s=W22", "s=%%%"),
        "",
    ],
)
def test_a_challenge_that_is_none_gets_no_answer(challenge: str) -> None:
    with pytest.raises(scram.Unfit):
        exchange().final(challenge.encode())


def test_a_verifier_has_the_keys_of_the_password_and_another_salt_each_time() -> None:
    first, second = scram.verifier("pencil"), scram.verifier("pencil")
    assert first != second
    kind, parameters, keys = first.split("$")
    iterations, salt = parameters.split(":")
    made = scram.keys("pencil", base64.b64decode(salt), int(iterations))
    assert (kind, iterations, len(base64.b64decode(salt))) == ("SCRAM-SHA-256", "4096", 16)
    assert keys == ":".join(base64.b64encode(key).decode() for key in (made.stored, made.server))


@pytest.mark.parametrize(
    ("password", "plain"), [("a b~", True), ("", False), ("é", False), ("a\n", False), ("\x7f", False)]
)
def test_only_what_every_implementation_takes_alike_is_plain(password: str, plain: bool) -> None:
    assert scram.plain(password) is plain
