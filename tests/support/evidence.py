"""What tests compare: every byte of a folder, and a client that uses the application without a pause."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.lab import Lab

Files = dict[str, tuple[str, int]]


def files(*folders: Path) -> Files:
    """Return hash and time of change of every file below the folders, but for the application's logs and the lock of a call."""
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name not in ("logs", "run") and path.name != "lock"
    }


def everything(lab: Lab) -> Files:
    """Return the files of a lab that a rotation may change."""
    return files(lab.app, lab.state, lab.reports)


def lost(lab: Lab, expected: Mapping[str, str]) -> list[str]:
    """Return the items whose token the application does not read as it was written."""
    read = lab.tokens_read()
    return sorted(item for item, token in expected.items() if read.get(item) != token)


class Client:
    """Writes, deletes and reads items through HTTP for as long as the test's block lasts."""

    def __init__(self, lab: Lab) -> None:
        self.url = f"http://127.0.0.1:{lab.port}/api/bank"
        self.login = lab.login
        self.written: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.uncertain: set[str] = set()
        self.reads = {"good": 0, "bad": 0, "no answer": 0}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(60)

    def _work(self) -> None:
        # about 30 calls in a second
        number = 0
        while not self._end.wait(0.02):
            number += 1
            if number % 5 == 0 and self.written:
                self._delete(next(iter(self.written)))
            elif number % 5 == 1:
                status = self._call("GET", "/accounts")
                self.reads["no answer" if status is None else "good" if status == 200 else "bad"] += 1
            else:
                self._write(f"client-{number:05d}", f"access-production-{uuid.uuid4()}")

    def _write(self, item: str, token: str) -> None:
        status = self._call("POST", "/items", {"item_id": item, "access_token": token, "institution_name": "Client"})
        if status is not None and status < 300:
            self.written[item] = token
        else:
            self.uncertain.add(item)

    def _delete(self, item: str) -> None:
        token = self.written.pop(item)
        status = self._call("DELETE", f"/items/{item}")
        if status is not None and status < 300:
            self.deleted.add(item)
        elif status is None:
            self.uncertain.add(item)
        else:
            self.written[item] = token

    def _call(self, method: str, path: str, body: Any = None) -> int | None:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self.login()}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except (OSError, http.client.HTTPException):
            return None
