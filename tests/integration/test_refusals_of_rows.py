"""What ``stage`` refuses of the rows: each is named by its key, never by its content."""

from __future__ import annotations

import base64
import contextlib
import sqlite3
from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet
from support.lab import Lab
from support.refusals import check_refused, write

TOKEN = b"access-production-0"


def sealed(key: str, plaintext: bytes = TOKEN) -> bytes:
    return Fernet(key).encrypt(plaintext)


def two_layers(token: bytes) -> str:
    return base64.urlsafe_b64encode(token).decode()


ROWS: dict[str, tuple[Callable[[str], str], str]] = {
    "under another key": (lambda key: two_layers(sealed(Fernet.generate_key().decode())), "opens under no value"),
    "wrapped twice": (lambda key: two_layers(sealed(key, sealed(key))), "is a token inside a token"),
    "wrapped twice, in base64": (
        lambda key: two_layers(sealed(key, two_layers(sealed(key)).encode())),
        "is a token inside a token",
    ),
    "another plaintext": (lambda key: two_layers(sealed(key, b"public-1")), "has not the declared shape"),
    "rubbish": (lambda key: "rubbish", "is neither a token nor of the declared shape of a plaintext"),
    "a token and more": (lambda key: two_layers(sealed(key)) + "=more", "begins with a token of this key, and more"),
    "damaged": (lambda key: two_layers(sealed(key))[:-9], "'item-00002'"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_row_that_cannot_be_turned_is_named(host: Lab, case: str) -> None:
    make, text = ROWS[case]
    write(host, make(host.key()))
    message = check_refused(host, ["1 rows cannot be turned, nothing was changed", "'item-00002'", text])
    assert "rubbish" not in message


def test_ten_rows_are_named_and_the_others_counted(host: Lab) -> None:
    write(host, *["rubbish"] * 11)
    message = check_refused(host, ["11 rows cannot be turned", "'item-00011'", "; and 1 more"])
    assert "'item-00012'" not in message


def test_tokens_where_none_are_declared_are_refused_if_they_open(host: Lab) -> None:
    write(host, sealed(host.key()).decode(), column="institution_name")
    check_refused(host, ["plaid_items.institution_name", "add these columns to the migration"])


def test_a_search_table_with_tokens_is_refused_by_name(host: Lab) -> None:
    with contextlib.closing(sqlite3.connect(host.database)) as connection:
        connection.execute("CREATE VIRTUAL TABLE search USING fts5(item_id, access_token)")
        connection.execute("INSERT INTO search SELECT item_id, access_token FROM plaid_items")
        connection.commit()
    check_refused(host, ["keeps tokens of this key in search.access_token, search_content.c1, which nothing turns"])


def test_tokens_that_nobody_opens_are_a_finding(host: Lab) -> None:
    write(host, sealed(Fernet.generate_key().decode()).decode(), column="institution_name")
    found = host.step("stage")["rotation"]["findings"]
    assert "plaid_items.institution_name holds Fernet-like text that neither value opens" in found


def test_a_table_without_rows_is_refused_unless_it_is_allowed_by_name(host: Lab) -> None:
    with contextlib.closing(sqlite3.connect(host.database)) as connection:
        connection.execute("DELETE FROM plaid_items")
        connection.commit()
    check_refused(host, ["table plaid_items has no rows", "set keyturn_allow_empty_tables: [plaid_items]"])
    check_refused(host, ["table plaid_items has no rows"], allow_empty_tables=["bank_accounts"])
    assert host.step("stage", rotation=host.rotation(allow_empty_tables=["plaid_items"]))["changed"]
