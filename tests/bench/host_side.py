"""What runs under the interpreter of a host: `python host_side.py STEP FOLDER [ROWS LAYERS]`. Prints its figures as JSON."""

from __future__ import annotations

import base64
import json
import os
import select
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "module_utils"), str(PROJECT / "demo")]

from cryptography.fernet import Fernet  # noqa: E402
from keyturn.base.fingerprint import fingerprints  # noqa: E402
from keyturn.ground.rows import fernet_batch  # noqa: E402
from keyturn.ground.rows.fernet_sqlite import FernetSqlite  # noqa: E402
from keyturn.ground.rows.sqlite_file import RestartedTooOften  # noqa: E402
from keyturn.host import values  # noqa: E402
from keyturn.host.journal import Journal  # noqa: E402
from keyturn.host.phases import prepare as prepare_step  # noqa: E402
from keyturn.host.phases import turn  # noqa: E402
from keyturn.host.rotation import Rotation  # noqa: E402
from trader_ai.token_store import SCHEMA, TokenStore  # noqa: E402
from two_keys import keys  # noqa: E402

BATCH = 1000
NOBODY = 65534
DATABASE = "data/bank_accounts.db"
VARIABLE = "DATABASE_ENCRYPTION_KEY"
ROTATION_ID = "20260101T000000Z-0123456789abcdef"
TIME = (1_700_000_000).to_bytes(8, "big")


def seed(folder: Path, rows: int, layers: int) -> None:
    """Fill the application's table with tokens of one form."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    key = keys(folder)["old"]
    connection = sqlite3.connect(folder / DATABASE)
    connection.executescript(";".join(SCHEMA))
    for first in range(0, rows, BATCH):
        numbers = range(first, min(rows, first + BATCH))
        plaintexts = [f"access-production-{uuid.uuid4()}".encode() for _ in numbers]
        texts = fernet_batch.seal(key, [TIME] * len(plaintexts), plaintexts, layers)
        connection.executemany(
            "INSERT INTO plaid_items VALUES (?, ?, 'Institution 3', '2025-01-01 09:30:00', '2025-01-01 17:00:00')",
            [(f"item-{number:08d}", text.decode()) for number, text in zip(numbers, texts, strict=True)],
        )
    connection.commit()
    connection.close()


def entry(folder: Path) -> dict[str, Any]:
    """Return the secret's entry, as a run gives it to a host."""
    return dict(json.loads((folder / "entry.json").read_text()))


def migration(folder: Path) -> FernetSqlite:
    """Return Keyturn's migration of a folder."""
    return FernetSqlite(entry(folder)["migration"], folder, VARIABLE, keys(folder))


def rotation(folder: Path) -> Rotation:
    """Return a rotation of a folder."""
    given = {"rotation_id": ROTATION_ID, "environment": "bench", "reason": "bench", "operator": "bench"}
    given |= {"secret": "db_key", "entry": entry(folder), "services": {}}
    return Rotation(**given, app_root=folder, app_user=None, state_dir=state_of(folder))


def state_of(folder: Path) -> Path:
    """Return root's folder of an application's, which may be another user's."""
    return folder.with_name(f"{folder.name}.state")


def give(folder: Path) -> None:
    """Give the application to the user nobody."""
    for path in (folder, folder / ".env", folder / "data", *(folder / "data").iterdir()):
        os.chown(path, NOBODY, NOBODY)


def stage(folder: Path) -> None:
    """Take the folder to where its rows are prepared. The backup is not part of what is compared: it counts as made."""
    old, new = ({VARIABLE: keys(folder)[side]} for side in ("old", "new"))
    (folder / ".env").write_text(f'{VARIABLE}="{old[VARIABLE]}"\n')
    (folder / ".env").chmod(0o600)
    backup = {"path": str(folder / "no-backup"), "opens_with": fingerprints(old)}
    begun = rotation(folder).application.begin(
        ROTATION_ID, secret="db_key", rows={}, findings=[], operator="bench", backup=backup
    )
    values.stage(begun, values.Staged(old, new))
    begun.enter("staged", old=fingerprints(old), new=fingerprints(new))


def journal(folder: Path) -> Journal:
    """Return the journal of the rotation as it stands."""
    found = rotation(folder).application.get(ROTATION_ID)
    assert found is not None
    return found


def prepare(folder: Path) -> None:
    """Take the step, in as many calls as it asks for."""
    while "progress" in turn.run(rotation(folder), "prepared"):
        pass


def switch(folder: Path) -> None:
    """Take the step."""
    turn.run(rotation(folder), "switched")


def census(folder: Path) -> None:
    """Open every row, as four phases of a rotation do."""
    migration(folder).census()


def calls(folder: Path, milliseconds: int) -> dict[str, Any]:
    """Prepare in short calls, as on a slow host; return the rows and the CPU seconds of each."""
    prepare_step.SECONDS = milliseconds / 1000
    found: list[tuple[int, float]] = []
    read = 0
    while not journal(folder).reached("prepared"):
        began = time.process_time()
        turn.run(rotation(folder), "prepared")
        before, read = read, journal(folder).record["prepared"]["read"]
        found.append((read - before, time.process_time() - began))
    return {"calls": found}


def crypto(folder: Path, rows: int, layers: int) -> None:
    """Floor: open and seal in batches, nothing read or written, nothing checked."""
    both = keys(folder)
    texts = fernet_batch.seal(both["old"], [TIME] * BATCH, [b"access-production-".ljust(54, b"x")] * BATCH, layers)
    for _ in range(rows // BATCH):
        opened = fernet_batch.open_tokens(both["old"], fernet_batch.decode(texts, layers))
        fernet_batch.seal(both["new"], [TIME] * BATCH, [text or b"" for text in opened], layers)


def write(folder: Path) -> None:
    """Floor: SQLite writes another text of the same length into every row, as durably as the switch."""
    connection = sqlite3.connect(folder / DATABASE, isolation_level=None)
    for setting in ("synchronous=EXTRA", "secure_delete=ON"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute("UPDATE plaid_items SET access_token = substr(access_token, 2) || 'x'")
    connection.execute("COMMIT")
    connection.close()


def policy(folder: Path) -> None:
    """Write the policy's script with the keys of the folder filled in; it is run as it is."""
    text = (Path(__file__).parent / "policy_script.txt").read_text()
    both = keys(folder)
    (folder / "rotate_db_key.py").write_text(text.replace("<old-key>", both["old"]).replace("<new-key>", both["new"]))


def threshold(folder: Path) -> dict[str, Any]:
    """From how many rows on a batch pays: microseconds to open and seal a two-layer token, by stock Fernet and in a batch."""
    both = keys(folder)
    old, new = (Fernet(both[side]) for side in ("old", "new"))
    found = {}
    for rows in (1, 3, 10, 30, 100, 1000):
        texts = fernet_batch.seal(both["old"], [TIME] * rows, [b"access-production-".ljust(54, b"x")] * rows, 2)
        began = time.process_time()
        for text in texts * (3000 // rows):
            opened = old.decrypt(base64.urlsafe_b64decode(text))
            base64.urlsafe_b64encode(new.encrypt(opened))
        stock, began = time.process_time() - began, time.process_time()
        for _ in range(3000 // rows):
            plaintexts = fernet_batch.open_tokens(both["old"], fernet_batch.decode(texts, 2))
            fernet_batch.seal(both["new"], [TIME] * rows, [plaintext or b"" for plaintext in plaintexts], 2)
        count = 3000 // rows * rows
        found[str(rows)] = {"stock": stock / count * 1e6, "batch": (time.process_time() - began) / count * 1e6}
    return {"microseconds": found}


def beside(folder: Path) -> dict[str, Any]:
    """Back up and prepare while the application writes; return the longest that one of its writes took."""
    command = [sys.executable, __file__, "writer", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        both = migration(folder)
        try:
            both.database.backup(folder / "backup.db", online=True)
            backup = "online"
        except RestartedTooOften:
            backup = "left to the stop"
        prepare(folder)
        time.sleep(0.1)  # a small table is prepared between two writes
        answer, _ = writer.communicate("")
    return json.loads(answer) | {"backup": backup}


def writer(folder: Path) -> dict[str, Any]:
    """Write as the application does, about fifty times in a second, until the input ends."""
    store = TokenStore(folder / DATABASE, keys(folder)["old"])
    longest, number = 0.0, 0
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        number += 1
        began = time.monotonic()
        store.save_item(f"item-{number * 17:08d}", f"access-production-{uuid.uuid4()}")
        longest = max(longest, time.monotonic() - began)
    return {"slowest_write": longest, "writes": number}


STEPS: dict[str, Callable[..., Any]] = {
    step.__name__: step
    for step in (seed, policy, stage, give, prepare, switch, census, calls, crypto, write, threshold, beside, writer)
}

if __name__ == "__main__":
    began, used = time.monotonic(), time.process_time()
    found = STEPS[sys.argv[1]](Path(sys.argv[2]), *(int(argument) for argument in sys.argv[3:])) or {}
    # the kernel's own account also counts what the parent held when it forked
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    found["peak_mb"] = int(peak.split()[1]) / 1024
    print(json.dumps(found | {"inner_wall": time.monotonic() - began, "inner_cpu": time.process_time() - used}))
