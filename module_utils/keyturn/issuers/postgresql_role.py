"""A role of PostgreSQL. It is told what the server keeps of a password (a SCRAM verifier), so that no log of it can have the password.

``single``: one role. Without an admin it changes its own password, which every role may. ``alternating``: two roles that may do the
same take turns; the one that rests may not log in, and has no password.
"""

from __future__ import annotations

import contextlib
import ipaddress
import pwd
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from .. import providers
from ..base import postgresql, scram
from ..base.errors import KeyturnError
from ..base.here import Listener, server_users
from ..base.postgresql import Connection, Failed, identifier, literal
from ..ground import owner
from ..providers.shapes import ProviderSpec
from .admin import STRANGERS
from .admin import password as admins_password
from .contract import Spec, Told

SECONDS = 15
# the server ends what it has not done by then, so that nothing is done later that nobody waits for
STATEMENT_MILLISECONDS = 10_000
# roles are the whole server's, so the admin has no business in the application's database, whose owner may have put functions and
# operators there; and none of those is found by a name, wherever a session is
ADMINS_DATABASE = "postgres"
# as whom a server runs
SERVER_USER = "postgres"
SAFE = {"search_path": "pg_catalog, pg_temp"}
# of sessions that go on so many are told one by one
MOST_TOLD = 20
# what two roles that take turns must have in common, by the role
ALIKE = """
SELECT rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolconnlimit,
  (SELECT array_agg(s.setdatabase::text || ':' || s.setconfig::text ORDER BY s.setdatabase)
    FROM pg_catalog.pg_db_role_setting s WHERE s.setrole = r.oid),
  (SELECT array_agg(m.roleid::regrole::text || ':' || m.admin_option ORDER BY m.roleid)
    FROM pg_catalog.pg_auth_members m WHERE m.member = r.oid)
FROM pg_catalog.pg_roles r WHERE rolname = {role}
"""
OF_ITS_OWN = (
    "SELECT count(*) FROM pg_catalog.pg_shdepend "
    "WHERE refclassid = 'pg_catalog.pg_authid'::regclass AND refobjid = {role}::regrole"
)
MAY = "SELECT rolcanlogin, coalesce(rolvaliduntil > now(), true) FROM pg_catalog.pg_roles WHERE rolname = {role}"
NOW = "SELECT pg_catalog.clock_timestamp()::text"
# a server lets in who knew the password when the login began, and gives it so long; the setting may be ten minutes at most
LONGEST_LOGIN = 600
LOGINS_END = """
SELECT greatest(0, ceil(extract(epoch FROM {mark}::timestamptz - pg_catalog.clock_timestamp()) + setting::int))
FROM pg_catalog.pg_settings WHERE name = 'authentication_timeout'
"""
BEGAN_BEFORE = """FROM pg_catalog.pg_stat_activity
WHERE usename = {role} AND pid <> pg_catalog.pg_backend_pid() AND coalesce(backend_start < {mark}::timestamptz, true)
"""
SESSIONS = f"""
SELECT pid, client_addr::text, application_name, bool_or(backend_start IS NULL) OVER (), count(*) OVER ()
{BEGAN_BEFORE} ORDER BY pid LIMIT {MOST_TOLD}
"""
END = f"SELECT count(pg_catalog.pg_terminate_backend(pid)) {BEGAN_BEFORE}"


def fault(spec: Spec, provider: ProviderSpec) -> str:
    """Return what does not go together, empty where nothing does not."""
    if spec["admin"] and not spec["admin"]["user"]:
        return "admin of the issuer names no user"
    if spec["strategy"] == "single":
        alone = provider["user"] and not spec["users"]
        by_itself = spec["admin"] or not spec["valid_days"]
        if not alone:
            return "with the strategy single its provider names the user, and users is left out"
        return "" if by_itself else "valid_days needs an admin: no role may set when its own password ends"
    if provider["user"] or len(spec["users"]) != 2 or len(set(spec["users"])) != 2:
        return "with the strategy alternating users names two roles, and its provider no user"
    return "" if spec["admin"] else "the strategy alternating needs an admin: the role that rests cannot log in"


def issuer(spec: Spec, provider: ProviderSpec, variables: Sequence[str], told: Told) -> Role:
    """Return the issuer of one rotation."""
    old, new = (
        Login(*providers.user_and_password(provider, [held[name] for name in variables])) if held else None
        for held in (told.old, told.new)
    )
    return Role(spec, provider, old, new, told)


class Login(NamedTuple):
    """As whom the application logs in."""

    user: str
    password: str


class Role:
    """The issuer of one rotation, by ``Issuer`` of contract.py. ``new`` is None where there is no new value yet."""

    def __init__(self, spec: Spec, provider: ProviderSpec, old: Login | None, new: Login | None, told: Told) -> None:
        self._spec, self._old, self._new, self._told = spec, old, new, told
        self._server = postgresql.address(provider["url"], provider["tls"], provider["ca_bundle"])
        self._alternates = spec["strategy"] == "alternating"

    # -- the contract ----------------------------------------------------------------------------------------------------------

    def prepare(self) -> list[str]:
        """Log in as who will change the role, and see that the role is there and may do what the other one may."""
        with self._session(self._old, self._new) as session, _transaction(session):
            for role in self._spec["users"] or [_named(self._old).user]:
                self._check_role(session, role)
            if self._alternates:
                self._check_alike(session)
        return []

    def set(self) -> None:
        """Give the role that the new value is of its verifier."""
        new = _named(self._new)
        with self._session(self._old, self._new) as session:
            self._give(session, new.user, new.password)

    def mark(self) -> str:
        """Return the server's own time; nothing where the whole role rests afterwards."""
        if self._alternates:
            return ""
        with self._session(self._new, self._old) as session, _transaction(session):
            ((now,),) = session.query(NOW)
            return str(now)

    def unset(self) -> None:
        """Give the role the old password again; where two take turns, take that of the new one."""
        old, new = _named(self._old), _named(self._new)
        with self._session(self._new, self._old) as session:
            self._give(session, *(new.user, None) if self._alternates else old)

    def retire(self, mark: str) -> list[str]:
        """Let the role that rests log in no more, and look at the sessions that began with the old password."""
        old = _named(self._old)
        if self._alternates:
            mark = "infinity"
        elif mark and self._spec["sessions"] == "ended":
            self._wait_for_logins(mark)
        with self._session(self._new, self._old) as session:
            if self._alternates:
                self._give(session, old.user, None)
            # of its own: whoever is ended logs in anew, and the password must be gone by then
            with _transaction(session):
                return self._sessions(session, old.user, mark)

    # -- by statements ---------------------------------------------------------------------------------------------------------

    def _give(self, session: Connection, user: str, password: str | None) -> None:
        verifier = "NULL" if password is None else literal(scram.verifier(password))
        # it is looked at when a login ends, and no role may change it of itself: an old password may be at the server's door, or in
        login = ("NOLOGIN " if password is None else "LOGIN ") if self._alternates else ""
        days = self._spec["valid_days"]
        until = datetime.now(UTC) + timedelta(days=days or 0)
        ends = f" VALID UNTIL {literal(until.isoformat())}" if days and password is not None else ""
        with _transaction(session):
            # an answer only when the change is on the server's disk
            session.query("SET LOCAL synchronous_commit = on")
            session.query(f"ALTER ROLE {identifier(user)} {login}PASSWORD {verifier}{ends}")

    def _check_role(self, session: Connection, role: str) -> None:
        found = session.query(MAY.format(role=literal(role)))
        (may, valid), *_ = found or [(None, None)]
        # of two that take turns the one that rests may not
        if not found or (may != "t" and role == _named(self._old).user):
            missing = "may not log in" if found else "is not there"
            raise KeyturnError(
                f"PostgreSQL at {self._server}: the role {role} {missing}; make it, or correct the entry"
            )
        if valid != "t" and not self._spec["valid_days"]:
            raise KeyturnError(
                f"PostgreSQL at {self._server}: no password of the role {role} is valid any more (VALID UNTIL); set a later "
                "time there, or valid_days in the entry"
            )

    def _check_alike(self, session: Connection) -> None:
        first, second = self._spec["users"]
        if session.query(ALIKE.format(role=literal(first))) != session.query(ALIKE.format(role=literal(second))):
            raise KeyturnError(
                f"PostgreSQL at {self._server}: {first} and {second} differ in their attributes, settings or memberships, and the "
                "application would be able to do other things after the rotation; make them equal"
            )
        for role in (first, second):
            ((count,),) = session.query(OF_ITS_OWN.format(role=literal(identifier(role))))
            if count != "0":
                raise KeyturnError(
                    f"PostgreSQL at {self._server}: {role} owns objects or has rights of its own ({count}), which the other role lacks; "
                    "give them to a role that both are members of"
                )

    def _wait_for_logins(self, mark: str) -> None:
        """Wait until every login that began before ``mark`` has ended, well or not: until then it is in no list of sessions."""
        with self._session(self._new, self._old) as session, _transaction(session):
            ((left,),) = session.query(LOGINS_END.format(mark=literal(mark)))
        time.sleep(min(int(left), LONGEST_LOGIN) if left and left.isdecimal() else LONGEST_LOGIN)

    def _sessions(self, session: Connection, user: str, mark: str) -> list[str]:
        if not mark:
            return [f"since when sessions of {user} go on is not known: another host had told the issuer"]
        which = {"role": literal(user), "mark": literal(mark)}
        rows = session.query(SESSIONS.format(**which))[:MOST_TOLD]
        if not rows:
            return []
        *_, hidden, count = rows[0]
        if hidden == "t":
            return [f"who changes the role cannot see since when sessions of {user} go on: give it pg_read_all_stats"]
        ended = self._spec["sessions"] == "ended"
        if ended:
            session.query(END.format(**which))
        become = "was ended" if ended else "goes on"
        found = [f"a session that began with the old password {become}: {_session_in_words(*row[:3])}" for row in rows]
        if count != str(len(rows)):
            found.append(f"there are {providers.word(count)} such sessions in all")
        return found

    # -- who says it -----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _session(self, *itself: Login | None) -> Iterator[Connection]:
        """Log in as the admin; without one as the role itself, by the first of its passwords that is accepted."""
        try:
            with self._admin() if self._spec["admin"] else self._itself([one for one in itself if one]) as session:
                yield session
        except Failed as failed:
            raise KeyturnError(
                f"PostgreSQL at {self._server}: {failed.reason}: {REMEDIES.get(failed.code, REMEDY)}"
            ) from None

    @contextlib.contextmanager
    def _admin(self) -> Iterator[Connection]:
        admin = self._spec["admin"]
        with contextlib.ExitStack() as stack:
            server = self._server._replace(port=admin["port"] or self._server.port, database=ADMINS_DATABASE)
            if not admin["system_user"]:
                password = admins_password(admin, self._told)
                users = server_users(admin["server_user"] or SERVER_USER)
                refusal = postgresql.believed if server.tls else Listener(server.port, users).refusal
                login = postgresql.connected(server, admin["user"], password, SECONDS, SAFE, refusal)
                yield stack.enter_context(login)
                return
            # the server looks at who connects, and is looked at: after that root is root again
            with owner.being(admin["system_user"]):
                peers = (0, pwd.getpwnam(admin["system_user"]).pw_uid)
                socket = server._replace(host=admin["socket"], tls=False, peers=peers)
                session = stack.enter_context(postgresql.connected(socket, admin["user"], None, SECONDS, SAFE))
            yield session

    @contextlib.contextmanager
    def _itself(self, logins: Sequence[Login]) -> Iterator[Connection]:
        with contextlib.ExitStack() as stack:
            yield self._first(stack, logins)

    def _first(self, stack: contextlib.ExitStack, logins: Sequence[Login]) -> Connection:
        *first, last = logins
        for login in first:
            with contextlib.suppress(Failed):
                return stack.enter_context(postgresql.connected(self._server, *login, SECONDS))
        return stack.enter_context(postgresql.connected(self._server, *last, SECONDS))


@contextlib.contextmanager
def _transaction(session: Connection) -> Iterator[None]:
    """Do what is within as the role of the login, and find nothing by a name that is not the server's own.

    All settings end with it: a role that changes itself may come by a pooler, which hands the session on to the application.
    """
    session.query("BEGIN")
    # a setting of the role or of the database may have made the session another role's, which may not change this one
    session.query("SET LOCAL ROLE NONE")
    session.query(f"SET LOCAL search_path = {SAFE['search_path']}")
    # no wait for a lock that somebody holds
    session.query(f"SET LOCAL statement_timeout = {STATEMENT_MILLISECONDS}")
    yield
    session.query("COMMIT")


REMEDY = "see that it runs and can be reached from this host, then run this again"
REMEDIES = {
    postgresql.UNBELIEVED: STRANGERS,
    postgresql.WRONG_PASSWORD: "the login that changes the role is not accepted: correct `admin`, or give the entry one",
    "42501": "the login that changes the role may not: give it CREATEROLE, and the right over the role",
    "XX000": "somebody else has changed the role in the same moment: see who, then run this again",
    "57014": "it had not done it in time, since somebody holds the role: end that, then run this again",
}


def _session_in_words(pid: str | None, origin: str | None, name: str | None) -> str:
    """Name a session; a server, and who logs in there, may say anything of it."""
    try:
        place = "a socket" if origin is None else str(ipaddress.ip_interface(origin).ip)
    except ValueError:
        place = "a place that is no address"
    told = providers.word(name) or "a program that has no plain name"
    return f"{told} from {place} (process {providers.word(pid)})"


def _named(login: Login | None) -> Login:
    if login is None:
        raise KeyturnError("there is no value yet to tell the issuer")
    return login
