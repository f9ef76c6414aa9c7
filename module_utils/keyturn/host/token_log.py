"""What a replacement of access tokens has done so far: one JSON line for each step of an item, durable before the next step.

A new token stands in it encrypted under the application's own database key, and nowhere in clear. While the file is
there the replacement is open, and no rotation begins.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..base import durable, shape
from .journal import REPLACEMENT

SUMMARY = "replacement.json"
RECEIVED = {"state": "received", **dict.fromkeys(("item", "old", "new", "sealed"), str)}
STEP = (RECEIVED, {"item": str, "state": re.compile(r"(?!received$)\w+"), "*": str})


class TokenLog:
    """The log of one application's open replacement. ``items`` has the last step of each item."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / REPLACEMENT
        self.items: dict[str, dict[str, str]] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in self.path.read_bytes().splitlines():
                step: Any = shape.parse(line)
                if step is None:
                    continue  # cut off by a kill: the step has not happened
                shape.check(str(self.path), STEP, step, "somebody or the disk damaged it; restore it")
                self.items[step["item"]] = step

    def state(self, item: str) -> str:
        """Return the last step of an item, empty before the first."""
        return str(self.items.get(item, {}).get("state", ""))

    def write(self, item: str, state: str, **fields: str) -> None:
        """Append a step; it is durable when this returns."""
        step = {"item": item, "state": state, **fields}
        new = not self.path.exists()
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            os.write(fd, b"\n" * torn + json.dumps(step, sort_keys=True).encode() + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        if new:
            durable.sync_folder(self.path.parent)
        self.items[item] = step

    def listed(self, state: str) -> list[str]:
        """Return the items whose last step is ``state``."""
        return sorted(item for item, step in self.items.items() if step["state"] == state)

    def end(self, summary: Mapping[str, object]) -> None:
        """Keep what it came to, with every item that was lost, and forget the rest: the database holds the tokens."""
        durable.write_json(self.path.with_name(SUMMARY), summary)
        durable.remove(self.path)
