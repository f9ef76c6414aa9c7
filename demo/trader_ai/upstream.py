"""One keep-alive connection to a provider's base URL."""

from __future__ import annotations

import http.client
import json
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 5.0


class Upstream:
    """Sends requests over one connection, so that a thousand of them take about a second."""

    def __init__(self, base_url: str) -> None:
        url = urlsplit(base_url)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(url.hostname or "", url.port, timeout=TIMEOUT_SECONDS)
        self._prefix = url.path.rstrip("/")

    def __enter__(self) -> Upstream:
        """Use as a context: the connection is closed at its end."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        """Close the connection."""
        self._connection.close()

    def request(
        self, method: str, path: str, headers: dict[str, str], body: Any = None
    ) -> tuple[int, str, dict[str, Any]]:
        """Return status, reason and the JSON object answered; OSError when the provider cannot be reached."""
        payload = None if body is None else json.dumps(body).encode()
        headers = {**headers, "Content-Type": "application/json"}
        for last_try in (False, True):
            try:
                self._connection.request(method, self._prefix + path, payload, headers)
                response = self._connection.getresponse()
                content = response.read()
                break
            except (http.client.HTTPException, OSError) as error:
                # A server may close an idle connection; a second failure is a real one.
                self._connection.close()
                if last_try:
                    raise OSError(f"no answer: {type(error).__name__}") from None
        try:
            answer = json.loads(content)
        except ValueError:
            answer = {}
        return response.status, response.reason, answer if isinstance(answer, dict) else {}
