"""A program of an application's own that turns its rows, and what a program can do wrong: it reads from ``fault`` beside it which."""

from __future__ import annotations

import hashlib
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
    if key is None:
        return found.decode()
    token = key.encrypt(plain or found)
    return (base64.urlsafe_b64encode(token) if twice else token).decode()


with open("ran", "a") as ran:
    ran.write("ran\\n")
if fault == "leaves a process":
    inherited = [int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) > 2 and os.path.exists(f"/proc/self/fd/{fd}")]
    left = subprocess.Popen(["sleep", "1000"], pass_fds=inherited)
    pathlib.Path("left").write_text(str(left.pid))
if fault == "prints a lot":
    for _ in range(2000):
        os.write(1, b"x" * 65536)
        os.write(2, b"x" * 65536)
connection = sqlite3.connect("data/bank_accounts.db", isolation_level=None)
connection.execute("PRAGMA cache_size=2")
connection.execute("BEGIN IMMEDIATE")
triggers = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'touched'").fetchall()
connection.execute("DROP TRIGGER IF EXISTS touched")
rows = [row for row in connection.execute("SELECT item_id, access_token FROM plaid_items ORDER BY item_id") if row[1]]
for item, stored in rows[1:] if fault == "leaves a row" else rows:
    if fault == "takes another key":
        goal = turned(stored, Fernet(Fernet.generate_key()))
    elif fault == "loses a plaintext" and item == rows[0][0]:
        goal = turned(stored, plain=b"access-another")
    elif fault == "loses it under the old key" and item == rows[0][0]:
        goal = turned(stored, old, b"access-another")
    elif fault == "decrypts a row" and item == rows[0][0]:
        goal = turned(stored, None)
    else:
        goal = turned(stored)
    connection.execute("UPDATE plaid_items SET access_token = ? WHERE item_id = ?", (goal, item))
if fault == "hangs":
    time.sleep(1000)  # with rows that are written and not committed
if fault == "deletes a row":
    connection.execute("DELETE FROM plaid_items WHERE item_id = ?", (rows[0][0],))
for (trigger,) in triggers:
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


CHECK = """\
import base64, sqlite3, sys
from cryptography.fernet import Fernet

key = Fernet(sys.stdin.read())
for (stored,) in sqlite3.connect("data/bank_accounts.db").execute("SELECT access_token FROM plaid_items"):
    text = (stored or "").encode()
    text = base64.urlsafe_b64decode(text) if text.startswith(b"Z0FB") else text
    if text.startswith(b"gAAAA"):
        key.decrypt(text)
"""


def unread(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Do the same for an entry by which nothing but programs of the application's knows of the rows."""
    found = delegated(entry, folder)
    turn, database = found["migration"]["turn"], "data/bank_accounts.db"
    (folder / "check.py").write_text(CHECK)
    found["migration"] = {
        "kind": "command_checked",
        "turn": turn,
        "back": {**turn, "environment": {"KEYS": "{old},{new}"}, "input": "{new} {old}\n"},
        "check": {"command": [sys.executable, "check.py"], "input": "{value}"},
        "backup": {"command": ["cat", database]},
        "restore": {"command": ["sh", "-c", f"cat >{database}"]},
    }
    return found


# one file that opens under one value, and costs little to open; `fault` says what goes wrong
VAULT_PROGRAM = """\
import hashlib, os, stat, sys

with open("ran", "a") as ran:
    ran.write(sys.argv[1] + "\\n")
what, place = sys.argv[1], "data/vault"
fault = open("fault").read() if os.path.exists("fault") else ""
seal = lambda key, text: hashlib.sha256(key.encode()).hexdigest() + ":" + text
under, _, text = open(place).read().partition(":")


def opened(keys):
    if under not in [seal(key, "")[:-1] for key in keys]:
        sys.exit(4)
    return text


if what == fault:
    open(place, "w").write("spoilt")
    sys.exit(3)
if what in ("turn", "back"):
    to, other = os.environ["KEYS"].split(",")
    if fault != "does nothing":
        open(place, "w").write(seal("another" if fault == "takes another key" else to, opened([to, other])))
if what == "check" and fault != "accepts all":
    opened([sys.stdin.read()])
if what == "backup" and fault != "prints nothing":
    sys.stdout.write(open(place).read() * (2000 if fault == "prints a lot" else 1))
    # it could keep a file that is the host's, and write to it later
    sys.exit(5 if stat.S_ISREG(os.fstat(1).st_mode) else 0)
if what == "restore" and fault == "reads no backup":
    sys.exit(3)
if what == "restore":
    open(place, "w").write(sys.stdin.read())
"""


def program(what: str, **given: Any) -> dict[str, Any]:
    return {"command": ["/usr/bin/python3", "-I", "-S", "vault.py", what], "seconds": 60, **given}


CHECKED: dict[str, Any] = {
    "kind": "command_checked",
    "turn": program("turn", environment={"KEYS": "{new},{old}"}),
    "back": program("back", environment={"KEYS": "{old},{new}"}),
    "check": program("check", input="{value}"),
    "backup": program("backup"),
    "restore": program("restore"),
}


# data that none of the programs turns back
NO_INVERSE = {name: program for name, program in CHECKED.items() if name != "back"}

WORD = {"overrides": {"lost_writes": "the desk agreed"}}


def keep_in_vault(host: Any, migration: Mapping[str, Any] = CHECKED) -> None:
    """Give the application of a host data that only its own programs read, and the entry by which they turn it."""
    entry = host.lab.rotation()["entry"]
    probes = [{"kind": "rows"}, *(probe for probe in entry["probes"] if probe["kind"] != "fernet_rows")]
    host.more["entry"] = entry | {"migration": migration, "probes": probes}
    (host.lab.app / "vault.py").write_text(VAULT_PROGRAM)
    write(host, host.old, "first")


def write(host: Any, key: str, text: str) -> None:
    """Write as the application would that has this key."""
    (host.lab.app / "data/vault").write_text(f"{hashlib.sha256(key.encode()).hexdigest()}:{text}")


def read(host: Any) -> str:
    """Return what the application reads with the value that it has; empty where it reads nothing."""
    under, _, text = (host.lab.app / "data/vault").read_text().partition(":")
    return text if under == hashlib.sha256(host.lab.key().encode()).hexdigest() else ""
