"""How a row store comes to a PostgreSQL server: the login of the application or one of our own, and transactions that have an end.

Debian's python3-psycopg2 is imported where a server is asked, and nowhere else: a host that leaves the rows to another needs none.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import resource
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ...base.errors import KeyturnError
from .. import consumers, owner
from ..consumers import Consumer
from .contract import LOGIN_PARTS, Spec, Unreached
from .sqlite_file import quote

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 600
# how much longer we wait for a statement than the server, which has been told the same end
GRACE_SECONDS = 30
# a server in other hands has rows without end, in one answer or in as many as are asked for
SESSION_HOURS, MOST_MEMORY = 12, 768 << 20
# a lock is waited for while nothing is held, so that nobody waits for us
LOCK_SECONDS = 10
# the system looks up the name of each by itself, in its own time
MOST_HOSTS = 8
# what a login may say besides; libpq loads code, and opens files as root, by what stands in others
ALLOWED = {*LOGIN_PARTS, "application_name", "connect_timeout", "target_session_attrs"}
# a path that nobody can make: libpq looks for files of these names in the home of whom it takes itself for
NOWHERE = "/dev/null/none"
HOME_FILES = ("passfile", "sslcert", "sslkey", "sslcrl", "sslrootcert")
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
# the first libpq that can be told which methods a server may ask for; what a peer or a trusted address is asked for is "none"
METHODS_SINCE, METHODS = 160000, "scram-sha-256,none"
# the first server that may end a transaction for its length
TRANSACTION_TIMEOUT_SINCE = 170000
# a driver behind the scheme is SQLAlchemy's
_DRIVER = re.compile(r"^(postgres(?:ql)?)\+\w+(?=://)")
LOCAL = re.compile(r"/.*|localhost|127\.\d+\.\d+\.\d+|::1|")
OWN = {
    "application_name": "keyturn",
    "client_encoding": "UTF8",
    "connect_timeout": str(CONNECT_SECONDS),
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
SETTINGS = {
    # nothing of the application's stands before the server's own functions and operators
    "search_path": "pg_catalog, pg_temp",
    # an error, in the place of rows that nobody sees
    "row_security": "off",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{STATEMENT_SECONDS}s",
    # a key is written so that it is read as the same key, also by psql, which has the server's own settings
    "datestyle": "ISO",
    "timezone": "UTC",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "quote_all_identifiers": "off",
}
# by the SQLSTATE, or its first two digits; the text of the server may quote a row
REFUSED = {
    "22021": "a text in it is no UTF-8, which a database of SQL_ASCII takes as well: correct that row first",
    "23": "a constraint of the table forbids it",
    "25006": "it takes no writes: it is a replica, or set to read only",
    "40P01": "it would have waited for another session for ever (deadlock)",
    "42501": "the login has not the right to do it",
    "P0": "a function in the database forbids it (of a trigger, an event trigger or a constraint)",
    "53": "it is out of resources (connections, memory)",
    "53100": "its disk is full",
    "55P03": "another session holds a lock on the table",
    "57014": "it took too long, or somebody has cancelled it",
    "57P": "somebody has ended the session, or the server",
}
LOCKED = "55P03"
# who keeps others from reading or writing a table, and which
LOCKS = """
SELECT DISTINCT format('%s by %s of %s', l.relation::regclass, l.pid, coalesce(a.usename, 'a prepared transaction'))
  FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
 WHERE l.granted AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
   AND l.locktype = 'relation' AND l.pid IS DISTINCT FROM pg_backend_pid()
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
 ORDER BY 1 LIMIT 5
"""
AWAY = {
    "root certificate": f"this host has no list of authorities ({AUTHORITIES}): install ca-certificates",
    "server certificate": "its certificate is of another name: say the name in it as host",
    "password authentication failed": "the login is not taken: its password is another, or has expired",
    "not permitted to log in": "the role may not log in (NOLOGIN)",
    "permission denied for database": "the role may not connect to this database: GRANT CONNECT ON DATABASE to it",
    "not currently accepting connections": "the database takes no connections",
    "no pg_hba.conf entry": "the server lets this login in from nowhere here (pg_hba.conf)",
    "Peer authentication failed": "the server knows its users by their names here, and this is another (peer)",
    "does not exist": "it has no such database or role",
    "SSL": "it does not speak TLS, or its certificate is not trusted",
    "too many c": "it has no connection left (of the server, the database or the role)",
    "connection slots": "it has no connection left for this role",
    "timeout": "it gives no answer",
    "refused": "nobody listens there",
    "could not translate host name": "its name is not known",
    "starting up": "it is starting up",
    "authentication method requirement": "it asks for the password in another way than by scram-sha-256: say that in pg_hba.conf",
}


class Cursor(Protocol):
    """What is used of a cursor of the library's, which has no types of its own."""

    rowcount: int

    def execute(self, query: str, parameters: Sequence[object] | None = None) -> None:
        """Send a statement."""

    def fetchone(self) -> Any:
        """Return a row, whose columns the statement chooses."""

    def fetchall(self) -> list[Any]:
        """Return all rows."""


class Login:
    """Where a login stands, and the server that it leads to. ``secrets`` are hidden as values are."""

    def __init__(self, spec: Spec, root: Path) -> None:
        login = spec["login"]
        self.path = root / login["path"]
        self.name = f"the database of {login['url'] or ', '.join(login['parts'].values())} in {self.path}"
        self._root = root
        self._names: dict[str, str] = {"url": login["url"]} if login["url"] else dict(login["parts"])
        self._held: dict[str, str] = {}
        self._why = ""
        try:
            names = [*self._names.values()]
            read = consumers.read(Consumer("dotenv", self.path, root=root), names)
            self._held = {part: read[name] for part, name in self._names.items()}
        except KeyturnError as error:
            self._why = str(error)  # a host may leave the rows to another, and know no login
        self.secrets = tuple(value for part, value in self._held.items() if part in ("url", "password") and value)

    def parameters(self) -> dict[str, str]:
        """Return what the library is given; Unreached where the login is none, KeyturnError for one that says more than a login."""
        from psycopg2 import ProgrammingError
        from psycopg2.extensions import parse_dsn

        if self._why:
            raise Unreached(self._why)
        given = dict(self._held)
        if "url" in given:
            try:
                given = parse_dsn(_DRIVER.sub(r"\1", given["url"]))
            except (ProgrammingError, UnicodeDecodeError):
                raise Unreached(f"{self.name}: its value is no address of a PostgreSQL server") from None
        if others := sorted(set(given) - ALLOWED):
            raise KeyturnError(
                f"{self.name}: the login says {', '.join(others)}, by which files are opened or settings changed, and may say "
                f"{', '.join(sorted(ALLOWED))} alone: take that out, or name another variable by `login`"
            )
        if given.get("host", "").count(",") >= MOST_HOSTS:
            raise KeyturnError(
                f"{self.name}: the login names more than {MOST_HOSTS} hosts: name those that have the server"
            )
        return given | self._trust(given) | OWN

    def _trust(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return by what the server is believed: on another machine by its certificate, here by nothing that a user's home holds."""
        from psycopg2.extensions import libpq_version

        local = all(map(LOCAL.fullmatch, given.get("host", "").split(",")))
        mode = given.get("sslmode", "prefer" if local else "verify-full")
        if not local and mode != "verify-full":  # an authority of all the world's has certified others too
            raise KeyturnError(
                f"{self.name}: sslmode={mode} would show the password to whoever answers for another machine: say sslmode=verify-full, "
                f"with the certificate's authority among those of the host ({AUTHORITIES}, update-ca-certificates)"
            )
        trust = dict.fromkeys(HOME_FILES, NOWHERE) | {"gssencmode": "disable", "sslmode": mode}
        if mode.startswith("verify-"):
            trust["sslrootcert"] = AUTHORITIES
        if local and libpq_version() >= METHODS_SINCE:
            trust["require_auth"] = METHODS
        return trust

    @contextlib.contextmanager
    def connected(self, seconds: float = STATEMENT_SECONDS) -> Iterator[Any]:
        """Yield a connection, made as the user whose the application is; Unreached where there is none.

        A server that gives no answer to a statement for longer than ``seconds`` is left, as one whose answer takes too much memory, and
        one that has not come to an end after ``SESSION_HOURS``.
        """
        try:
            import psycopg2
            import psycopg2.extensions
        except ImportError:
            raise Unreached(f"{self.name}: this host has no psycopg2: install python3-psycopg2") from None
        try:
            with owner.on_behalf(self._root / "any file", self.path), _without_settings(), _waiting(CONNECT_SECONDS):
                connection = psycopg2.connect(**self.parameters())
            # a server says of what type a cell is, and a decimal of ten signs, made a whole number, is computed for days
            decimals = psycopg2.extensions.DECIMAL.values
            psycopg2.extensions.register_type(psycopg2.extensions.new_type(decimals, "TEXT", _as_said), connection)
        except psycopg2.Error as error:
            why = next((told for words, told in AWAY.items() if words in str(error)), "it cannot be reached")
            raise Unreached(f"{self.name}: {why}") from None
        except TimeoutError:
            raise Unreached(f"{self.name}: {AWAY['timeout']}") from None
        try:
            with _waiting(seconds + GRACE_SECONDS, time.monotonic() + SESSION_HOURS * 3600):
                connection.autocommit = True
                yield connection
        except psycopg2.Error as error:
            why = _words(error)
            if error.pgcode == LOCKED:
                with (
                    contextlib.suppress(psycopg2.Error, TimeoutError, MemoryError),
                    _waiting(CONNECT_SECONDS),
                    transaction(connection, snapshot=True) as cursor,
                ):
                    why += _locks(cursor)
            raise KeyturnError(f"{self.name}: the server has not done what was asked: {why}") from None
        except TimeoutError:
            raise KeyturnError(
                f"{self.name}: the server has said nothing for {seconds + GRACE_SECONDS:.0f} seconds, or has not come to an end for "
                f"{SESSION_HOURS} hours, and was left: see what it does"
            ) from None
        except MemoryError:
            raise KeyturnError(
                f"{self.name}: an answer of the server takes more than {MOST_MEMORY >> 20} MiB, and was left: see who answers there, and "
                "what the columns hold"
            ) from None
        finally:
            with contextlib.suppress(psycopg2.Error):
                connection.close()


class _Polled(Protocol):
    """A connection, to those who wait for it."""

    def poll(self) -> int: ...

    def fileno(self) -> int: ...


@contextlib.contextmanager
def _waiting(seconds: float, ends: float = math.inf) -> Iterator[None]:
    """Have the library wait for each answer here, and raise TimeoutError after ``seconds``: no end of a server's holds a server of others.

    Also when ``ends`` (monotonic) is over, and MemoryError for an answer that takes too much of it. The library closes the connection
    then. There is no COPY meanwhile, for which it waits by itself.
    """
    from psycopg2 import extensions

    most = _memory() + MOST_MEMORY

    def wait(connection: _Polled) -> None:
        deadline = min(ends, time.monotonic() + seconds)
        while (state := connection.poll()) != extensions.POLL_OK:
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise TimeoutError
            if _memory() > most:
                raise MemoryError

    before = extensions.get_wait_callback()
    extensions.set_wait_callback(wait)
    try:
        yield
    finally:
        extensions.set_wait_callback(before)


def _as_said(said: str | None, cursor: object) -> str | None:
    return said


def _memory() -> int:
    """Return the memory that this process has now, in bytes: the most that it has had would hide what an answer takes."""
    resident = Path("/proc/self/statm").read_text().split()[1]
    return int(resident) * resource.getpagesize()


@contextlib.contextmanager
def _without_settings() -> Iterator[None]:
    """Leave out the settings of whoever has logged in: the login alone says where it leads."""
    theirs = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
    try:
        yield
    finally:
        os.environ.update(theirs)


def _locks(cursor: Cursor) -> str:
    """Name the tables of this database that are locked, and by whom; empty where nobody holds a lock any more."""
    cursor.execute(LOCKS)
    found = ", ".join(one for (one,) in cursor.fetchall())
    return f" ({found}): end what holds it, then run this again" if found else ""


def _words(error: Any) -> str:
    code = error.pgcode or "57P"
    known = next((REFUSED[part] for part in (code, code[:3], code[:2]) if part in REFUSED), None)
    return known or f"SQLSTATE {code}"


@contextlib.contextmanager
def transaction(connection: Any, *, snapshot: bool = False, seconds: float = STATEMENT_SECONDS) -> Iterator[Cursor]:
    """Yield a cursor in one transaction: of one ``snapshot``, which only reads, or one that writes.

    Every setting ends with it, so that nothing is left in a session which a pooler hands on. Each statement ends after ``seconds``.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if snapshot else "BEGIN ISOLATION LEVEL READ COMMITTED"
        )
        try:
            settings = {**SETTINGS, "statement_timeout": f"{seconds:.0f}s"}
            if cursor.connection.info.server_version >= TRANSACTION_TIMEOUT_SINCE:
                settings["transaction_timeout"] = "0"
            cursor.execute(
                "; ".join(
                    f"SET LOCAL {name} = {value if ',' in value else repr(value)}" for name, value in settings.items()
                )
            )
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(Exception):  # where the session is gone, so is what it has done
                cursor.execute("ROLLBACK")
            raise


def check_server(login: Login, cursor: Cursor, backend: int) -> None:
    """Refuse a server that cannot be written to, forgets what it has taken, or stands behind a pooler. ``backend`` is the library's."""
    cursor.execute(
        "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on', pg_backend_pid(), "
        "current_setting('fsync') = 'off', has_database_privilege(current_database(), 'CREATE'), current_database()"
    )
    replica, read_only, pid, forgets, may_create, database = cursor.fetchone()
    if pid != backend:
        raise KeyturnError(
            f"{login.name} is reached through a pooler (pgbouncer), behind which nobody sees who else writes: name a login that leads "
            "to the server itself"
        )
    if replica or read_only:
        raise KeyturnError(
            f"{login.name} takes no writes: it is a replica, or set to read only; name a login that leads to the primary"
        )
    if forgets:
        raise KeyturnError(
            f"{login.name}: fsync is off on the server, so nothing there outlives a loss of power: set it on"
        )
    if not may_create:
        raise KeyturnError(
            f"{login.name}: the login may make no schema for what is prepared: GRANT CREATE ON DATABASE {quote(database)} to it, or name "
            "another login"
        )
