"""A PostgreSQL server of Debian's for tests: started as a user that is not root, on a socket and a port of the loopback."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2

from support.lab import SERVERS, free_port

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/nowhere"))
PASSWORD = "a-password-of-the-tests"


class Server:
    """One server, with its data in a folder of its own."""

    def __init__(self, folder: Path, settings: str = "", follows: Server | None = None) -> None:
        self.folder, self.data, self.port = folder, folder / "data", free_port()
        self.user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        folder.chmod(0o755)
        if os.getuid() == 0:
            shutil.chown(folder, self.user)
        if follows:
            source = ["-h", str(follows.folder), "-p", str(follows.port), "-U", "postgres"]
            self._run("pg_basebackup", "-D", str(self.data), *source, "-R", "--checkpoint=fast", "--no-sync")
        else:
            self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n"
                "shared_buffers = 64MB\nmax_connections = 40\ndeadlock_timeout = 200ms\nautovacuum = off\n"
                f"max_wal_size = 4GB\nwal_level = minimal\nmax_wal_senders = 0\n{settings}"
            )
        self.start()

    def _run(self, program: str, *arguments: str) -> str:
        command = [str(BIN / program), *arguments]
        if os.getuid() == 0:
            command = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups", *command]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, check=False)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "-w", "-t", "120", "-D", str(self.data), "-l", log, "-s")

    def stop(self) -> None:
        """End it and all its sessions."""
        with contextlib.suppress(AssertionError):
            self._run("pg_ctl", "stop", "-D", str(self.data), "-m", "immediate", "-s")

    def kill(self) -> None:
        """End it as a loss of power does: every process by SIGKILL, the first one first, so that it tidies nothing."""
        first = int((self.data / "postmaster.pid").read_text().split()[0])
        pids = [first, *(int(pid) for pid in Path(f"/proc/{first}/task/{first}/children").read_text().split())]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            time.sleep(0.02)

    def give(self, path: Path) -> Path:
        """Let the server alone read a file; return it in its folder."""
        given = Path(shutil.copy(path, self.folder))
        given.chmod(0o600)
        if os.getuid() == 0:
            shutil.chown(given, self.user)
        return given

    def reach_by_tls(self, address: str, network: str, certificate: Path, key: Path) -> None:
        """Let a network in over TLS alone, by a password."""
        for name, value in (
            ("listen_addresses", f"127.0.0.1,{address}"),
            ("ssl_cert_file", str(self.give(certificate))),
            ("ssl_key_file", str(self.give(key))),
            ("ssl", "on"),
        ):
            self.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        with (self.data / "pg_hba.conf").open("a") as file:
            file.write(f"hostssl all all {network} scram-sha-256\n")
        self.stop()
        self.start()

    @contextlib.contextmanager
    def session(self, database: str = "postgres", user: str = "postgres") -> Iterator[Any]:
        """Yield a cursor; each statement is a transaction."""
        connection = psycopg2.connect(host=str(self.folder), port=self.port, dbname=database, user=user)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def sql(self, statement: str, *parameters: Any, database: str = "postgres") -> list[Any]:
        """Run a statement as the superuser and return its rows."""
        with self.session(database) as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    def database(self, name: str) -> str:
        """Make a database with an owner of its name, who may log in; return its URL."""
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self.sql(f"DROP ROLE IF EXISTS {name}")
        self.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        self.sql(f"CREATE DATABASE {name} OWNER {name}")
        return f"postgresql://{name}:{PASSWORD}@127.0.0.1:{self.port}/{name}"


@contextlib.contextmanager
def pooler(server: Server, database: str) -> Iterator[str]:
    """Yield the URL of a database behind pgbouncer, which gives each transaction whatever session is free."""
    port, settings = free_port(), server.folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n{database} = host={server.folder} port={server.port} user={database}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\nlogfile = {server.folder}/pgbouncer.log\n"
    )
    command = ["/usr/sbin/pgbouncer", str(settings)]
    if os.getuid() == 0:
        shutil.chown(settings, server.user)
        command = ["setpriv", f"--reuid={server.user}", f"--regid={server.user}", "--init-groups", *command]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=server.folder) as process:
        try:
            deadline = time.monotonic() + 60
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert process.poll() is None and time.monotonic() < deadline, "pgbouncer does not start"
                time.sleep(0.05)
            yield f"postgresql://{database}@127.0.0.1:{port}/{database}"
        finally:
            process.terminate()


@contextlib.contextmanager
def primary_and_standby() -> Iterator[tuple[Server, Server]]:
    """Yield two servers, of which the second follows the first as a streaming replica."""
    replicated = "wal_level = replica\nmax_wal_senders = 3\n"
    with tempfile.TemporaryDirectory(prefix=SERVERS) as first, tempfile.TemporaryDirectory(prefix=SERVERS) as second:
        primary = Server(Path(first), replicated)
        try:
            standby = Server(Path(second), replicated, follows=primary)
            try:
                yield primary, standby
            finally:
                standby.stop()
        finally:
            primary.stop()


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Yield a server that ends with the block, and its data with it."""
    with tempfile.TemporaryDirectory(prefix=SERVERS) as folder:
        made = Server(Path(folder))
        try:
            yield made
        finally:
            made.stop()
