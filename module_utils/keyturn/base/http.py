"""HTTP by the standard library: no proxy, no redirect, no retry, an answer instead of an exception, and one deadline for all of it."""

from __future__ import annotations

import functools
import http.client
import io
import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from . import deadline, shape
from .errors import KeyturnError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BODY_BYTES = 1 << 16
Connected = Callable[[socket.socket], None]


class _Until(io.RawIOBase):
    """What a socket receives up to a moment, in however small pieces it comes. Its own timeout is for one piece."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, end: float) -> None:
        self._raw, self._sock, self._end = raw, sock, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, end: float, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        self.fp = io.BufferedReader(_Until(self.fp.detach(), sock, end))


class _Connection(http.client.HTTPConnection):
    """A connection whose deadline begins when it is made; ``connected`` is called before anything is sent."""

    def __init__(self, *args: Any, connected: Connected, **more: Any) -> None:
        super().__init__(*args, **more)
        self._connected, self._end = connected, time.monotonic() + (self.timeout or 0)
        self._create_connection = lambda place, *_: deadline.connection(place[0], place[1], self._end)
        self.response_class = functools.partial(_Response, end=self._end)  # type: ignore[assignment]

    def connect(self) -> None:
        super().connect()
        try:
            self._connected(self.sock)
        except BaseException:
            self.close()
            raise
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(left)


class _TlsConnection(_Connection, http.client.HTTPSConnection):
    pass


class _Handler(urllib.request.HTTPHandler):
    def __init__(self, connected: Connected) -> None:
        super().__init__()
        self._connected = connected

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_Connection, connected=self._connected), req)


class _TlsHandler(urllib.request.HTTPSHandler):
    def __init__(self, connected: Connected) -> None:
        super().__init__()
        self._connected = connected

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_TlsConnection, connected=self._connected), req)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: object) -> None:
        return None


class Answer(NamedTuple):
    """The status (None when there was no HTTP answer), the first bytes of the body, and the headers by lower-case name."""

    status: int | None
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})

    def document(self) -> dict[str, object]:
        """Return the JSON object of the body, empty where it is none."""
        found = shape.parse(self.body)
        return found if isinstance(found, dict) else {}

    def listed(self) -> list[dict[str, object]] | None:
        """Return the JSON objects of a list, None where the body is none."""
        found = shape.parse(self.body)
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else None


USER = "has a user or a password in it, which would be shown, and is never sent: take it out"
QUERY = "has a query in it, which would be shown, and paths are put after it: take it out"


def fault(url: str, whole: bool = False) -> str:
    """Return what is wrong with an address, empty where nothing is. One that is not ``whole`` has paths put after it."""
    try:
        parts = urllib.parse.urlsplit(url)
        if "@" in parts.netloc:
            return USER
        if not whole and (parts.query or parts.fragment):
            return QUERY
        reachable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # also of a port that is no number, or too large
        reachable = False
    return (
        "" if reachable else "must begin with http:// or https:// and a host, and a port behind it is from 1 to 65535"
    )


def ask(
    url: str,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    body: Mapping[str, object] | bytes | None = None,
    *,
    method: str | None = None,
    limit: int = BODY_BYTES,
    connected: Connected = lambda connection: None,
) -> Answer:
    """Send GET ``url``, or POST with ``body`` as JSON, and wait at most ``timeout`` seconds for the whole of the answer.

    A body in bytes is JSON already. ``method`` is another method. Of the answer's body at most ``limit`` bytes are read. ``connected``
    is called with the connection, when it stands and nothing has been sent; what it raises is passed on.
    KeyturnError where the address has a user or a password in it. To find the address of a name the system takes its own time.
    """
    if fault(url) == USER:
        raise KeyturnError(f"an address {USER}")
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    more = {} if body is None else {"Content-Type": "application/json"}
    handlers = (_NoRedirect, _Handler(connected), _TlsHandler(connected))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
    try:
        # the catalogue's spec allows http and https only
        request = urllib.request.Request(url, data=content, headers={**(headers or {}), **more}, method=method)  # noqa: S310
        with opener.open(request, timeout=timeout) as answer:
            return _answer(int(answer.status), answer, limit)
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error.code, error, limit)
    except (OSError, ValueError, http.client.HTTPException):
        return Answer(None, b"")


def _answer(status: int, response: http.client.HTTPResponse | urllib.error.HTTPError, limit: int) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    try:
        body = response.read(limit)
    except (OSError, http.client.HTTPException):
        body = b""
    # cut off: what is missing cannot be judged
    whole = len(body) == limit or not response.length
    return Answer(status, body if whole else b"", headers)


def get(
    url: str,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    connected: Connected = lambda connection: None,
) -> int | None:
    """Return the status of GET ``url``, None when there was no HTTP answer; ``connected`` as for ``ask``."""
    return ask(url, timeout, headers, connected=connected).status


def good(status: int | None) -> bool:
    """Tell whether the status is a 2xx."""
    return status is not None and 200 <= status < 300
