"""What ``stage`` refuses on a host: with a name and a remedy, before anything has changed.

The module runs by itself: the playbook adds nothing but its start (test_refusals_of_a_run.py has some with it).
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from dotenv import dotenv_values
from support.evidence import everything
from support.lab import KEY, Lab, free_port

TOKEN = b"access-production-0"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("host"))
    lab.start()
    yield lab
    lab.stop()


@pytest.fixture
def lab(running: Lab) -> Iterator[Lab]:
    """The running lab, put back afterwards in place: its service stays in its folder."""
    env, database = running.env.read_bytes(), running.database.read_bytes()
    yield running
    for path in (running.env, running.database):
        path.unlink(missing_ok=True)
    running.env.write_bytes(env)
    running.env.chmod(0o600)
    running.database.write_bytes(database)
    shutil.rmtree(running.state, ignore_errors=True)
    (running.app / "other.env").unlink(missing_ok=True)


def test_a_whole_host_is_staged(lab: Lab) -> None:
    assert lab.step("stage")["changed"]


# -- the environment file ------------------------------------------------------------------------------------------


def set_key(value: str) -> Callable[[Lab], None]:
    def change(lab: Lab) -> None:
        lines = lab.env.read_text().splitlines(keepends=True)
        lab.env.write_text("".join(f"{KEY}={value}\n" if line.startswith(KEY) else line for line in lines))

    return change


def drop_key(lab: Lab) -> None:
    lines = lab.env.read_text().splitlines(keepends=True)
    lab.env.write_text("".join(line for line in lines if not line.startswith(KEY)))


def dangle(lab: Lab) -> None:
    lab.env.unlink()
    lab.env.symlink_to("nowhere")


def make_folder(lab: Lab) -> None:
    lab.env.unlink()
    lab.env.mkdir()


def append(content: bytes) -> Callable[[Lab], Any]:
    return lambda lab: lab.env.write_bytes(lab.env.read_bytes() + content)


ENV = {
    "no file": (lambda lab: lab.env.unlink(), [".env does not exist", "make it with the application's current values"]),
    "no line": (drop_key, [f"{KEY} is not set in", ".env", "add it with its current value"]),
    "empty": (set_key(""), [f"{KEY} is not set in", "add it with its current value"]),
    "malformed": (set_key("short"), [f"{KEY} is not a Fernet key", "44 characters", "it has 5 characters"]),
    "placeholder": (
        set_key("your_32_plus_char_encryption_key_here"),
        [f"{KEY} is not a Fernet key", f"{KEY} is still the template's placeholder"],
    ),
    "refers": (set_key("${OTHER}"), [f"{KEY} on line", "refers to another variable", "write the value itself there"]),
    "not UTF-8": (append(b"A=\xff\n"), [".env: line", "is not UTF-8 text", "save the file as UTF-8"]),
    "hard link": (lambda lab: os.link(lab.env, lab.app / "other.env"), [".env has 2 hard links", "symbolic links"]),
    "dangling": (dangle, [".env: the symbolic link leads to nothing", "point it to the file"]),
}


@pytest.mark.parametrize("case", ENV)
def test_an_environment_file_that_cannot_be_turned_is_refused(lab: Lab, case: str) -> None:
    change, texts = ENV[case]
    change(lab)
    check_refused(lab, texts)


def test_a_folder_for_an_environment_file_is_refused(lab: Lab) -> None:
    make_folder(lab)
    try:
        check_refused(lab, [".env: this is not a regular file", "name the file that holds the values"])
    finally:
        lab.env.rmdir()


def test_another_key_in_the_environment_file_is_refused_by_the_rows(lab: Lab) -> None:
    set_key(Fernet.generate_key().decode())(lab)
    check_refused(lab, ["10 rows cannot be turned, nothing was changed", "'item-00001' opens under no value"])


# -- rows ----------------------------------------------------------------------------------------------------------


def write(lab: Lab, *stored: str, column: str = "access_token") -> None:
    with contextlib.closing(sqlite3.connect(lab.database)) as connection:
        for number, text in enumerate(stored, 2):
            item = f"item-{number:05d}"
            connection.execute(f"UPDATE plaid_items SET {column} = ? WHERE item_id = ?", (text, item))
        connection.commit()


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
    "damaged": (lambda key: two_layers(sealed(key))[:-9], "'item-00002'"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_row_that_cannot_be_turned_is_named(lab: Lab, case: str) -> None:
    make, text = ROWS[case]
    write(lab, make(lab.key()))
    message = check_refused(lab, ["1 rows cannot be turned, nothing was changed", "'item-00002'", text])
    assert "rubbish" not in message


def test_ten_rows_are_named_and_the_others_counted(lab: Lab) -> None:
    write(lab, *["rubbish"] * 11)
    message = check_refused(lab, ["11 rows cannot be turned", "'item-00011'", "; and 1 more"])
    assert "'item-00012'" not in message


def test_tokens_where_none_are_declared_are_refused_if_they_open(lab: Lab) -> None:
    write(lab, sealed(lab.key()).decode(), column="institution_name")
    check_refused(lab, ["plaid_items.institution_name", "add these columns to the migration"])


def test_tokens_that_nobody_opens_are_a_finding(lab: Lab) -> None:
    write(lab, sealed(Fernet.generate_key().decode()).decode(), column="institution_name")
    found = lab.step("stage")["rotation"]["findings"]
    assert "plaid_items.institution_name holds Fernet-like text that neither value opens" in found


def test_a_table_without_rows_is_refused_unless_it_is_allowed_by_name(lab: Lab) -> None:
    with contextlib.closing(sqlite3.connect(lab.database)) as connection:
        connection.execute("DELETE FROM plaid_items")
        connection.commit()
    check_refused(lab, ["table plaid_items has no rows", "set keyturn_allow_empty_tables: [plaid_items]"])
    check_refused(lab, ["table plaid_items has no rows"], allow_empty_tables=["bank_accounts"])
    assert lab.step("stage", rotation=lab.rotation(allow_empty_tables=["plaid_items"]))["changed"]


# -- the database, the state folder, the service -------------------------------------------------------------------


def declared(lab: Lab, **change: str) -> dict[str, Any]:
    entry = lab.rotation()["entry"]
    column = entry["migration"]["columns"][0] | change
    return entry | {"migration": entry["migration"] | {"columns": [column]}}


def test_a_missing_database_is_refused(lab: Lab) -> None:
    lab.database.unlink()
    check_refused(lab, [f"{lab.database} does not exist", "correct `database` of the catalogue's migration"])


def test_what_is_not_a_database_is_refused(lab: Lab) -> None:
    lab.database.write_text("not a database")
    check_refused(lab, [f"{lab.database} is not an SQLite database"])


def test_a_damaged_database_is_refused(lab: Lab) -> None:
    content = lab.database.read_bytes()
    lab.database.write_bytes(content[:4096] + b"\xff" * 4096 + content[8192:])
    check_refused(lab, [str(lab.database), "damaged; run `PRAGMA integrity_check`"])


def test_a_missing_table_or_column_is_refused(lab: Lab) -> None:
    texts = ["the database has no table items (it has: bank_accounts, bank_transactions, plaid_items)"]
    check_refused(lab, texts, entry=declared(lab, table="items"))
    for name in ("column", "key"):
        texts = ["table plaid_items has no column token (it has: item_id, access_token, institution_name"]
        check_refused(lab, texts, entry=declared(lab, **{name: "token"}))
    check_refused(lab, ["`plaintext`", "no regular expression"], entry=declared(lab, plaintext="("))


def test_a_missing_application_is_refused(lab: Lab) -> None:
    check_refused(lab, ["/nowhere/.env does not exist"], app_root="/nowhere")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away")
def test_a_state_folder_of_another_owner_is_refused(lab: Lab) -> None:
    lab.state.mkdir(mode=0o700)
    os.chown(lab.state, 4711, -1)
    texts = [f"{lab.state} belongs to the user 4711 and keyturn runs as 0", "set keyturn_state_dir to a folder"]
    check_refused(lab, texts)


def test_a_state_folder_that_is_open_or_a_file_is_refused(lab: Lab) -> None:
    lab.state.mkdir(mode=0o755)
    check_refused(lab, [f"{lab.state} is open to other users: chmod 700 {lab.state}"])
    lab.state.rmdir()
    lab.state.write_text("")
    check_refused(lab, [f"{lab.state} is not a folder", "set keyturn_state_dir"])
    lab.state.unlink()


def test_a_service_that_is_down_or_refuses_its_proof_is_refused(lab: Lab) -> None:
    backend = lab.services["backend"]
    down = backend | {"health_url": f"http://127.0.0.1:{free_port()}/health"}
    texts = ["service backend is not healthy at http://127.0.0.1:", "start it, then rotate"]
    check_refused(lab, texts, services={"backend": down})
    texts = ["the current value does not work, nothing was changed: proof http of backend is rejected: GET /nothing"]
    check_refused(lab, texts, services={"backend": backend | {"proof_path": "/nothing"}})


def test_too_little_space_is_refused(lab: Lab, tmp_path: Path) -> None:
    # the real answer of a real disk is a matter of the fault tests; here it is the sum that counts
    database = lab.database
    with database.open("r+b") as file:
        file.truncate(shutil.disk_usage(database).free + 1)
    check_refused(lab, ["MiB of disk space are needed and", "MiB are free"], snapshot=False)


def check_refused(lab: Lab, texts: list[str], *, snapshot: bool = True, **rotation: Any) -> str:
    before = everything(lab) if snapshot else {}
    answer = lab.module("stage", rotation=lab.rotation(**rotation))
    assert answer.get("failed"), "stage accepted it"
    for text in texts:
        assert text in answer["msg"]
    if lab.env.is_file() and b"\xff" not in lab.env.read_bytes():
        held = [value for value in dotenv_values(lab.env).values() if value and len(value) > 12 and value in str(answer)]
        assert not held, "the answer holds a value of .env"
    assert "access-production" not in answer["msg"]
    assert (everything(lab) if snapshot else {}) == before
    assert not list(lab.folder.glob("state/*/rotations/*")), "a rotation was left open"
    return str(answer["msg"])
