"""Rows in PostgreSQL that three hosts share under a list of keys: turned while clients read and write through the balancer.

The server stands on another machine than the hosts and takes TLS alone. What the application serves is its own code; only where its rows
are is another place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from cryptography.fernet import Fernet, InvalidToken
from support.fleet import GATEWAY, HOOKS, HOSTS, KEY, Fleet, Writer, record, rotate_while_used
from support.lab import catalogue
from support.mail import write_certificate
from support.postgres import PASSWORD, Server, server
from trader_ai.token_encryption import TokenEncryption
from trader_ai.token_store import SCHEMA

pytestmark = pytest.mark.new_application
SHOP, ROWS = "shop", {f"item-{number}": f"access-{number}" for number in range(60)}
AUTHORITIES = "/usr/local/share/ca-certificates/keyturn-test.crt"
# the application as it serves; its statements are those of SQLite, which PostgreSQL takes with other marks for values
SERVE = """
import contextlib, os
import psycopg2
from trader_ai import server, token_store

class Asked:
    def __init__(self, cursor):
        self.cursor = cursor
    def execute(self, statement, values=()):
        self.cursor.execute(statement.replace("?", "%s"), values)
        return self.cursor

@contextlib.contextmanager
def connection(store):
    made = psycopg2.connect(os.environ["DATABASE_URL"])
    try:
        with made, made.cursor() as cursor:
            yield Asked(cursor)
    finally:
        made.close()

token_store.TokenStore._connection = connection
token_store.TokenStore.create_tables = lambda store: None
server.main()
"""
SHARED = """
mkdir -p /opt/serve; cat >/opt/serve/serve.py <<'END'
{serve}
END
cat >{authorities} <<'END'
{certificate}
END
update-ca-certificates >/dev/null
folder=/etc/systemd/system/trader-ai-backend.service.d; mkdir -p $folder
printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/python3 /opt/serve/serve.py\\n' >$folder/10-database.conf
printf 'Environment=TRADER_AI_KEY_SEPARATOR=, PGSSLROOTCERT=/etc/ssl/certs/ca-certificates.crt\\n' >>$folder/10-database.conf
sed -i -E 's|^(export )?{name}=.*|\\1{name}={key}|' /opt/trader-ai/.env
echo 'DATABASE_URL={url}' >>/opt/trader-ai/.env
sqlite3 /opt/trader-ai/data/bank_accounts.db 'DELETE FROM plaid_items'
systemctl daemon-reload; systemctl restart trader-ai-backend
"""


@pytest.fixture(scope="module")
def postgres(hosts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    public = tmp_path_factory.mktemp("tls") / "server.crt"
    write_certificate(public, GATEWAY)
    with server() as made:
        made.reach_by_tls(GATEWAY, f"{GATEWAY}/24", public, public.with_suffix(".key"))
        yield made


@pytest.fixture
def shared(fleet: Fleet, postgres: Server, tmp_path: Path) -> tuple[str, ...]:
    """The options of a run on hosts whose application keeps its rows in one database."""
    key = Fernet.generate_key().decode()
    local = postgres.database(SHOP)
    url = f"postgresql://{SHOP}:{PASSWORD}@{GATEWAY}:{postgres.port}/{SHOP}?sslmode=verify-full"
    assert PASSWORD in local
    with postgres.session(SHOP, SHOP) as cursor:
        for statement in SCHEMA:
            cursor.execute(statement)
        for item, token in ROWS.items():
            stored = TokenEncryption(key).encrypt(token)
            cursor.execute("INSERT INTO plaid_items (item_id, access_token) VALUES (%s, %s)", (item, stored))
    made = SHARED.format(
        serve=SERVE,
        authorities=AUTHORITIES,
        certificate=(postgres.folder / "server.crt").read_text(),
        name=KEY,
        key=key,
        url=url,
    )
    for host in HOSTS:
        fleet.run(host, made)
    for host in HOSTS:
        fleet.start_application(host)
    entry = catalogue()["db_key"] | {
        "value": "shared",
        "switch": "rolling",
        "overlap": "key_list",
        "key_list": {"separator": ",", "grace_seconds": 1},
        "migration": {
            "kind": "fernet_postgresql",
            "login": {"url": "DATABASE_URL"},
            "columns": [
                {"table": "plaid_items", "key": ["item_id"], "column": "access_token", "plaintext": "^access-"}
            ],
        },
    }
    chosen = tmp_path / "chosen.yml"
    chosen.write_text(yaml.safe_dump({"keyturn_secrets": {"db_key": entry}, **HOOKS}))
    return ("-e", f"@{chosen}", "-e", "keyturn_secret=db_key")


def keys(fleet: Fleet) -> str:
    """Return the list of keys that all hosts have."""
    (held,) = {fleet.run(host, f"sed -n -E 's/^(export )?{KEY}=//p' /opt/trader-ai/.env").strip() for host in HOSTS}
    return held


def rows(postgres: Server) -> dict[str, str]:
    """Return the ciphertext of each item."""
    return dict(postgres.sql("SELECT item_id, access_token FROM plaid_items", database=SHOP))


def opened(stored: dict[str, str], key: str) -> dict[str, str]:
    """Return what the application's own code reads with one key alone; what it cannot open is left out."""
    cipher, found = TokenEncryption(key), {}
    for item, ciphertext in stored.items():
        try:
            found[item] = cipher._open(ciphertext)
        except InvalidToken:
            continue
    return found


@pytest.mark.exhaustive
def test_no_request_fails_no_write_is_lost_and_no_row_is_left(
    fleet: Fleet, postgres: Server, shared: tuple[str, ...], record_property: Callable[[str, object], None]
) -> None:
    old = keys(fleet)
    reader, writer, _ = rotate_while_used(fleet, *shared)
    new, stored = keys(fleet), rows(postgres)
    assert "," not in new and new != old
    assert opened(stored, new) == ROWS | writer.saved, "what was acknowledged is gone"
    assert opened(stored, old) == {}, "rows are left under the old key"
    assert postgres.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'keyturn%%'", database=SHOP) == []
    after = fleet.assert_ended()
    record_property(
        "figure", f"list of keys over PostgreSQL: 0 of {reader.asked} requests failed, {len(writer.saved)} writes"
    )
    record("none", "key list, PostgreSQL", "committed", {"new": HOSTS}, after)


@pytest.mark.exhaustive
@pytest.mark.parametrize("wish", ["resume", "rollback"])
def test_the_host_that_turns_the_rows_loses_power_and_another_ends_it(
    fleet: Fleet, postgres: Server, shared: tuple[str, ...], wish: str
) -> None:
    """It is left out, and the others end; what it has open it ends when it is back."""
    old = keys(fleet)
    secret = fleet.run("app2", "sed -n s/^JWT_SECRET_KEY=//p /opt/trader-ai/.env").strip()
    with Writer(secret) as writer:
        with fleet.call_held("app1", "turning") as wait:
            run = fleet.start("rotate", *shared)
            wait()
            run.kill()
            fleet.power_off("app1")
        _, output = fleet.play(wish, *shared[:2], "-e", '{"keyturn_exclude": {"app1": "its board is broken"}}')
        assert "app2 turns the rows of all hosts" in " ".join(output.split()), output
        fleet.boot("app1")
        code, output = fleet.play(wish, *shared[:2])
    assert code == 0, output
    new, stored = keys(fleet), rows(postgres)
    assert (new == old) == (wish == "rollback"), output
    assert opened(stored, new).items() >= (ROWS | writer.saved).items(), "what was acknowledged is gone"
    assert len(opened(stored, new)) == len(stored)
    after = fleet.assert_ended()
    record("power of app1", "key list, PostgreSQL, turning", wish, {"old" if new == old else "new": HOSTS}, after)
