"""What runs under the interpreter of a host, with rows in PostgreSQL: `python postgresql_side.py STEP FOLDER [ROWS]`."""

from __future__ import annotations

import io
import json
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "module_utils")]

import psycopg2  # noqa: E402
from cryptography.fernet import Fernet  # noqa: E402
from keyturn.ground.rows import fernet_batch  # noqa: E402
from keyturn.ground.rows.fernet_postgresql import PostgresqlStore  # noqa: E402
from two_keys import keys  # noqa: E402

BATCH = 1000
ROTATION_ID = "20260101T000000Z-0123456789abcdef"
COLUMN = {"table": "items", "key": ["name"], "column": "token", "plaintext": "^access-", "flag": None, "paths": None}
LOGIN = {"path": ".env", "url": "DATABASE_URL", "parts": None}
TIME = (1_700_000_000).to_bytes(8, "big")


@contextmanager
def session(folder: Path) -> Iterator[Any]:
    """Yield a cursor; all that is done with it is one transaction."""
    connection = psycopg2.connect((folder / ".env").read_text().strip().partition("=")[2])
    with connection, connection.cursor() as cursor:
        yield cursor
    connection.close()


def store(folder: Path) -> PostgresqlStore:
    """Return the rows as a rotation sees them."""
    rotation = folder / ROTATION_ID
    rotation.mkdir(exist_ok=True)
    values: dict[Any, Any] = {side: {"K": key} for side, key in keys(folder).items()}
    spec = {"login": LOGIN, "columns": [COLUMN], "key": None, "separator": ","}
    made = PostgresqlStore(spec, folder, ["K"], values, ())
    made.recall(rotation, None)
    return made


def seed(folder: Path, rows: int) -> None:
    """Make a table that the others begin with."""
    key = keys(folder)["old"]
    with session(folder) as cursor:
        cursor.execute("CREATE TABLE seeded (id bigint, name text, token text)")
        for begin in range(0, rows, BATCH):
            numbers = range(begin, min(rows, begin + BATCH))
            plain = [f"access-production-{number:036d}".encode() for number in numbers]
            tokens = fernet_batch.seal(key, [TIME] * len(plain), plain, 1)
            text = "".join(f"{n}\titem-{n}\t{token.decode()}\n" for n, token in zip(numbers, tokens, strict=True))
            cursor.copy_expert("COPY seeded FROM STDIN", io.StringIO(text))


def lay(folder: Path) -> None:
    """Lay the table anew, with what the UPDATE alone is to write."""
    store(folder).forget(ROTATION_ID)
    with session(folder) as cursor:
        cursor.execute("DROP TABLE IF EXISTS items, staged")
        cursor.execute("CREATE TABLE items AS SELECT * FROM seeded")
        cursor.execute("ALTER TABLE items ADD PRIMARY KEY (id)")
        cursor.execute("CREATE TABLE staged AS SELECT id, reverse(token) AS new FROM seeded")
        cursor.execute("ANALYZE items, staged")


def loop(folder: Path) -> None:
    """Turn the rows as scripts do: one after the other, by stock Fernet, in one transaction."""
    old, new = (Fernet(keys(folder)[side]) for side in ("old", "new"))
    connection = psycopg2.connect((folder / ".env").read_text().strip().partition("=")[2])
    with connection, connection.cursor("rows") as rows, connection.cursor() as cursor:
        rows.execute("SELECT id, token FROM items ORDER BY id")
        for number, token in rows:
            turned = new.encrypt(old.decrypt(token.encode())).decode()
            cursor.execute("UPDATE items SET token = %s WHERE id = %s", (turned, number))
    connection.close()


def update(folder: Path) -> None:
    """Write the column of every row by one statement, which is what no turning of rows can do without."""
    with session(folder) as cursor:
        cursor.execute("UPDATE items t SET token = s.new FROM staged s WHERE t.id = s.id")


def prepare(folder: Path) -> None:
    """Compute all ciphertexts, in calls of five seconds as a rotation does."""
    rows = store(folder)
    while not rows.prepare(False, 5.0).finished:
        rows.recall(folder / ROTATION_ID, None)


def switch(folder: Path) -> None:
    """Turn the rows in one transaction."""
    store(folder).switch("new")


def online(folder: Path) -> dict[str, Any]:
    """Turn the rows while a client writes; tell how long its slowest write took."""
    command = [sys.executable, __file__, "writer", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None and client.stdout.readline() == "ready\n"
        used = time.process_time()
        while not store(folder).turn_online("new", folder / ROTATION_ID, 5.0).finished:
            pass
        cpu = time.process_time() - used
        answer, _ = client.communicate("")
    said: dict[str, Any] = json.loads(answer)
    left = store(folder).census()["under"]["old"]
    if client.returncode or left:
        raise RuntimeError(f"a write has failed, or {left} rows are left under the old key")
    return {"slowest_write": said["slowest_write"], "writes": said["writes"], "own_cpu": cpu}


def writer(folder: Path) -> dict[str, Any]:
    """Write under the new key, about a hundred times in a second, until the input ends."""
    cipher, writes, longest = Fernet(keys(folder)["new"]), 0, 0.0
    connection = psycopg2.connect((folder / ".env").read_text().strip().partition("=")[2])
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM items")
        (rows,) = cursor.fetchone()
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], 0.01)[0]:
            writes, number = writes + 1, writes * 7919 % rows
            token, began = cipher.encrypt(b"access-of-the-client").decode(), time.monotonic()
            cursor.execute("UPDATE items SET token = %s WHERE id = %s", (token, number))
            longest = max(longest, time.monotonic() - began)
    connection.close()
    return {"slowest_write": longest, "writes": writes}


STEPS: dict[str, Callable[..., Any]] = {
    step.__name__: step for step in (seed, lay, loop, update, prepare, switch, online, writer)
}

if __name__ == "__main__":
    began, used = time.monotonic(), time.process_time()
    found = STEPS[sys.argv[1]](Path(sys.argv[2]), *(int(argument) for argument in sys.argv[3:])) or {}
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    found["peak_mb"] = int(peak.split()[1]) / 1024
    print(json.dumps(found | {"inner_wall": time.monotonic() - began, "inner_cpu": time.process_time() - used}))
