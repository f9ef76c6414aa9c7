"""What is no login to PostgreSQL: whatever answers says what it likes, in whatever order and size."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from keyturn import providers
from keyturn.base import postgresql, scram
from keyturn.base.errors import KeyturnError
from keyturn.base.postgresql import Address, Connection, Failed
from keyturn.issuers import postgresql_role
from keyturn.issuers.admin import STRANGERS
from keyturn.issuers.contract import Told
from support import odd
from support.databases import ADMIN, ADMINS_PASSWORD, ALTERNATE, APPLICATION, DATABASE, OWNER, USER, PostgreSQL
from support.others import NOBODY, needs_root
from support.watching import wait_for

SECONDS = 30
PASSWORD = "canary-of-the-password"


def message(kind: bytes, content: bytes = b"") -> bytes:
    """Return a message as a server sends it."""
    return kind + struct.pack("!i", len(content) + 4) + content


def authentication(method: int, content: bytes = b"") -> bytes:
    return message(b"R", struct.pack("!i", method) + content)


OK, READY = authentication(postgresql.OK), message(b"Z", b"I")
SASL = authentication(postgresql.SASL, postgresql.MECHANISM + b"\0\0")
ROW = message(b"D", struct.pack("!hi", 1, 1) + b"x")


@pytest.fixture
def ends() -> Iterator[tuple[Connection, socket.socket]]:
    """Return a session, and its server's end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(ours, time.monotonic() + SECONDS), theirs


@pytest.mark.parametrize("password", [None, PASSWORD])
@pytest.mark.parametrize(
    "said",
    [READY, message(b"K", bytes(8)) + OK + READY, message(b"T") + READY, SASL + READY, SASL + OK + READY],
    ids=["ready", "key", "rows", "challenge and ready", "challenge and in"],
)
def test_ready_is_no_login(ends: tuple[Connection, socket.socket], password: str | None, said: bytes) -> None:
    ours, theirs = ends
    theirs.sendall(said)
    with pytest.raises(Failed) as failed:
        ours.log_in("trader", "trader", password)
    assert failed.value.code == "", "nobody has rejected the password"


def test_who_lets_everybody_in_says_nothing_of_a_password(ends: tuple[Connection, socket.socket]) -> None:
    ours, theirs = ends
    theirs.sendall(OK + READY)
    with pytest.raises(Failed, match="lets in without a password"):
        ours.log_in("trader", "trader", PASSWORD)


@pytest.mark.parametrize("said", [ROW * 1001, message(b"D", bytes(2) + bytes(1 << 19)) * 3], ids=["rows", "bytes"])
def test_an_answer_has_an_end(ends: tuple[Connection, socket.socket], said: bytes) -> None:
    ours, theirs = ends
    with ThreadPoolExecutor() as sending:  # a socket takes less than all of it
        sent = sending.submit(theirs.sendall, said + READY)
        with pytest.raises(Failed, match="the answer has more than"):
            ours.query("SELECT")
        theirs.shutdown(socket.SHUT_RDWR)
        sent.exception()


def test_an_answer_that_fits_is_whole(ends: tuple[Connection, socket.socket]) -> None:
    ours, theirs = ends
    theirs.sendall(ROW * 1000 + READY)
    assert ours.query("SELECT") == [("x",)] * 1000


def test_at_a_socket_the_server_answers_and_nobody_else(tmp_path: Path) -> None:
    port = 5432
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/.s.PGSQL.{port}")
        server.listen()
        there = Address(str(tmp_path), port, "postgres", tls=False)
        with postgresql._socket(there._replace(peers=(os.getuid(),)), time.monotonic() + SECONDS):
            pass
        with pytest.raises(Failed, match=f"the user {os.getuid()} answers at the socket in {tmp_path}"):
            postgresql._socket(there._replace(peers=(os.getuid() + 1,)), time.monotonic() + SECONDS)


# -- against a real server -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with PostgreSQL() as made:
        yield made


# what the owner of a database may have made and set there, so that it is found first
TRAPS = f"""
SET SESSION AUTHORIZATION {OWNER};
CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC;
CREATE TABLE trap.ran (name text); GRANT INSERT ON trap.ran TO PUBLIC;
CREATE FUNCTION trap.rise(text, boolean) RETURNS text LANGUAGE sql AS 'INSERT INTO trap.ran VALUES (current_user); SELECT $1';
CREATE FUNCTION trap.rise(name, name) RETURNS boolean LANGUAGE sql AS 'INSERT INTO trap.ran VALUES (current_user); SELECT true';
CREATE OPERATOR trap.|| (leftarg = text, rightarg = boolean, function = trap.rise);
CREATE OPERATOR trap.= (leftarg = name, rightarg = name, function = trap.rise);
ALTER DATABASE {DATABASE} SET search_path = trap, pg_catalog;
"""


def role(
    server: PostgreSQL, folder: Path, who: str, sessions: str = "kept", users: Sequence[str] = (APPLICATION, ALTERNATE)
) -> postgresql_role.Role:
    """Return an issuer, whose admin comes by the socket or by a password, or which has none."""
    stored = {"user": ADMIN, "stored": "admin"}
    admins = {"socket": server.admin, "password": server.admin_by_password(folder), "the store": stored}
    lacking = {
        "port": None,
        "system_user": None,
        "socket": None,
        "password_file": None,
        "stored": None,
        "server_user": None,
    }
    given: dict[str, Any] = {"strategy": "single", "users": [], "admin": None}
    if who in admins:
        given = {"strategy": "alternating", "users": list(users), "admin": lacking | admins[who]}
    logins = [postgresql_role.Login(name, PASSWORD) for name in users]
    provider = {"url": server.url, "tls": True, "ca_bundle": None}
    return postgresql_role.Role(
        given | {"valid_days": None, "sessions": sessions},
        provider,
        *logins,
        Told("", {}, {}, lambda _values: None, admins_password=ADMINS_PASSWORD),
    )


@pytest.mark.parametrize("who", ["socket", "password", "the store", "itself"])
def test_nothing_of_the_databases_owner_runs_in_a_session_that_changes_a_role(
    server: PostgreSQL, tmp_path: Path, who: str
) -> None:
    server.sql(f"GRANT CREATE ON DATABASE {DATABASE} TO {OWNER}")
    server.give(APPLICATION, PASSWORD)
    server.sql(TRAPS, DATABASE)
    try:
        role(server, tmp_path, who).prepare()
        assert server.sql("SELECT name FROM trap.ran", DATABASE) == ""
    finally:
        server.sql(f"ALTER DATABASE {DATABASE} RESET search_path; DROP SCHEMA trap CASCADE", DATABASE)


@pytest.mark.parametrize("who", ["socket", "itself"])
def test_no_setting_outlives_its_transaction(
    server: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """A pooler hands the session on to the application, which would find none of its tables any more."""
    server.give(APPLICATION, PASSWORD)
    said: list[str] = []
    query = Connection.query
    monkeypatch.setattr(Connection, "query", lambda self, statement: said.append(statement) or query(self, statement))
    issuer = role(server, tmp_path, who)
    issuer.prepare()
    issuer.mark()
    issuer.unset()
    issuer.retire("infinity")
    inside = False
    for statement in said:
        assert inside != (statement == "BEGIN"), statement
        assert not statement.startswith("SET ") or statement.startswith("SET LOCAL "), statement
        inside = statement != "COMMIT"
    assert not inside and said.count("COMMIT") >= 3


def test_of_many_sessions_that_go_on_few_are_named_and_all_are_ended(
    server: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_role, "MOST_TOLD", 2)
    server.give(APPLICATION, PASSWORD)
    place = {"host": server.host, "port": server.port, "dbname": DATABASE, "user": APPLICATION}
    kept = [psycopg2.connect(**place, password=PASSWORD, application_name="shop") for _ in range(3)]
    told = role(server, tmp_path, "socket", "ended").retire("infinity")
    assert len(told) == len(kept)
    assert "was ended: shop from 127.0.0.1 (process " in told[0]
    assert told[2] == "there are 3 such sessions in all"
    left = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{APPLICATION}'"
    wait_for("the end of the sessions", lambda: server.sql(left) == "0")


def logs_in(server: PostgreSQL, user: str, password: str) -> bool:
    """Tell whether a login is accepted, by the driver of applications."""
    place = {"host": server.host, "port": server.port, "dbname": DATABASE}
    try:
        psycopg2.connect(**place, user=user, password=password).close()
    except psycopg2.OperationalError as error:
        assert "password authentication failed" in str(error)
        return False
    return True


def asked(server: PostgreSQL, user: str, password: str) -> providers.Reply:
    spec = {"kind": "postgresql", "url": server.url, "tls": True, "ca_bundle": None, "user": user}
    return providers.ask(spec, [password])


def test_every_character_of_a_password_counts(server: PostgreSQL) -> None:
    for password in odd.PLAIN:
        server.sql(f"ALTER ROLE {APPLICATION} LOGIN PASSWORD {postgresql.literal(password)}")
        assert asked(server, APPLICATION, password).verdict == "accepted", password
        server.give(APPLICATION, password)
        assert logs_in(server, APPLICATION, password), password
        for other in {password[:-1], password.strip(), password.replace("\\", ""), password + " "} - {password}:
            assert asked(server, APPLICATION, other).verdict == "rejected", other
    for password in set(odd.PASSWORDS) - set(odd.PLAIN):
        found = asked(server, APPLICATION, password)
        assert (found.verdict, password in found.detail) == ("unknown", False)
        assert "other characters than printable ASCII" in found.detail


@pytest.mark.parametrize("name", odd.NAMES, ids=ascii)
def test_a_role_is_changed_whatever_its_name_is(server: PostgreSQL, tmp_path: Path, name: str) -> None:
    users = name, f"z{name[1:]}"
    for one in users:
        server.sql(f"CREATE ROLE {postgresql.identifier(one)} LOGIN IN ROLE {OWNER}")
    try:
        turns = role(server, tmp_path, "socket", users=users)
        turns.prepare()
        turns.set()
        assert [logs_in(server, one, PASSWORD) for one in users] == [False, True]
        turns.unset()
        assert [logs_in(server, one, PASSWORD) for one in users] == [False, False]
        turns.set()
        assert turns.retire(turns.mark()) == []
        assert [logs_in(server, one, PASSWORD) for one in users] == [False, True]
    finally:
        for one in users:
            server.sql(f"DROP ROLE {postgresql.identifier(one)}")


@pytest.mark.parametrize(
    ("statement", "undo", "message"),
    [
        ("NOLOGIN", "LOGIN", "the role trader may not log in"),
        ("VALID UNTIL '2020-01-01'", "VALID UNTIL 'infinity'", "no password of the role trader is valid any more"),
    ],
)
def test_a_role_that_no_password_lets_in_is_refused_before_it_is_changed(
    server: PostgreSQL, tmp_path: Path, statement: str, undo: str, message: str
) -> None:
    server.give(APPLICATION, PASSWORD)
    server.sql(f"ALTER ROLE {APPLICATION} {statement}")
    try:
        with pytest.raises(KeyturnError, match=message):
            role(server, tmp_path, "password").prepare()
    finally:
        server.sql(f"ALTER ROLE {APPLICATION} {undo}")


@pytest.mark.parametrize(
    ("setting", "undo", "access", "verdict", "detail"),
    [
        ("CONNECTION LIMIT 0", "CONNECTION LIMIT -1", "scram-sha-256", "unknown", "refuses with 53300"),
        ("", "", "trust", "unknown", "lets in without a password"),
        ("", "", "reject", "unknown", "refuses with 28000"),
        ("", "", "password", "unknown", "another way to log in than SCRAM"),
        ("", "", "md5", "accepted", "SCRAM"),
        ("VALID UNTIL '2020-01-01'", "VALID UNTIL 'infinity'", "scram-sha-256", "rejected", "28P01"),
    ],
)
def test_a_login_that_says_nothing_of_the_password_is_unknown(
    server: PostgreSQL, setting: str, undo: str, access: str, verdict: str, detail: str
) -> None:
    rules = server.data / "pg_hba.conf"
    before = rules.read_text()
    server.give(APPLICATION, PASSWORD)
    rules.write_text(f"host all {APPLICATION} 127.0.0.1/32 {access}\n{before}")
    server.sql(f"ALTER ROLE {APPLICATION} {setting}; SELECT pg_reload_conf()")
    try:
        found = wait_for("the new rules", lambda: asked(server, APPLICATION, PASSWORD))
        wait_for("what it says by them", lambda: detail in asked(server, APPLICATION, PASSWORD).detail)
        found = asked(server, APPLICATION, PASSWORD)
        assert found.verdict == verdict
        assert asked(server, APPLICATION, "canary").verdict in ("rejected", "unknown")
    finally:
        rules.write_text(before)
        server.sql(f"ALTER ROLE {APPLICATION} {undo}; SELECT pg_reload_conf()")


def test_a_password_that_is_kept_as_md5_is_replaced_by_a_verifier(server: PostgreSQL, tmp_path: Path) -> None:
    rules = server.data / "pg_hba.conf"
    before = rules.read_text()
    server.sql(f"SET password_encryption = 'md5'; ALTER ROLE {ALTERNATE} PASSWORD '{PASSWORD}'")
    rules.write_text(f"host all {ALTERNATE} 127.0.0.1/32 md5\n{before}")
    server.sql("SELECT pg_reload_conf()")
    try:
        wait_for("the new rules", lambda: asked(server, ALTERNATE, PASSWORD).verdict == "unknown")
        role(server, tmp_path, "socket").set()
        assert asked(server, ALTERNATE, PASSWORD).verdict == "accepted"
        assert server.verifier(ALTERNATE).startswith("SCRAM-SHA-256$")
    finally:
        rules.write_text(before)
        server.sql(f"ALTER ROLE {ALTERNATE} PASSWORD NULL; SELECT pg_reload_conf()")


class Begun:
    """A login of the application's role that waits for the last message of the one who makes it: in no list of sessions."""

    def __init__(self, server: PostgreSQL, password: str) -> None:
        self._socket = socket.create_connection((server.host, server.port))
        self._session = Connection(self._socket, time.monotonic() + SECONDS)
        self._exchange = scram.Exchange(password)
        first = self._exchange.first()
        told = f"user\0{APPLICATION}\0database\0{DATABASE}\0\0".encode()
        self._session._send(b"", struct.pack("!i", postgresql.PROTOCOL) + told)
        assert self._session._method()[0] == postgresql.SASL
        self._session._send(b"p", postgresql.MECHANISM + b"\0" + struct.pack("!i", len(first)) + first)
        self._challenge = self._session._authentication(postgresql.SASL_GOES_ON)

    def end(self) -> Connection:
        """Log in to the end and return the session; Failed where the server lets nobody in."""
        self._session._send(b"p", self._exchange.final(self._challenge))
        self._session._authentication(postgresql.SASL_ENDS)
        while self._session._expect(b"RKZ")[0] != b"Z":
            pass
        return self._session


def test_a_login_that_has_begun_with_the_old_password_does_not_end_when_the_role_rests(
    server: PostgreSQL, tmp_path: Path
) -> None:
    server.give(APPLICATION, PASSWORD)
    issuer = role(server, tmp_path, "socket", "ended")
    begun, within = Begun(server, PASSWORD), Begun(server, PASSWORD).end()
    told = issuer.retire(issuer.mark())
    assert len(told) == 1 and "was ended" in told[0]
    with pytest.raises(Failed):
        begun.end()
    with pytest.raises((Failed, OSError)):
        within.query(f"ALTER ROLE {APPLICATION} PASSWORD 'another'")
    assert server.sql(f"SELECT rolcanlogin, rolpassword FROM pg_authid WHERE rolname = '{APPLICATION}'") == "f|"
    server.give(APPLICATION, PASSWORD)
    assert Begun(server, PASSWORD).end().query("SELECT 1") == [("1",)]


@pytest.mark.parametrize("late", ["before the new one is set", "while the sessions are looked at"])
def test_no_session_of_the_old_password_is_left_however_late_it_began(
    server: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    server.sql("ALTER SYSTEM SET authentication_timeout = '2s'")
    server.sql("SELECT pg_reload_conf()")
    server.give(APPLICATION, PASSWORD)
    issuer = role(server, tmp_path, "itself", "ended")
    issuer._new = postgresql_role.Login(APPLICATION, "canary-of-another-password")
    issuer.prepare()
    begun = Begun(server, PASSWORD)
    if late.startswith("before"):
        begun.end()
    issuer.set()
    mark = issuer.mark()
    pause = time.sleep
    monkeypatch.setattr(
        postgresql_role.time, "sleep", lambda seconds: (late.startswith("while") and begun.end(), pause(seconds))
    )
    told = issuer.retire(mark)
    assert len(told) == 1 and "was ended" in told[0]
    with pytest.raises((Failed, OSError)):
        begun._session.query("SELECT 1")


def carry(listening: socket.socket, server: PostgreSQL, says: str) -> None:
    """Carry one login on to the server, and say something in the session before whoever has made it."""
    client, _ = listening.accept()
    with client, socket.create_connection((server.host, server.port)) as other:
        while ready := select.select([client, other], [], [], SECONDS)[0]:
            for source, target in ((client, other), (other, client)):
                piece = source.recv(65536) if source in ready else None
                if piece == b"":
                    return
                if source is other and piece and piece.endswith(READY):
                    other.sendall(message(b"Q", says.encode() + b"\0"))
                    while not other.recv(65536).endswith(READY):
                        pass
                target.sendall(piece or b"")


@needs_root
@pytest.mark.parametrize("who", ["a stranger", "the server's user"])
def test_a_stranger_who_takes_the_port_gets_no_session_of_the_admins(
    server: PostgreSQL, tmp_path: Path, who: str
) -> None:
    """By SCRAM nobody learns the password, and the session is that of whoever has carried the login on."""
    stranger, (ours, theirs) = "CREATE ROLE stranger LOGIN", os.pipe()
    user = NOBODY if who == "a stranger" else pwd.getpwnam(USER).pw_uid
    if not (pid := os.fork()):
        with contextlib.suppress(OSError):
            os.setuid(user)
            listening = socket.create_server(("127.0.0.1", 0))
            os.write(theirs, str(listening.getsockname()[1]).encode())
            carry(listening, server, stranger)
        os._exit(0)
    issuer = role(server, tmp_path, "password")
    issuer._spec["admin"]["port"] = int(os.read(ours, 9))
    server.give(APPLICATION, PASSWORD)
    try:
        if who == "a stranger":
            with pytest.raises(
                KeyturnError, match=f"the user {NOBODY} listens on port .*neither root nor its server_user: {STRANGERS}"
            ):
                issuer.prepare()
        else:
            issuer.prepare()
        assert server.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'stranger'") == str(int(who != "a stranger"))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        server.sql("DROP ROLE IF EXISTS stranger")


@pytest.mark.parametrize(
    ("milliseconds", "ends", "message"),
    [
        (300, "rollback", "somebody holds the role: end that, then run this again"),
        (60_000, "commit", "somebody else has changed the role in the same moment"),
    ],
)
def test_a_role_that_somebody_else_changes_is_not_changed_and_the_next_call_does_it(
    server: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, milliseconds: int, ends: str, message: str
) -> None:
    monkeypatch.setattr(postgresql_role, "STATEMENT_MILLISECONDS", milliseconds)
    place = {"host": server.host, "port": server.port, "dbname": DATABASE}
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'keyturn'"
    issuer = role(server, tmp_path, "password")
    server.forget(ALTERNATE)
    with contextlib.closing(psycopg2.connect(**place, user=ADMIN, password=ADMINS_PASSWORD)) as other:
        other.cursor().execute(f"ALTER ROLE {ALTERNATE} CONNECTION LIMIT 50")
        with ThreadPoolExecutor() as calling:
            call = calling.submit(issuer.set)
            if ends == "commit":
                wait_for("the call that waits", lambda: server.sql(waits) == "1")
                other.commit()
            with pytest.raises(KeyturnError, match=message):
                call.result()
    assert not logs_in(server, ALTERNATE, PASSWORD)
    issuer.set()
    assert logs_in(server, ALTERNATE, PASSWORD)
    server.sql(f"ALTER ROLE {ALTERNATE} CONNECTION LIMIT -1 PASSWORD NULL")
