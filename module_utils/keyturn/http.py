"""HTTP by the standard library: no proxy, no redirect, no retry, an answer instead of an exception."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

BODY_BYTES = 1 << 16


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        return None


class Answer(NamedTuple):
    """The status (None when there was no HTTP answer), the first bytes of the body, and the headers by lower-case name."""

    status: int | None
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})

    def document(self) -> dict[str, Any]:
        """Return the JSON object of the body, empty where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def listed(self) -> list[dict[str, Any]] | None:
        """Return the JSON objects of a list, None where the body is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return None
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else None


def ask(
    url: str,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | bytes | None = None,
    *,
    method: str | None = None,
    limit: int = BODY_BYTES,
) -> Answer:
    """Send GET ``url``, or POST with ``body`` as JSON, and wait at most ``timeout`` seconds for each step of the answer.

    A body in bytes is JSON already. ``method`` is another method. Of the answer's body at most ``limit`` bytes are read.
    """
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    more = {} if body is None else {"Content-Type": "application/json"}
    # the catalogue's spec allows http and https only
    request = urllib.request.Request(url, data=content, headers={**(headers or {}), **more}, method=method)  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        with opener.open(request, timeout=timeout) as answer:
            return _answer(int(answer.status), answer, limit)
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error.code, error, limit)
    except (OSError, ValueError, http.client.HTTPException):
        return Answer(None, b"")


def _answer(status: int, said: Any, limit: int) -> Answer:
    headers = {name.lower(): value for name, value in said.headers.items()}
    try:
        return Answer(status, said.read(limit), headers)
    except (OSError, http.client.HTTPException):  # cut off: what is missing cannot be judged
        return Answer(status, b"", headers)


def get(url: str, timeout: float, headers: Mapping[str, str] | None = None) -> int | None:
    """Return the status of GET ``url``, None when there was no HTTP answer."""
    return ask(url, timeout, headers).status


def good(status: int | None) -> bool:
    """Tell whether the status is a 2xx."""
    return status is not None and 200 <= status < 300
