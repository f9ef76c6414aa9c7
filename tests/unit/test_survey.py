"""A look at an application of which nothing is known: what it finds, that no value is in it, and that it changes nothing."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from keyturn.base import json_text, shape
from keyturn.base.errors import KeyturnError
from keyturn.base.fingerprint import fingerprint
from keyturn.fleet import answers
from keyturn.ground import survey as ground
from keyturn.ground.consumers import logins, settings
from keyturn.ground.rows import key_census, sqlite_time
from keyturn.host import survey

# the same in each process: tests have some of them in their names, and the workers of a run have to agree on these
KEY, SECOND, FOREIGN = (base64.urlsafe_b64encode(random.Random(seed).randbytes(32)).decode() for seed in range(3))
HEX, PHRASE = random.Random(3).randbytes(32).hex(), "correct horse battery staple"
OF_HEX = base64.urlsafe_b64encode(bytes.fromhex(HEX)).decode()
OF_PHRASE = base64.urlsafe_b64encode(hashlib.sha256(PHRASE.encode()).digest()).decode()
PLAINTEXT = "access-never-to-be-seen"
SCHEMA = f"""
CREATE TABLE accounts (id INTEGER PRIMARY KEY, token TEXT, note TEXT, is_encrypted BOOLEAN);
CREATE TABLE links (shop TEXT, user TEXT, blob BLOB, PRIMARY KEY (shop, user));
CREATE TABLE letters (number INTEGER PRIMARY KEY, body TEXT, sealed BOOLEAN);
CREATE TABLE plain (id INTEGER PRIMARY KEY, token TEXT);
CREATE TABLE blocks (id INTEGER PRIMARY KEY, data JSON CHECK (json_valid(data)));
CREATE TABLE wide (id INTEGER PRIMARY KEY, {", ".join(f"c{number}" for number in range(1900))});
CREATE INDEX kinds ON blocks (json_extract(data, '$.kind'));
"""


def token(key: str, text: str = PLAINTEXT) -> str:
    return Fernet(key).encrypt(text.encode()).decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "data").mkdir(parents=True)
    (folder / ".env").write_text(f"TOKEN_KEY={KEY};{SECOND}\nDEBUG=true\nPORT=8080\n")
    (folder / "shop.cfg").write_text(
        f"[core]\nhex_key = {HEX}\nsql_alchemy_conn = postgresql://shop:pa55word@db/shop\n"
    )
    (folder / "settings.yml").write_text(f"vault:\n  passphrase: {PHRASE}\n  token_lifetime: 30\n")
    (folder / "settings.json").write_text(json.dumps({"smtp": {"password": "hunter2-hunter2", "host": "mail"}}))
    with contextlib.closing(sqlite3.connect(folder / "data/shop.db")) as connection, connection:
        connection.executescript(SCHEMA)
        rows = [
            (token(KEY), None, 1),
            (token(SECOND), "", 1),
            ("tok-clear", "x", 0),
            (token(FOREIGN), None, 1),
            ("", None, 0),
        ]
        connection.executemany("INSERT INTO accounts (token, note, is_encrypted) VALUES (?, ?, ?)", rows)
        text = json.dumps(
            {"a": {"secret": token(OF_HEX)}, "list": [token(OF_HEX), "x"], "jo@example.com": token(OF_HEX)}
        )
        connection.execute("INSERT INTO links VALUES ('s', 'u', ?)", (text.encode(),))
        within = f"see {token(OF_PHRASE)} for more"
        connection.executemany("INSERT INTO links VALUES (?, 'u', ?)", [("t", within), ("v", token(OF_PHRASE, "{}"))])
        connection.executemany("INSERT INTO letters VALUES (?, ?, ?)", [(1, token(OF_HEX), 1), (2, "in clear", None)])
        connection.execute("INSERT INTO plain VALUES (1, 'gAAAAA is how a token begins')")
        connection.execute("INSERT INTO blocks VALUES (1, ?)", (json.dumps(token(KEY)),))
        connection.execute("INSERT INTO wide (c1899) VALUES (?)", (token(KEY),))
    return folder


def columns(found: survey.Survey) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(one["table"], one["column"], one["path"]): dict(one) for one in found["columns"]}


def test_every_column_with_tokens_is_found_with_the_keys_that_open_it(folder: Path) -> None:
    found = survey.look(folder, None, [])
    assert list(shape.misfits("", answers.SURVEY, found)) == []
    held = columns(found)
    assert held.keys() == {
        ("accounts", "token", ""),
        ("blocks", "data", "$"),
        ("letters", "body", ""),
        ("wide", "c1899", ""),
        *(("links", "blob", path) for path in ("", "a.secret", "list[*]", "(another key)", "(within a longer text)")),
    }
    accounts = held["accounts", "token", ""]
    names = {str(number): (key["name"], key["number"], key["rule"]) for number, key in enumerate(found["keys"])}
    assert {names[number]: count for number, count in accounts["under"].items()} == {
        ("TOKEN_KEY", 1, ""): 1,
        ("TOKEN_KEY", 2, ""): 1,
    }
    counts = {name: accounts[name] for name in ("rows", "empty", "plain", "unopened", "key", "flag")}
    assert counts == {"rows": 5, "empty": 1, "plain": 1, "unopened": 1, "key": ["id"], "flag": "is_encrypted"}
    assert held["letters", "body", ""]["flag"] == "sealed"
    assert held["links", "blob", ""]["key"] == ["shop", "user"]
    assert (held["links", "blob", ""]["objects"], accounts["objects"]) == (True, False)
    assert set(names.values()) >= {("CORE_HEX_KEY", 0, "hex"), ("VAULT_PASSPHRASE", 0, "sha256")}
    marks = {key["name"]: key["mark"] for key in found["keys"]}
    assert marks["CORE_HEX_KEY"] == fingerprint(HEX)
    assert {(one["name"], one["inside"]) for one in found["secrets"]} == {
        ("CORE_SQL_ALCHEMY_CONN", "url"),
        ("SMTP_PASSWORD", ""),
    }


def test_no_value_and_nothing_of_a_row_is_told(folder: Path) -> None:
    found = json.dumps(survey.look(folder, None, []))
    for value in (KEY, SECOND, HEX, PHRASE, PLAINTEXT, "hunter2", "pa55word", "tok-clear", "jo@example.com", "gAAAA"):
        assert value not in found


def test_a_file_and_a_table_that_a_value_has_named_do_not_tell_it(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / f"{KEY}.db")) as connection, connection:
        connection.execute(f'CREATE TABLE "of {HEX}" (id INTEGER PRIMARY KEY, "{PHRASE}" TEXT)')
        connection.execute(f'INSERT INTO "of {HEX}" VALUES (1, ?)', (token(KEY),))
    found = survey.look(folder, None, [])
    assert [value for value in (KEY, HEX, PHRASE) if value in json.dumps(found)] == []
    assert columns(found)["of (a value)", "(a value)", ""]["database"] == f"{folder}/(a value).db"
    told: Any = {"findings": ["the table accounts"]}
    assert survey._hidden(told, {"accounts"}) == told, "a short one is a word as well"


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_every_byte_stays_as_it_was(folder: Path, mode: str) -> None:
    with contextlib.closing(sqlite3.connect(folder / "data/shop.db")) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    survey.look(folder, None, [])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_lies_elsewhere_is_looked_at_where_it_is_named(folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "keys/fernet.key"
    key.parent.mkdir()
    key.write_text(FOREIGN + "\n")
    found = survey.look(folder, None, [key, tmp_path / "nothing.db"])
    assert ("FERNET_KEY", "file") in {(one["name"], one["format"]) for one in found["keys"]}
    assert columns(found)["accounts", "token", ""]["unopened"] == 0
    assert [one for one in found["findings"] if "nothing.db is not there: correct keyturn_files" in one]


@pytest.fixture
def process(folder: Path) -> Iterator[int]:
    """A process that has the database open, and a key in its environment alone."""
    code = (
        "import sqlite3, sys; opened = sqlite3.connect('data/shop.db')\n"
        "opened.execute('SELECT 1 FROM plain').fetchone(); print(flush=True); sys.stdin.read()"
    )
    given = {"PATH": os.environ["PATH"], "OTHER_KEY": FOREIGN, "LANG": "C"}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as started:
        assert started.stdout
        started.stdout.readline()
        yield started.pid
        started.kill()


def test_who_has_the_database_open_is_named_and_what_only_its_environment_holds(folder: Path, process: int) -> None:
    found = survey.look(folder, None, [])
    (service,) = found["services"]
    assert str(process) in service["name"]
    assert f"has {folder / 'data/shop.db'} open" in service["does"]
    (key,) = (one for one in found["keys"] if one["name"] == "OTHER_KEY")
    assert (key["format"], key["place"]) == ("environment", f"the environment of {service['name']}")
    assert FOREIGN not in json.dumps(found)


def test_no_link_is_followed_and_no_pipe_opened(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.env").write_text(f"OTHER_KEY={FOREIGN}\n")
    (folder / "link.env").symlink_to(tmp_path / "elsewhere.env")
    (folder / "folder").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.env")
    found = survey.look(folder, None, [])
    assert "OTHER_KEY" not in json.dumps(found)
    assert columns(found)["accounts", "token", ""]["unopened"] == 1


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError, match="is no folder: correct keyturn_app_root"):
        survey.look(tmp_path / "nothing", None, [])


def test_a_database_that_cannot_be_read_does_not_hide_the_others(folder: Path) -> None:
    (folder / "data/broken.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
    found = survey.look(folder, None, [])
    assert columns(found).keys() >= {("accounts", "token", "")}
    assert [one for one in found["findings"] if "broken.db" in one]


def test_a_document_that_is_nested_without_end_ends(folder: Path) -> None:
    deep = '{"a":' * 900 + json.dumps(token(KEY)) + "}" * 900
    with contextlib.closing(sqlite3.connect(folder / "data/shop.db")) as connection, connection:
        connection.execute("UPDATE plain SET token = ?", (deep,))
    found = survey.look(folder, None, [])
    assert [one["under"] for key, one in columns(found).items() if key[:2] == ("plain", "token")] == [{"0": 1}]


def test_a_document_with_too_many_values_is_no_document(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "MOST_VALUES", 3)
    assert key_census._parsed(b"[1, 2]") == [1, 2]
    assert key_census._parsed(b"[[], [], [], []]") is None


@pytest.mark.parametrize("name", [".env.local", "a.ini", "a.yml"])
def test_a_file_that_would_take_hours_to_read_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text(f"[x]\nsecret: a{' ' * 2000}b\n")
    found = survey.look(folder, None, [])
    assert [
        line for line in found["findings"] if line.startswith(f"{folder / name} was not looked at: it has more than")
    ]


def test_a_name_of_a_table_forges_no_line(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "data/shop.db")) as connection, connection:
        connection.execute('CREATE TABLE "a\n    5 under NAME of /etc/x" (id INTEGER PRIMARY KEY, token TEXT)')
        connection.execute('INSERT INTO "a\n    5 under NAME of /etc/x" (token) VALUES (?)', (token(KEY),))
    lines = survey.look(folder, None, [])["text"].splitlines()
    assert [line for line in lines if "NAME of" in line] == [
        "  a\\n    5 under NAME of /etc/x.token: 1 rows, 0 empty, 0 without a token"
    ]


def test_a_look_at_tables_without_tokens_has_an_end_by_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(sqlite3.connect(folder / "data/other.db")) as connection:
        connection.execute("CREATE TABLE plain (id)")
    assert key_census.MOST_SECONDS < sqlite_time.SECONDS, "the whole look would end before"
    monkeypatch.setattr(key_census, "MOST_SECONDS", -1)
    findings = survey.look(folder, None, [])["findings"]
    assert any(line.startswith(f"{folder}/data/other.db: has not been looked through within") for line in findings)


def test_a_look_at_databases_has_an_end_by_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "MOST_SECONDS", -1)
    findings = survey.look(folder, None, [])["findings"]
    assert any(line.startswith("of ") and " databases 0 were looked at within -1 s" in line for line in findings)


def test_a_look_has_an_end_by_time_and_says_so_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "MOST_SECONDS", -1)
    assert survey.look(folder, None, [])["findings"][0].startswith(
        f"{folder} was looked through for 20,000 files or -1"
    )


def test_what_is_told_has_an_end(folder: Path) -> None:
    for number in range(205):
        (folder / f"{number}.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
        (folder / f"{number}.env").write_text(f"A_SECRET_{number}=abcdef{number}\n")
    found = survey.look(folder, None, [])
    assert (len(found["databases"]), len(found["secrets"]), len(found["findings"])) == (200, 200, 50)
    assert any("secrets the first 200 are told" in one for one in found["findings"])


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (".env", "API_KEY=abcdef123\nexport DB_PASSWORD='x y z 123'\n", {"API_KEY", "DB_PASSWORD"}),
        (".env", "TOKEN_TTL=30\nSECRET_FILE=/run/secrets/a\nTOKEN_URL=https://a.example/t\nPASSWORD=changeme\n", set()),
        (".env", "SECRET=$OTHER\nKEYBOARD=azerty-azerty\nMONKEY=banana-banana\n", set()),
        (".env.example", "API_KEY=abcdef123\n", set()),
        ("a.json", '{"a": {"clientSecret": "abcdef123", "public": "x"}}', {"A_CLIENTSECRET"}),
        ("a.yml", "a:\n  api-key: abcdef123\n", {"A_API_KEY"}),
        ("a.conf", "[a]\nurl = redis://:s3cret-word@host/0\n", {"A_URL"}),
        ("a.ini", "this is no ini", set()),
        ("cookie_secret", "0123456789abcdef0123\n", {"COOKIE_SECRET"}),
        ("shop", "# of systemd\n\nAPI_KEY=abcdef123\nPORT=80\n", {"API_KEY"}),
        pytest.param("key", KEY, {"KEY"}, id="a file that is a key"),  # another one in each process
        ("a.conf", "[a]\nauth_token s3cr3t-word=on-and-on\n", set()),
        ("README.txt", "words about a secret\n", set()),
        ("module.py", "SECRET_KEY = 'abcdef123'\n", set()),
    ],
)
def test_what_looks_like_a_secret(name: str, content: str, expected: set[str]) -> None:
    assert {one.variable for one in settings.secrets(Path(name), content.encode())} == expected


PG = "PGHOST=db\nPGUSER=u\nPGDATABASE=d\n"
DB = "DB_HOST=db\nDB_USER=u\nDB_NAME=d\n"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            ".env",
            PG + "PGPORT=6432\nPGPASSWORD=p\nPGSSLMODE=verify-full\n",
            "dbname=PGDATABASE host=PGHOST password=PGPASSWORD port=PGPORT sslmode=PGSSLMODE user=PGUSER",
        ),
        (
            ".env",
            DB + "DB_PASS=p\nDB_PORT=5433\n",
            "dbname=DB_NAME host=DB_HOST password=DB_PASS port=DB_PORT user=DB_USER",
        ),
        (".env", "DBHOST=db\nDBUSER=u\nDBNAME=d\n", "dbname=DBNAME host=DBHOST user=DBUSER"),
        (
            ".env",
            "SHOP_DATABASE__HOSTNAME=db\nSHOP_DATABASE__USERNAME=u\nSHOP_DATABASE__DATABASE=d\n",
            "dbname=SHOP_DATABASE__DATABASE host=SHOP_DATABASE__HOSTNAME user=SHOP_DATABASE__USERNAME",
        ),
        (
            ".env",
            "POSTGRES_SERVER=db\nPOSTGRES_USER=u\nPOSTGRES_DB=d\n",
            "dbname=POSTGRES_DB host=POSTGRES_SERVER user=POSTGRES_USER",
        ),
        (".env", DB + "DB_ENGINE=django.db.backends.postgresql\n", "dbname=DB_NAME host=DB_HOST user=DB_USER"),
        (
            "s.yml",
            "shop:\n  db:\n    host: db\n    user: u\n    name: d\n",
            "dbname=SHOP_DB_NAME host=SHOP_DB_HOST user=SHOP_DB_USER",
        ),
        (
            "s.ini",
            "[postgresql]\nhost = db\nuser = u\ndbname = d\n",
            "dbname=POSTGRESQL_DBNAME host=POSTGRESQL_HOST user=POSTGRESQL_USER",
        ),
        (".env", PG + "DATABASE_URL=postgresql+asyncpg://u:p@db:5432/d\n", "url=DATABASE_URL"),
        (".env", DB + "DB_ENGINE=mysql\n", None),
        (".env", DB.replace("DB_", "MYSQL_"), None),
        (".env", DB.replace("DB_", "SMTP_"), None),
        (".env", "DB_HOST=db\nDB_USER=u\nREPLICA_DB_NAME=d\n", None),
        (".env", "HOST=db\nUSER=u\nNAME=d\n", None),
    ],
)
def test_a_login_is_found_by_the_words_of_its_names(name: str, content: str, expected: str | None) -> None:
    found = {one.address: one.names for one in reversed([*logins.logins(Path(name), content.encode())])}
    told = [" ".join(f"{part}={name}" for part, name in sorted(names.items())) for names in found.values()]
    assert told == ([expected] if expected else [])
