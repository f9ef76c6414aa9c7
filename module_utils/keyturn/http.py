"""HTTP to a service on this host, by the standard library: no proxy, no redirect, a verdict instead of an exception."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        return None


def get(url: str, timeout: float, headers: Mapping[str, str] | None = None) -> int | None:
    """Return the status of GET ``url``, None when there was no HTTP answer within ``timeout`` seconds."""
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 - the catalogue's spec allows http(s) only
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        with opener.open(request, timeout=timeout) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError):
        return None


def good(status: int | None) -> bool:
    """Tell whether the status is a 2xx."""
    return status is not None and 200 <= status < 300
