"""A role that the store turns by itself, and the entries that may name one."""

from __future__ import annotations

from typing import Any, cast

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.inputs import catalogue
from keyturn.inputs.meaning import check_meaning
from keyturn.inputs.validation import services, validated
from keyturn.stores import static_role
from keyturn.stores.openbao import OpenBao
from support.lab import optional

FIRST, SECOND = "canary-of-the-first", "canary-of-the-second"


class Engine:
    """The secrets engine of a store, with one role; ``mood`` is what goes wrong."""

    where = "OpenBao at https://x"

    def __init__(self, mood: str = "") -> None:
        self.mood, self.password, self.turns = mood, FIRST, 0

    def ask(self, path: str) -> dict[str, object]:
        assert path == "a/database/static-creds/shop"
        return {} if self.mood == "unknown" else {"username": "shop", "password": self.password}

    def tell(self, path: str) -> None:
        assert path == "a/database/rotate-role/shop"
        self.turns += 1
        if self.mood != "idle":
            self.password = SECOND
        if self.mood == "lost":
            raise KeyturnError("OpenBao gives no answer")


def turned(engine: Engine) -> tuple[str, str]:
    return static_role.turned(cast(OpenBao, engine), "a/database/shop")


def test_a_role_is_turned_whatever_the_hosts_say_that_they_hold() -> None:
    engine = Engine()
    assert (turned(engine), engine.turns) == (("shop", SECOND), 1)


@pytest.mark.parametrize(
    ("mood", "message"),
    [
        ("unknown", "no user and password at a/database/static-creds/shop: make the static role"),
        ("idle", "has turned the role a/database/shop, and gives the password of before"),
        ("lost", "gives no answer"),
    ],
)
def test_a_role_that_cannot_be_turned_is_told_and_no_value(mood: str, message: str) -> None:
    with pytest.raises(KeyturnError, match=message) as error:
        turned(Engine(mood))
    assert "canary" not in str(error.value)


SERVICE = {"manager": "script", "start": "./start", "stop": "./stop", "health_url": "http://127.0.0.1/health"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, ""),
        ({"overlap": "both"}, "goes with source supplied, overlap none"),
        ({"issuer": optional()["db_password"]["issuer"]}, "an issuer|no issuer"),
        ({"provider": optional()["slack_webhook"]["provider"]}, "a provider that is asked with a password"),
        ({"source": {"static_role": "shop"}}, "must be MOUNT/NAME"),
        ({"source": {"static_role": "database/../sys/shop"}}, "must be MOUNT/NAME"),
    ],
)
def test_an_entry_with_a_static_role(change: dict[str, Any], message: str) -> None:
    source = {"kind": "supplied", "steps": ["x"], "static_role": "database/shop"} | change.get("source", {})
    entry = optional()["db_password"] | {"issuer": None} | change | {"source": source}
    given = validated("x", catalogue.ENTRY, entry)
    if not message:
        check_meaning("x", given, services({"backend": SERVICE}))
        return
    with pytest.raises(KeyturnError, match=message):
        check_meaning("x", given, services({"backend": SERVICE}))
