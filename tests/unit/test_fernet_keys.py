"""A value that is no Fernet key by itself: the rule that makes one of it is data, and rows are turned under what it makes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from dotenv import dotenv_values
from keyturn.base.errors import KeyturnError
from keyturn.base.generate import GENERATORS
from keyturn.ground.rows.fernet_keys import fernet_key
from keyturn.host.phases import commit, stage, turn
from keyturn.inputs import catalogue
from keyturn.inputs.meaning import check_meaning
from keyturn.inputs.validation import services, validated
from support.faults import Host
from support.lab import KEY
from support.lab import catalogue as shipped
from trader_ai.token_store import TokenStore
from unit.test_catalogue import SERVICES

PBKDF2 = {"rule": "pbkdf2_sha256", "salt": "of-the-shop", "iterations": 1000}


def by_cryptography(rule: dict[str, Any], value: str) -> bytes:
    """The key as an application makes it, by the library that applications use."""
    if rule["rule"] == "hex":
        return base64.urlsafe_b64encode(bytes.fromhex(value))
    if rule["rule"] == "sha256":
        return base64.urlsafe_b64encode(hashlib.sha256(value.encode()).digest())
    made = PBKDF2HMAC(hashes.SHA256(), 32, rule["salt"].encode(), rule["iterations"]).derive(value.encode())
    return base64.urlsafe_b64encode(made)


CASES = [({"rule": "hex"}, "hex"), ({"rule": "sha256"}, "password"), (PBKDF2, "token_urlsafe")]


@pytest.mark.parametrize(("rule", "generator"), CASES, ids=lambda case: case if isinstance(case, str) else case["rule"])
def test_a_key_is_what_the_application_s_library_makes(rule: dict[str, Any], generator: str) -> None:
    value = GENERATORS[generator]()
    key = fernet_key(rule, "K", value)
    assert key.encode() == by_cryptography(rule, value)
    assert Fernet(key).decrypt(Fernet(by_cryptography(rule, value)).encrypt(b"x")) == b"x"
    assert fernet_key(None, "K", value) == value


@pytest.mark.parametrize("value", ["", "a" * 63, "g" * 64, "a" * 64 + ";" + "b" * 64, "A" * 43 + "="])
def test_what_is_no_key_is_named_and_not_shown(value: str) -> None:
    with pytest.raises(
        KeyturnError, match=r"^K is no key: the catalogue wants 64 hexadecimal digits, it has \d+ characters$"
    ) as refused:
        fernet_key({"rule": "hex"}, "K", value)
    assert not value or value not in str(refused.value)


@pytest.fixture(params=CASES, ids=["hex", "sha256", "pbkdf2"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Host, dict[str, Any]]]:
    """The stand-in with rows under a key that is made of the value of its `.env`."""
    rule, generator = request.param
    entry = shipped()["db_key"] | {"max_age_days": 90, "source": {"kind": "generated", "generator": generator}}
    entry["migration"] = entry["migration"] | {"key": rule}
    made = Host(tmp_path / "host", entry=entry)
    value = GENERATORS[generator]()
    store = TokenStore(made.lab.database, made.lab.key())
    tokens = {item.item_id: item.access_token for item in store.all_items()}
    cipher = Fernet(by_cryptography(rule, value))
    with contextlib.closing(sqlite3.connect(made.lab.database)) as connection, connection:
        for item, token in tokens.items():
            if token:
                stored = base64.urlsafe_b64encode(cipher.encrypt(token.encode())).decode()
                connection.execute("UPDATE plaid_items SET access_token = ? WHERE item_id = ?", (stored, item))
    text = made.lab.env.read_text()
    made.lab.env.write_text(re.sub(rf"(?m)^{KEY}=.*$", f"{KEY}={value}", text))
    yield made, rule
    made.stop()


def test_rows_are_turned_under_what_the_rule_makes(host: tuple[Host, dict[str, Any]]) -> None:
    made, rule = host
    old = str(dotenv_values(made.lab.env)[KEY])

    def read(value: str) -> dict[str, str]:
        store = TokenStore(made.lab.database, by_cryptography(rule, value).decode())
        return {item.item_id: item.access_token for item in store.all_items()}

    before = read(old)
    stage.run(made.rotation())
    turn.run(made.rotation(), "proved")
    commit.run(made.rotation(), "both")
    new = str(dotenv_values(made.lab.env)[KEY])
    assert new != old and read(new) == before
    (journal,) = made.lab.journals()
    assert by_cryptography(rule, new).decode() not in str(journal)


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"rule": "md5"}, "password", "must be one of: hex, pbkdf2_sha256, sha256, got: md5"),
    ({"rule": "pbkdf2_sha256"}, "password", "missing: salt, iterations"),
    ({"rule": "hex"}, "fernet", "migration fernet_sqlite needs the generator hex and exactly one variable"),
]


@pytest.mark.parametrize(("rule", "generator", "said"), WRONG)
def test_a_rule_that_cannot_be_meant_is_refused(rule: dict[str, Any], generator: str, said: str) -> None:
    entry = shipped()["db_key"] | {"max_age_days": 90, "source": {"kind": "generated", "generator": generator}}
    entry["migration"] = entry["migration"] | {"key": rule}
    with pytest.raises(KeyturnError, match=said):
        check_meaning("db_key", validated("keyturn_secrets.db_key", catalogue.ENTRY, entry), services(SERVICES))
