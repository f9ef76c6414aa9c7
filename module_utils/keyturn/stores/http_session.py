"""The HTTP session of OpenBao's client: an answer has a size, and no redirect leads from https to http."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

MOST_BYTES = 1 << 22


class _Bounded(HTTPAdapter):
    def send(
        self, request: requests.PreparedRequest, stream: bool = False, *args: Any, **more: Any
    ) -> requests.Response:
        answer = super().send(request, True, *args, **more)
        content = answer.raw.read(MOST_BYTES + 1, decode_content=True)
        if len(content) > MOST_BYTES:
            raise requests.ConnectionError("the answer is too long")
        answer._content = content
        answer.close()
        return answer


def session(url: str, verify: str | bool) -> requests.Session:
    """Return a session for the store at ``url``. From https no redirect leads to http, where values could be read on their way."""
    found = requests.Session()
    found.verify = verify
    found.adapters.clear()
    for scheme in {urlsplit(url).scheme, "https"}:
        found.mount(f"{scheme}://", _Bounded())
    return found
