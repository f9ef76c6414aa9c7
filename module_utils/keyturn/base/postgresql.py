"""A login to PostgreSQL and statements without parameters, by its protocol (version 3) and SCRAM-SHA-256 alone.

libpq would answer a server that asks for the password in clear, and a host need not have it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import ssl
import struct
import time
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from . import deadline, scram
from .errors import KeyturnError

PORT = 5432
PROTOCOL, TLS_REQUEST = 196608, 80877103
OK, SASL, SASL_GOES_ON, SASL_ENDS = 0, 10, 11, 12
MECHANISM = b"SCRAM-SHA-256"
# of a message, and of all rows of an answer
MOST_BYTES, MOST_ROWS = 1 << 20, 1000
# the classes of messages that may come at any time, and say nothing that is asked
ASIDE = b"NSA"
CODE = re.compile(r"[0-9A-Z]{5}")
WRONG_PASSWORD = "28P01"  # noqa: S105 - a code
# in the place of such a code: who answers is not to be believed
UNBELIEVED = "stranger"
STRANGE = "what answers does not speak PostgreSQL's protocol"
NOTHING: Mapping[str, str] = MappingProxyType({})
Row = tuple[str | None, ...]
Refusal = Callable[[socket.socket], str]


def believed(connection: socket.socket) -> str:
    """Refuse nobody."""
    return ""


class Failed(Exception):
    """The server, or the way to it, has refused: ``reason`` is made of constants.

    ``code`` is PostgreSQL's own (SQLSTATE), ``UNBELIEVED``, or empty.
    """

    def __init__(self, reason: str, code: str = "") -> None:
        super().__init__(reason)
        self.reason, self.code = reason, code


class Address(NamedTuple):
    """Where a server is: a host by TCP, or the folder of its socket; ``tls`` wants the certificate of ``host`` to be right.

    ``peers`` are the users (uid) one of whom must be at the other end of a socket, where not everybody may.
    """

    host: str
    port: int
    database: str
    tls: bool = True
    ca_bundle: str | None = None
    peers: Collection[int] | None = None

    def __str__(self) -> str:
        """Return it as a message names it."""
        return f"{self.host}:{self.port}/{self.database}"


def address(url: str, tls: bool = True, ca_bundle: str | None = None) -> Address:
    """Return the server of ``postgresql://HOST:PORT/DATABASE``; KeyturnError for anything else.

    Over the network it is TLS; what stays on this machine needs none.
    """
    if reason := fault(url):
        raise KeyturnError(f"the provider's url {reason}")
    parts = urllib.parse.urlsplit(url)
    host = str(parts.hostname)
    return Address(host, parts.port or PORT, parts.path.lstrip("/"), tls and not _is_loopback(host), ca_bundle)


def fault(url: str) -> str:
    """Return what is wrong with an address, empty where nothing is."""
    try:
        parts = urllib.parse.urlsplit(url)
        plain = not (parts.query or parts.fragment or "@" in parts.netloc)
        whole = parts.scheme == "postgresql" and bool(parts.hostname) and re.fullmatch(r"/[\w.-]{1,63}", parts.path)
        return "" if plain and whole and (parts.port or PORT) else "must be postgresql://HOST:PORT/DATABASE and no more"
    except ValueError:
        return "must be postgresql://HOST:PORT/DATABASE and no more"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def identifier(name: str) -> str:
    """Return a name as a statement has it; KeyturnError for one that no role can have."""
    if not name or "\0" in name or len(name.encode()) > 63:
        raise KeyturnError("a role's name has 1 to 63 bytes, none of them 0")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as a statement has it, whatever ``standard_conforming_strings`` says."""
    if "\0" in text:
        raise KeyturnError("a text of a statement has no byte 0")
    quoted = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{quoted}'"


class Connection:
    """A session; everything in it ends with one deadline."""

    def __init__(self, sock: socket.socket, ends: float) -> None:
        self._sock, self._ends = sock, ends

    def query(self, statement: str) -> list[Row]:
        """Run one statement and return its rows as text; Failed with the server's code, and for more than an answer may have."""
        self._send(b"Q", statement.encode() + b"\0")
        rows: list[Row] = []
        failure: Failed | None = None
        left = MOST_BYTES
        while True:
            kind, content = self._receive()
            if kind == b"D":
                left -= len(content)
                if left < 0 or len(rows) == MOST_ROWS:
                    raise Failed(f"the answer has more than {MOST_BYTES} bytes or {MOST_ROWS} rows")
                rows.append(_row(content))
            elif kind == b"E":
                failure = _failed(content)
            elif kind == b"Z":
                if failure:
                    raise failure
                return rows

    def log_in(self, user: str, database: str, password: str | None, settings: Mapping[str, str] = NOTHING) -> None:
        """Begin the session. Without ``password`` the server has to know the user by the socket; with one it has to ask for it.

        ``settings`` hold from the first moment on, whatever the owner of the database has set for it.
        """
        told = {
            "user": user,
            "database": database,
            "application_name": "keyturn",
            "client_encoding": "UTF8",
            **settings,
        }
        named = b"".join(part.encode() + b"\0" for pair in told.items() for part in pair)
        self._send(b"", struct.pack("!i", PROTOCOL) + named + b"\0")
        self._authenticate(password)
        while self._expect(b"KZ")[0] != b"Z":
            pass

    def _authenticate(self, password: str | None) -> None:
        """Go as far as the server's word that the user is in; where there is a password, only after it has proved that it knows it."""
        method, content = self._method()
        if password is not None and method == OK:
            raise Failed("the server lets in without a password, so the login proves nothing (trust in pg_hba.conf?)")
        if password is not None and method == SASL and MECHANISM in content.split(b"\0"):
            self._prove(password)
            method, _ = self._method()
        if method != OK:
            raise Failed("the server wants another way to log in than SCRAM-SHA-256")

    def log_out(self) -> None:
        """End the session, so that the server has nothing to wait for."""
        self._send(b"X", b"")

    def _prove(self, password: str) -> None:
        exchange = scram.Exchange(password)
        first = exchange.first()
        self._send(b"p", MECHANISM + b"\0" + struct.pack("!i", len(first)) + first)
        try:
            self._send(b"p", exchange.final(self._authentication(SASL_GOES_ON)))
            exchange.check(self._authentication(SASL_ENDS))
        except scram.Unfit:
            raise Failed("what answers is no server that knows the password") from None

    def _authentication(self, wanted: int) -> bytes:
        method, content = self._method()
        if method != wanted:
            raise scram.Unfit
        return content

    def _method(self) -> tuple[int, bytes]:
        _, content = self._expect(b"R")
        return struct.unpack("!i", content[:4])[0], content[4:]

    def _expect(self, kinds: bytes) -> tuple[bytes, bytes]:
        """Return the next message where it is of one of ``kinds``; Failed for an error, and for all that has no place there."""
        kind, content = self._receive()
        if kind == b"E":
            raise _failed(content)
        if kind not in kinds:
            raise Failed(STRANGE)
        return kind, content

    def _send(self, kind: bytes, content: bytes) -> None:
        self._sock.settimeout(self._left())
        self._sock.sendall(kind + struct.pack("!i", len(content) + 4) + content)

    def _receive(self) -> tuple[bytes, bytes]:
        while True:
            head = self._exactly(5)
            (size,) = struct.unpack("!i", head[1:])
            if not 4 <= size <= MOST_BYTES:
                raise Failed(STRANGE)
            content = self._exactly(size - 4)
            if head[:1] not in ASIDE:
                return head[:1], content

    def _exactly(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size:
            self._sock.settimeout(self._left())
            part = self._sock.recv(size)
            if not part:
                raise Failed("the server has closed the connection")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _left(self) -> float:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


@contextlib.contextmanager
def connected(
    to: Address,
    user: str,
    password: str | None,
    seconds: float,
    settings: Mapping[str, str] = NOTHING,
    refusal: Refusal = believed,
) -> Iterator[Connection]:
    """Log in; Failed where the server or the way to it refuses, and for a deadline that is over in between as well.

    ``refusal`` says of the connection, before anything is sent, why who has it is not to be believed.
    """
    ends = time.monotonic() + seconds
    try:
        with contextlib.closing(_socket(to, ends, refusal)) as sock:
            connection = Connection(sock, ends)
            connection.log_in(user, to.database, password, settings)
            yield connection
            connection.log_out()
    except TimeoutError:
        raise Failed("no answer in time") from None
    except ssl.SSLError:
        raise Failed("the server's certificate is not accepted") from None
    except (OSError, UnicodeError, struct.error):
        raise Failed("no connection") from None


def _socket(to: Address, ends: float, refusal: Refusal = believed) -> socket.socket:
    if to.host.startswith("/"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(max(0.0, ends - time.monotonic()))
        sock.connect(f"{to.host}/.s.PGSQL.{to.port}")
        _check_peer(sock, to)
        return sock
    sock = deadline.connection(to.host, to.port, ends)
    if why := refusal(sock):
        sock.close()
        raise Failed(why, UNBELIEVED)
    if not to.tls:
        return sock
    sock.sendall(struct.pack("!ii", 8, TLS_REQUEST))
    if sock.recv(1) != b"S":
        sock.close()
        raise Failed("the server has no TLS")
    return ssl.create_default_context(cafile=to.ca_bundle).wrap_socket(sock, server_hostname=to.host)


def _check_peer(sock: socket.socket, to: Address) -> None:
    """Refuse a socket at whose other end is somebody else than the server: in a folder of many anybody can make one."""
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if to.peers is not None and uid not in to.peers:
        sock.close()
        raise Failed(
            f"the user {uid} answers at the socket in {to.host}, who is neither root nor its system_user", UNBELIEVED
        )


def _row(content: bytes) -> Row:
    (columns,) = struct.unpack("!h", content[:2])
    found: list[str | None] = []
    at = 2
    for _ in range(columns):
        (size,) = struct.unpack("!i", content[at : at + 4])
        at += 4
        found.append(None if size < 0 else content[at : at + size].decode())
        at += max(size, 0)
    return tuple(found)


def _failed(content: bytes) -> Failed:
    """Take the code of an error: its text may quote what the server was told."""
    fields = {part[:1]: part[1:].decode(errors="replace") for part in content.split(b"\0") if part}
    code = fields.get(b"C", "")
    code = code if CODE.fullmatch(code) else ""
    return Failed(f"the server refuses with {code or 'an error'}", code)
