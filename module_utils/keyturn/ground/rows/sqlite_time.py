"""An end for what SQLite does. The schema is the application's, and an expression in it may compute for years.

SQLite asks between its steps whether to go on. A single function may take all that time in one step, and nothing but the end of the
process ends it: as after a kill, the journal says where to go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

# all that is done by one connection: what any database may take, what each byte of a large one, and what none, however large it is made
SECONDS, BYTES_A_SECOND, MOST_SECONDS = 600.0, 1 << 20, 4 * 3600.0
STEPS, GRACE_SECONDS = 1_000_000, 60.0
REMEDY = "look at the expressions of its schema (indexes, CHECK), and end this rotation with rollback.yml"


@contextlib.contextmanager
def limited(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Let nothing that is done by ``connection`` take longer than the size of the database gives a reason for."""
    seconds = allowed(path)
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, STEPS)
    done = threading.Event()
    threading.Thread(target=_end, args=(done, seconds + GRACE_SECONDS, path), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def allowed(path: Path) -> float:
    """Return the seconds for one connection to a database. What lies beside it gives no time, nor do holes: both may have any size."""
    try:
        written = path.stat().st_blocks * 512
    except OSError:
        written = 0
    return min(SECONDS + written / BYTES_A_SECOND, MOST_SECONDS)


def _end(done: threading.Event, seconds: float, path: Path) -> None:
    if not done.wait(seconds):
        said = {"failed": True, "msg": f"{path}: SQLite has not come to an end within {seconds:.0f} s: {REMEDY}"}
        os.write(1, json.dumps(said).encode() + b"\n")  # the answer of a module
        os._exit(1)
