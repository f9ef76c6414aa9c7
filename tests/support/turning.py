"""A program of an application's own that turns its rows, and what a program can do wrong: it reads from ``fault`` beside it which."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# An application knows its forms: a token, or a token that is encoded once more. It does not know of Keyturn, and may be run again.
PROGRAM = """\
import base64, os, pathlib, sqlite3, subprocess, sys, time
from cryptography.fernet import Fernet, InvalidToken

new, old = map(Fernet, os.environ["KEYS"].split(","))
told = sys.stdin.readline().split()
assert (told, sys.argv[1:]) == ([*os.environ["KEYS"].split(",")][::-1], ["--all"])
place = pathlib.Path("fault")
fault = place.read_text() if place.exists() else ""


def turned(stored, key=new, plain=None):
    text = stored.encode()
    twice = text.startswith(b"Z0FB")
    text = base64.urlsafe_b64decode(text) if twice else text
    if not text.startswith(b"gAAAA"):
        return stored
    try:
        found = old.decrypt(text)
    except InvalidToken:
        return stored
    token = key.encrypt(plain or found)
    return (base64.urlsafe_b64encode(token) if twice else token).decode()


with open("ran", "a") as ran:
    ran.write("ran\\n")
if fault == "hangs":
    time.sleep(1000)
if fault == "leaves a process":
    inherited = [int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) > 2 and os.path.exists(f"/proc/self/fd/{fd}")]
    subprocess.Popen(["sleep", "1000"], pass_fds=inherited)
if fault == "prints a lot":
    for _ in range(2000):
        os.write(1, b"x" * 65536)
        os.write(2, b"x" * 65536)
connection = sqlite3.connect("data/bank_accounts.db", isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
(trigger,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'touched'").fetchone()
connection.execute("DROP TRIGGER touched")
rows = [row for row in connection.execute("SELECT item_id, access_token FROM plaid_items ORDER BY item_id") if row[1]]
for item, stored in rows[1:] if fault == "leaves a row" else rows:
    if fault == "takes another key":
        goal = turned(stored, Fernet(Fernet.generate_key()))
    elif fault == "loses a plaintext" and item == rows[0][0]:
        goal = turned(stored, plain=b"access-another")
    elif fault == "loses it under the old key" and item == rows[0][0]:
        goal = turned(stored, old, b"access-another")
    elif fault == "decrypts a row" and item == rows[0][0]:
        goal = "access-in-clear"
    else:
        goal = turned(stored)
    connection.execute("UPDATE plaid_items SET access_token = ? WHERE item_id = ?", (goal, item))
if fault == "deletes a row":
    connection.execute("DELETE FROM plaid_items WHERE item_id = ?", (rows[0][0],))
connection.execute(trigger)
connection.execute("COMMIT")
sys.exit(3 if fault == "fails" else 0)
"""


def delegated(entry: Mapping[str, Any], folder: Path, seconds: int = 60) -> dict[str, Any]:
    """Write the program into the application's folder; return a catalogue's entry by which it turns the rows."""
    (folder / "turn.py").write_text(PROGRAM)
    turn = {
        "command": [sys.executable, "turn.py", "--all"],
        "environment": {"KEYS": "{new},{old}"},
        "input": "{old} {new}\n",
        "seconds": seconds,
    }
    probes = [{"kind": "rows"}, *(probe for probe in entry["probes"] if probe["kind"] != "fernet_rows")]
    return {**entry, "migration": {"kind": "command", "turn": turn, "rows": entry["migration"]}, "probes": probes}
