"""A real PostgreSQL of a test's own: Debian's programs, a folder, a port and a socket, run by Debian's own user."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from keyturn.base import scram
from keyturn.base.postgresql import literal

from support.lab import SERVERS, Lab, catalogue, free_port, optional

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))
USER = "postgres"
# the superuser comes by the socket, everybody else by TCP with a password; and all that is said stands in the log
SETTINGS = """
listen_addresses = '{listen}'
port = {port}
unix_socket_directories = '{folder}'
fsync = off
log_statement = all
log_min_messages = debug1
log_connections = on
"""
ACCESS = """
local all postgres peer
host all all {network} scram-sha-256
"""
APPLICATION, ALTERNATE, OWNER, DATABASE = "trader", "trader_b", "trader_owner", "trader"
ADMIN, ADMINS_PASSWORD = "keyturn", "canary-of-the-admin"


class PostgreSQL:
    """A server with the database ``trader`` and the role ``trader``; ``with`` it, it runs."""

    def __init__(self, listen: str = "127.0.0.1", network: str = "127.0.0.1/32") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=SERVERS))
        self.host, self.port = listen, free_port()
        self.log = self.folder / "log"
        shutil.chown(self.folder, USER, USER)
        self.folder.chmod(0o755)
        self._run("initdb", "-D", str(self.data), "-A", "peer", "--no-sync", "-E", "UTF8", "--locale=C")
        settings = SETTINGS.format(listen=listen, port=self.port, folder=self.folder)
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(settings)
        (self.data / "pg_hba.conf").write_text(ACCESS.format(network=network))

    @property
    def data(self) -> Path:
        """The folder of the cluster."""
        return self.folder / "data"

    @property
    def url(self) -> str:
        """The address as an entry of the catalogue has it."""
        return f"postgresql://{self.host}:{self.port}/{DATABASE}"

    @property
    def admin(self) -> dict[str, Any]:
        """The superuser, as ``admin`` of an issuer."""
        return {"user": USER, "system_user": USER, "socket": str(self.folder), "port": self.port}

    def admin_by_password(self, folder: Path) -> dict[str, Any]:
        """Return another admin, who comes as the application does; its password is in a file of ``folder``."""
        path = folder / "admin"
        path.write_text(ADMINS_PASSWORD + "\n")
        path.chmod(0o600)
        return {"user": ADMIN, "password_file": str(path)}

    def __enter__(self) -> PostgreSQL:
        self.start()
        self.sql(f"CREATE ROLE {OWNER} NOLOGIN")
        self.sql(f"CREATE ROLE {ADMIN} LOGIN CREATEROLE IN ROLE pg_read_all_stats, pg_signal_backend")
        self.give(ADMIN, ADMINS_PASSWORD)
        self.sql(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        for role in (APPLICATION, ALTERNATE):
            self.sql(f"CREATE ROLE {role} LOGIN IN ROLE {OWNER}")
            self.sql(f"ALTER ROLE {role} SET role = {OWNER}")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        self._run("pg_ctl", "-D", str(self.data), "-l", str(self.log), "-w", "-t", "120", "start")

    def stop(self) -> None:
        """Stop the server at once; one that does not run stays so."""
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "stop")

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement as the superuser and return its rows as text."""
        options = ("-h", str(self.folder), "-p", str(self.port), "-d", database, "-AtX", "-v", "ON_ERROR_STOP=1")
        return self._run("psql", *options, "-c", statement).strip()

    def give(self, role: str, password: str) -> None:
        """Give a role a password, of which the server's log has nothing."""
        self.sql(f"ALTER ROLE {role} LOGIN PASSWORD '{scram.verifier(password)}'")

    def forget(self, role: str) -> None:
        """Take a role's password."""
        self.sql(f"ALTER ROLE {role} PASSWORD NULL")

    def restore(self, role: str, kept: str) -> None:
        """Give a role again what the server kept of its password (``verifier``), or none."""
        self.sql(f"ALTER ROLE {role} LOGIN PASSWORD {literal(kept) if kept else 'NULL'}")

    def verifier(self, role: str) -> str:
        """Return what the server keeps of a role's password."""
        return self.sql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")

    def logged(self) -> str:
        """Return all that the server has logged."""
        return self.log.read_text(errors="replace")

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [PROGRAMS / program, *arguments],
            user=USER,
            group=USER,
            extra_groups=[],
            cwd="/",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            text=True,
            check=False,
            capture_output=program == "psql",
            stdout=None if program == "psql" else subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"
        return done.stdout or ""


# what an application does at its start, by its own driver: without a login there is no start
LOGIN = """
import sys, psycopg2
held = dict(line.rstrip("\\n").split("=", 1) for line in open(".env") if "=" in line)
psycopg2.connect(host={host!r}, port={port}, dbname={database!r}, user=held.get("DB_USER", {user!r}), password=held["DB_PASSWORD"])
"""
START = "/usr/bin/python3 login.py 2>/dev/null || exit 9\n"


def entry(server: PostgreSQL, url: str = "", **issuer: Any) -> dict[str, Any]:
    """Return an entry of the catalogue for the password of the role ``trader``; ``url`` is another way to the server."""
    alternates = issuer.get("strategy") == "alternating"
    return {
        **optional()["db_password"],
        "variables": ["DB_USER", "DB_PASSWORD"] if alternates else ["DB_PASSWORD"],
        "source": {"kind": "generated", "generator": "password"} | ({"may_stay": ["DB_USER"]} if alternates else {}),
        "provider": {"kind": "postgresql", "url": url or server.url} | ({} if alternates else {"user": APPLICATION}),
        "issuer": {"kind": "postgresql_role", "strategy": "single"} | issuer,
        "switch": "rolling" if alternates else "together",
        "overlap": "both" if alternates else "none",
        "downtime_budget_seconds": 1800,
    }


def turns(server: PostgreSQL) -> dict[str, Any]:
    """Return the issuer of two roles that take turns."""
    return {"strategy": "alternating", "users": [APPLICATION, ALTERNATE], "admin": server.admin}


class Application:
    """The stand-in of a lab, which needs its database to start."""

    def __init__(self, lab: Lab, server: PostgreSQL, password: str, **issuer: Any) -> None:
        self.lab, self.server = lab, server
        self.entry = entry(server, **issuer)
        server.give(APPLICATION, password)
        server.sql(f"ALTER ROLE {ALTERNATE} PASSWORD NULL")
        user = [f"DB_USER={APPLICATION}\n"] if len(self.entry["variables"]) > 1 else []
        kept = [line for line in lab.env.read_text().splitlines(keepends=True) if not line.startswith("DB_")]
        lab.env.write_text("".join([*kept, *user, f"DB_PASSWORD={password}\n"]))
        place = {"host": server.host, "port": server.port, "database": DATABASE, "user": APPLICATION}
        (lab.app / "login.py").write_text(LOGIN.format(**place))
        start = lab.app / "start.sh"
        start.write_text(start.read_text().replace("mkdir -p logs run\n", "mkdir -p logs run\n" + START))
        self.catalogue = lab.folder / "catalogue.json"
        self.describe()
        lab.start()

    def describe(self, **issuer: Any) -> None:
        """Write the catalogue; ``issuer`` are further options of the issuer."""
        described = self.entry | {"issuer": self.entry["issuer"] | issuer}
        self.catalogue.write_text(json.dumps({"keyturn_secrets": catalogue() | {"db_password": described}}))

    def play(self, playbook: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook about the password."""
        secret = ("-e", "keyturn_secret=db_password") if playbook == "rotate" else ()
        return self.lab.play(playbook, "-e", f"@{self.catalogue}", *secret, *arguments, **environment)

    def held(self) -> dict[str, str]:
        """Return what the application has."""
        env = dotenv_values(self.lab.env)
        return {name: str(env[name]) for name in self.entry["variables"]}

    def verdict(self, held: Mapping[str, str]) -> str:
        """Return what PostgreSQL says of values, by the application's own driver."""
        user = held.get("DB_USER", APPLICATION)
        code = "import sys, psycopg2; psycopg2.connect(sys.argv[1] + ' password=' + sys.stdin.read())"
        place = f"host={self.server.host} port={self.server.port} dbname={DATABASE} user={user}"
        done = subprocess.run(
            ["/usr/bin/python3", "-c", code, place], input=held["DB_PASSWORD"], text=True, capture_output=True
        )
        assert done.returncode in (0, 1), done.stderr
        assert done.returncode == 0 or "password authentication failed" in done.stderr, done.stderr
        return "rejected" if done.returncode else "accepted"


class Way(socketserver.ThreadingTCPServer):
    """The way from a host to the server, which may be broken: by ``mood``.

    ``away``: nobody answers. ``stuck``: somebody takes the connection and says nothing. ``refused``: it breaks before a statement that
    changes a role comes through. ``lost``: it breaks after its commit, before the answer. ``twice``: that answer comes two times. ``slow``:
    each piece takes its time.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, server: PostgreSQL) -> None:
        self.server, self.mood, self.changes = server, "", 0
        super().__init__(("127.0.0.1", free_port()), _Pair)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """The address as an entry of the catalogue has it."""
        return f"postgresql://127.0.0.1:{self.server_address[1]}/{DATABASE}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is what this is for."""


class _Pair(socketserver.BaseRequestHandler):
    server: Way

    def handle(self) -> None:
        """Carry both directions until one ends."""
        way = self.server
        if way.mood == "away":
            return
        if way.mood == "stuck":
            self.request.recv(1)  # the start of a session, and then until the other end has had enough
            while self.request.recv(4096):
                pass
            return
        with socket.create_connection((way.server.host, way.server.port)) as other:
            changing = altered = False
            while True:
                ready = select.select([self.request, other], [], [])[0]
                for source, target in ((self.request, other), (other, self.request)):
                    if source not in ready:
                        continue
                    piece = source.recv(65536)
                    if not piece:
                        return
                    if source is self.request and b"ALTER ROLE" in piece:
                        way.changes += 1
                        if way.mood == "refused":
                            return
                        altered = True
                    if source is self.request and altered and b"COMMIT" in piece:
                        changing, altered = True, False
                    answered = source is other and changing
                    if answered and way.mood == "lost":
                        return
                    if way.mood == "slow":
                        time.sleep(0.05)
                    target.sendall(piece * 2 if answered and way.mood == "twice" else piece)
                    changing = changing and not answered
