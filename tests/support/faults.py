"""Faults for tests: a service that starts in no time, kills at chosen system calls, evidence after them, the matrix."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.fernet import Fernet
from keyturn.base import durable, procfs
from keyturn.base.errors import KeyturnError
from keyturn.ground.rows.fernet_forms import Turner
from keyturn.host.phases import commit, rollback, stage, turn
from keyturn.host.rotation import Rotation
from keyturn.inputs import catalogue
from keyturn.inputs.validation import services as with_defaults
from keyturn.inputs.validation import validated
from trader_ai.token_store import TokenStore

from support import forked
from support.lab import COMPILED, KEY, ROOT, RUN_MODULE, Lab, interpreter
from support.others import NOBODY, give
from support.processes import Commands, kill, marked, new_mark
from support.spread import FILES, fernet_key, spread
from support.turning import delegated

MATRIX = "KEYTURN_FAULT_MATRIX"
ROTATION_ID = "20260101T000000Z-0123456789abcdef"

# Whatever changes what a disk or another process holds. Opening with O_CREAT is left out, since strace cannot tell it
# from reading: a kill before the next call of this list leaves the created file, and so does every other call's effect.
# Nor does tgkill: by that the C library tells threads that live just then of new ids, so how many there are is chance.
CHANGING_CALLS = re.sub(
    r"\s+",
    ",",
    """?write ?writev ?pwrite64 ?pwritev ?pwritev2 ?sendfile ?copy_file_range ?truncate ?ftruncate ?fallocate
    ?rename ?renameat ?renameat2 ?unlink ?unlinkat ?rmdir ?mkdir ?mkdirat ?mknod ?mknodat ?link ?linkat ?symlink ?symlinkat
    ?fsync ?fdatasync ?sync ?syncfs ?sync_file_range ?msync ?chmod ?fchmod ?fchmodat ?chown ?fchown ?lchown ?fchownat
    ?utime ?utimes ?futimesat ?utimensat ?setxattr ?fsetxattr ?removexattr ?flock
    ?kill ?tkill ?pidfd_send_signal ?fork ?vfork ?clone ?clone3""",
)
KILLED = "+++ killed by SIGKILL +++"
# what tells as whom the others are made; it changes nothing that lasts
BECOMING = "setresuid"

# A parent that waits: process 1 of a container may be slow to reap, and an ended process must be gone at once.
# Who has the port says so itself: of two that start at once, the one that ends has not the last word.
START = """#!/bin/sh
{outlive}
[ -e run/pid ] && kill -0 "$(cat run/pid)" 2>/dev/null && exit 0
rm -f run/pid
setsid sh -c '"$0" -I -S server.py "$1" & wait' {python} {port} </dev/null >/dev/null 2>&1 &
while [ ! -e run/pid ] && kill -0 $! 2>/dev/null; do sleep 0.01; done
"""
STOP = """#!/bin/sh
pid=$(cat run/pid 2>/dev/null) || exit 0
{outlive}
while kill -9 "$pid" 2>/dev/null; do sleep 0.005; done
[ "$(cat run/pid 2>/dev/null)" != "$pid" ] || rm -f run/pid
"""
SERVER = """\
import os, socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(20)
with open("run/pid.new", "w") as file:
    file.write(str(os.getpid()))
os.rename("run/pid.new", "run/pid")
while True:
    connection = listener.accept()[0]
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    connection.close()
"""
# A script that outlives the call that started it.
OUTLIVE = """
if [ -e outlive-{script} ]; then rm outlive-{script}; kill -9 $PPID; sleep 0.5; touch outlived; fi
"""
# Looks at what is fsynced last in each write of a journal: its folder.
HOLD = """\
import json, os, pathlib, time

fsync = os.fsync


def hold(fd):
    fsync(fd)
    journal = pathlib.Path(os.readlink(f"/proc/self/fd/{{fd}}"), "journal.json")
    if journal.exists():
        record = json.loads(journal.read_text())
        decided = record.get("decision") == "commit" and record["phase"] != "closed"
        if ("decided" if decided else record["phase"]) == {state!r}:
            held = pathlib.Path({folder!r}, "held")
            if not held.exists():
                held.write_text("")
                while not held.with_name("released").exists():
                    time.sleep(0.01)
                time.sleep({seconds})


os.fsync = hold
"""
# What the application would lose if Keyturn dropped or fired a trigger.
TRIGGER = (
    "CREATE TRIGGER touched AFTER UPDATE ON plaid_items BEGIN "
    "UPDATE plaid_items SET updated_at = 'touched' WHERE item_id = new.item_id; END"
)


# a table of texts with a token at a path of each
# a second database, whose rows say by themselves which of them are encrypted; a quarter is not
VAULT = {
    "kind": "fernet_sqlite",
    "database": "data/vault.db",
    "columns": [{"table": "vault", "key": ["name", "note"], "column": "secret", "flag": "sealed"}],
}
OPEN_IN_VAULT = 4
DOCUMENTS = {"table": "linked", "key": "item", "column": "doc", "plaintext": "^access-", "paths": ["links[*].token"]}


# out of what a fault left
WAYS = ("forward", "back")


class Call(NamedTuple):
    """A system call of a process: the ``number``-th with this name. strace counts each name by itself.

    ``acting`` tells whether the process, which is root, had the ids of another user.
    """

    name: str
    number: int
    acting: bool = False


class Kills:
    """A host whose phases run as modules of their own, and are killed at chosen system calls. It has a ``lab``."""

    lab: Any

    def parameters(self) -> dict[str, Any]:
        """Return the parameter ``rotation`` of the modules."""
        raise NotImplementedError

    def module(self, name: str, *strace: str, named: str = "", **parameters: Any) -> subprocess.CompletedProcess[str]:
        """Run a module by itself, under strace with the options ``strace`` if there are any.

        ``named`` ends the names of its temporary files.
        """
        self.log.unlink(missing_ok=True)
        return forked.run(
            *self.lab.module_and_arguments(name, rotation=self.parameters(), **parameters),
            ("-o", str(self.log), *strace) if strace else (),
            named,
        )

    def calls(self, name: str, **parameters: Any) -> list[Call]:
        """Run a module to its end and return its changing calls, each with its number among those of its name."""
        done = self.module(name, "-e", f"trace={CHANGING_CALLS},{BECOMING}", **parameters)
        assert done.returncode == 0, done.stdout + done.stderr
        return self._logged_calls()

    def killed_module(self, name: str, call: Call, **parameters: Any) -> bool:
        """Run a module and kill it before ``call``; False where it came to its end without making that call."""
        kill = f"inject={call.name}:signal=SIGKILL:when={call.number}"
        done = self.module(name, "-e", f"trace={CHANGING_CALLS},{BECOMING}", "-e", kill, **parameters)
        if self.log.read_text().splitlines()[-1] == KILLED:
            assert done.returncode == -signal.SIGKILL, done
            assert self._logged_calls()[-1][:2] == call[:2]
            return True
        assert done.returncode == 0, done.stdout + done.stderr
        return False

    def _logged_calls(self) -> list[Call]:
        lines = re.findall(r"^(\w+)\((?:-1, (-?\d+), -1\) += 0)?", self.log.read_text(), flags=re.MULTILINE)
        numbers: dict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        found, acting = [], False
        for name, user in lines:
            if name != BECOMING:
                found.append(Call(name, next(numbers[name]), acting))
            elif user:
                acting = user != "0"
        return found

    @property
    def log(self) -> Path:
        """What strace wrote."""
        return self.lab.folder / "strace.log"


class Host(Kills):
    """A lab whose service is a few lines, taken to a phase once and put back there for each kill.

    The fault hits the module in a process of its own; what brings the host to a phase and what ends the rotation after
    the fault calls the same phases in this process, which saves the start of an interpreter for each.
    """

    def __init__(
        self,
        folder: Path,
        journal_mode: str = "delete",
        rows: int = 12,
        *,
        documents: bool = False,
        vault: bool = False,
        everywhere: bool = False,
        theirs: bool = False,
        program: int = 0,
        **rotation: Any,
    ) -> None:
        """``documents`` adds a table of JSON, ``vault`` a second database, of the other journal mode.

        ``everywhere`` puts the value into a file of every sort, and makes the key of it by a rule.

        ``program`` has the application's own program turn the rows, which is given so many seconds.

        ``theirs`` gives the application to the user nobody, who runs it by the system's Python: ours may stand where nobody can go."""
        folder.mkdir(exist_ok=True)
        self.theirs = theirs
        self.lab = Lab(folder, rows, journal_mode)
        self.more = rotation
        self.linked: dict[str, str] = {}
        self.vault: dict[str, str] = {}
        for name, text in {"start.sh": START, "stop.sh": STOP, "server.py": SERVER}.items():
            python = "/usr/bin/python3" if theirs else sys.executable
            (self.lab.app / name).write_text(
                text.format(python=python, port=self.lab.port, outlive=OUTLIVE.format(script=name))
            )
        with contextlib.closing(sqlite3.connect(self.lab.database)) as connection:
            connection.execute(TRIGGER)
            connection.commit()
        if everywhere:
            self.more["entry"] = spread(self.lab, self.lab.rotation()["entry"])
        self.old = self.lab.key()
        if documents:
            self._add_documents(rows)
        if vault:
            self._add_vault(rows, "delete" if journal_mode == "wal" else "wal")
        if program:
            self.more["entry"] = delegated(self.lab.rotation()["entry"], self.lab.app, program)
        self.tokens = self.lab.tokens | self.linked | self.vault
        self.new = ""
        files = (self.lab.env, *(self.lab.app / name for name in (FILES if everywhere else ())))
        self.old_files = {path: path.read_bytes() for path in files}
        self.untouched = self.everything_else()
        self.forms = self.forms_under()[0]
        self._give()
        self.start()

    def _add_documents(self, rows: int) -> None:
        entry = self.lab.rotation()["entry"]
        columns = [*entry["migration"]["columns"], DOCUMENTS]
        self.more["entry"] = entry | {"migration": entry["migration"] | {"columns": columns}}
        with contextlib.closing(sqlite3.connect(self.lab.database)) as connection, connection:
            connection.execute("CREATE TABLE linked (item TEXT PRIMARY KEY, doc TEXT)")
            for number in range(rows):
                item, token = f"linked-{number}", f"access-linked-{number}"
                self.linked[item] = token
                doc = {"n": number, "links": [{"é": 1}, {"token": Fernet(self.old).encrypt(token.encode()).decode()}]}
                connection.execute(
                    "INSERT INTO linked VALUES (?, ?)", (item, json.dumps(doc, indent=number % 3 or None))
                )

    def _add_vault(self, rows: int, journal_mode: str) -> None:
        entry = self.lab.rotation()["entry"]
        both = {"kind": "several", "stores": [entry["migration"], VAULT]}
        probes = [{"kind": "rows"}, *(probe for probe in entry["probes"] if probe["kind"] != "fernet_rows")]
        self.more["entry"] = entry | {"migration": both, "probes": probes}
        path = self.lab.app / VAULT["database"]  # type: ignore[operator]
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"PRAGMA journal_mode={journal_mode}")
            connection.execute("CREATE TABLE vault (name TEXT PRIMARY KEY, secret TEXT, note TEXT, sealed BOOLEAN)")
            for number in range(rows):
                name, token = f"vault-{number}", f"access-vault-{number}"
                self.vault[name] = token
                sealed = number % OPEN_IN_VAULT > 0
                secret = Fernet(self.old).encrypt(token.encode()).decode() if sealed else token
                connection.execute("INSERT INTO vault VALUES (?, ?, ?, ?)", (name, secret, f"note {number}", sealed))
        path.chmod(0o600)

    def _give(self) -> None:
        if self.theirs:
            give(self.lab.app, *self.lab.app.rglob("*"))

    @property
    def user(self) -> dict[str, Any]:
        """As whom a script of the application's is started."""
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if self.theirs else {}

    # -- the application -------------------------------------------------------------------------------------------

    @property
    def services(self) -> dict[str, Any]:
        """``keyturn_services``: no proof path, since the few lines know no token."""
        url = f"http://127.0.0.1:{self.lab.port}/health"
        backend = {"manager": "script", "start": "./start.sh", "stop": "./stop.sh", "health_url": url}
        return {"backend": backend | {"pid_file": "run/pid", "stop_timeout_seconds": 60, "health_timeout_seconds": 60}}

    def start(self) -> None:
        """Start the service and wait until it answers."""
        subprocess.run(["./start.sh"], cwd=self.lab.app, check=True, **self.user)
        deadline = time.monotonic() + 120
        while self.lab.get("/health") != 200:
            assert time.monotonic() < deadline, "the service of the test does not answer"
            time.sleep(0.01)
        self.lab.watch("backend")

    def stop(self) -> None:
        """Stop the service."""
        self.lab.forget()
        if (self.lab.app / "stop.sh").exists():
            subprocess.run(["./stop.sh"], cwd=self.lab.app, check=True, **self.user)

    # -- snapshots -------------------------------------------------------------------------------------------------

    def save(self, name: str) -> None:
        """Keep application and state as they are now under ``name``. The service may run: it has no file open."""
        target = self.lab.folder / f"saved-{name}"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for folder in (self.lab.app, self.lab.state):
            if folder.exists():
                shutil.copytree(folder, target / folder.name, symlinks=True)

    def restore(self, name: str, running: bool = True) -> None:
        """Put application and state back as they were, at the same paths."""
        self.stop()
        for folder in (self.lab.app, self.lab.state):
            shutil.rmtree(folder, ignore_errors=True)
            saved = self.lab.folder / f"saved-{name}" / folder.name
            if saved.exists():
                shutil.copytree(saved, folder, symlinks=True)
        (self.lab.app / "run/pid").unlink(missing_ok=True)
        self._give()
        if running:
            self.start()

    # -- keyturn ---------------------------------------------------------------------------------------------------

    def parameters(self) -> dict[str, Any]:
        """Return the parameter ``rotation`` of the modules."""
        user = {"app_user": "nobody"} if self.theirs else {}
        return self.lab.rotation(ROTATION_ID, services=self.services, **user, **self.more)

    def rotation(self) -> Rotation:
        """Return the rotation for calls in this process."""
        given = {"app_user": None} | self.parameters() | {"services": with_defaults(self.services)}
        given |= {"app_root": self.lab.app, "state_dir": self.lab.state}
        given["entry"] = validated("entry", catalogue.ENTRY, given["entry"])
        return Rotation(**given)

    def go_to(self, phase: str) -> None:
        """Take the host to ``phase``."""
        stage.run(self.rotation())
        if phase != "staged":
            turn.run(self.rotation(), "proved" if phase == "decided" else phase)
        if phase == "decided":
            commit.decide(self.rotation())
        self.learn()

    def learn(self) -> None:
        """Take the new value from where the host holds it, if it does."""
        self.new = self.stored_values().get("pending.json", "")
        if not self.new and self.lab.key() != self.old:
            self.new = self.lab.key()

    def go_forward(self) -> None:
        """End the rotation on the new value, as resume.yml does on a host."""
        rotation = self.rotation()
        stage.run(rotation)
        while "progress" in turn.run(rotation, "proved"):
            pass
        commit.run(rotation, "both")

    def go_back(self) -> None:
        """End the rotation on the old value, as rollback.yml does on a host."""
        rollback.run(self.rotation(), cause="a test", abandon_commit=False)

    def state_file(self, name: str) -> Path:
        """Return a file of the rotation's folder."""
        return self.rotation().application.folder / "rotations" / ROTATION_ID / name

    # -- evidence --------------------------------------------------------------------------------------------------

    def rows(self) -> list[tuple[str, str]]:
        """Return item_id and access_token of every row, from a copy: looking must not repair what a kill left."""
        with self._copied_database() as connection:
            items = list(connection.execute("SELECT item_id, access_token FROM plaid_items ORDER BY item_id"))
            linked = list(connection.execute("SELECT item, doc FROM linked")) if self.linked else []
            vault = list(connection.execute("SELECT name, secret FROM vault.vault")) if self.vault else []
            return [*items, *((item, json.loads(doc)["links"][1]["token"]) for item, doc in linked), *vault]

    def everything_else(self) -> str:
        """Return the database as text without the tokens: schema with its triggers, other columns, other tables."""
        with self._copied_database() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            schema = list(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"))
            columns = "item_id, institution_name, created_at, updated_at"
            items = list(connection.execute(f"SELECT rowid, {columns} FROM plaid_items ORDER BY rowid"))
            others = [
                list(connection.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid"))
                for table in ("bank_accounts", "bank_transactions")
            ]
            linked = list(connection.execute("SELECT rowid, item, doc FROM linked")) if self.linked else []
            around = [(*row, doc.replace(json.loads(doc)["links"][1]["token"], "")) for *row, doc in linked]
            vault = ["vault.sqlite_master", "(SELECT rowid, name, note, sealed FROM vault.vault)"] if self.vault else []
            beside = [list(connection.execute(f"SELECT * FROM {place}")) for place in vault]
            return repr([schema, items, others, around, [(*row[:3], row[-1]) for row in itertools.chain(*beside)]])

    def forms_under(self) -> tuple[dict[str, str], set[str]]:
        """Return the form of each row and the sides that rows are under; fail where a row's token is not what it was."""
        ciphers = {side: Fernet(fernet_key(value)) for side, value in (("old", self.old), ("new", self.new)) if value}
        turner = Turner(ciphers, "^access-")  # type: ignore[arg-type]
        forms, sides = {}, set()
        for item, stored in self.rows():
            opened = turner.open(stored)
            kept = opened.plaintext.decode() == self.tokens[item]
            assert kept, f"the token of {item} is not what it was"
            forms[item] = opened.form
            sides |= {opened.side} - {None}
        assert forms.keys() == self.tokens.keys()
        return forms, {str(side) for side in sides}

    def sides_of(self, items: Collection[str]) -> set[str]:
        """Return the sides that some rows are under."""
        ciphers = {side: Fernet(fernet_key(value)) for side, value in (("old", self.old), ("new", self.new)) if value}
        turner = Turner(ciphers, "^access-")  # type: ignore[arg-type]
        found = {turner.open(stored).side for item, stored in self.rows() if item in items}
        return {str(side) for side in found - {None}}

    def lost_rows(self) -> int:
        """Return the number of rows that no stored value opens to their token."""
        keys = [*self.stored_values().values(), self.lab.key()]
        turners = [Turner({"old": Fernet(fernet_key(key))}, "^access-") for key in keys]
        lost = dict(self.tokens)
        for item, stored in self.rows():
            for turner in turners:
                with contextlib.suppress(Exception):
                    if turner.open(stored).plaintext.decode() == self.tokens[item]:
                        lost.pop(item, None)
        return len(lost)

    def stored_values(self) -> dict[str, str]:
        """Return what the host's store holds durably."""
        names = ("previous.json", "pending.json")
        return {
            name: json.loads(self.state_file(name).read_text())[KEY] for name in names if self.state_file(name).exists()
        }

    def check_invariants(self) -> None:
        """Check invariants 1 to 4 on what a kill left. Comparisons have names: pytest would print both sides."""
        if (lock := self.state_file("prepared.lock")).exists():
            with lock.open() as file:  # the program goes on when what has started it is killed
                assert durable.take_lock(file.fileno(), 60)
        forms, sides = self.forms_under()
        assert forms == self.forms, "a row came back in another form"
        each = [self.sides_of(self.tokens.keys() - self.vault), *([self.sides_of(self.vault)] if self.vault else [])]
        assert {len(one) for one in each} == {1}, "one transaction, yet rows are under both values"
        assert self.everything_else() == self.untouched, "something beside the tokens changed"
        self.check_owners()
        assert stat.S_IMODE(self.lab.env.stat().st_mode) == 0o600
        files = {self.side_of(path) for path in self.old_files}
        assert "neither" not in files, "a file is neither the old one nor the new one"
        values = self.stored_values()
        if "new" in sides | files:
            # after the decision files and rows hold the new value for good
            decided = self.journal().get("decision") == "commit"
            keeps_both = values["previous.json"] == self.old and (decided or values["pending.json"] == self.new)
            assert keeps_both, "rows or files have a value that nothing else holds"
        if any(step["phase"] == "switched" for step in self.journal().get("history", [])):
            return  # a rollback may be on its way, and there the rows go first as well
        assert files == {"old"} or sides == {"new"}, "a file was replaced before the rows"
        assert each != [{"old"}, {"new"}], "the second store was turned before the first"

    def check_owners(self) -> None:
        """Check that everything belongs to whom it belonged, also what a kill has left: the application's to its user, the rest to root."""
        for folder, user in ((self.lab.app, NOBODY), (self.lab.state, 0)) if self.theirs else ():
            assert {path.lstat().st_uid for path in (folder, *folder.rglob("*")) if folder.exists()} <= {user}

    def check_ended(self, outcome: str | None) -> None:
        """Check that the rotation ended, whole, on one side. None: it had not begun."""
        committed = outcome == "committed"
        self.check_owners()
        read = TokenStore(self.lab.database, fernet_key(self.lab.key())).all_items()
        reads_all = {item.item_id: item.access_token for item in read} == self.lab.tokens
        assert reads_all, "the application does not read every token"
        assert {self.side_of(path) for path in self.old_files} == {"new" if committed else "old"}
        assert stat.S_IMODE(self.lab.env.stat().st_mode) == 0o600
        forms, sides = self.forms_under()
        assert forms == self.forms
        assert sides == ({"new"} if committed else {"old"})
        assert self.everything_else() == self.untouched
        journal = self.journal()
        assert (journal.get("phase"), journal.get("outcome")) == ("closed" if outcome else None, outcome)
        assert self.lab.get("/health") == 200
        pid = int((self.lab.app / "run/pid").read_text())
        assert procfs.started_after(pid, procfs.moment_of(self.lab.env.stat().st_mtime)), "it runs on another value"
        # the value that lost, and what was computed on the way, may only stand where the retention keeps it
        temporary = [path.name for path in self.lab.app.rglob("*.keyturn*")]
        assert temporary == []
        folder = self.state_file("journal.json").parent
        left = {path.name for path in folder.iterdir()} if folder.exists() else set()
        if outcome:
            folders = {"1", "2"} if self.vault else set()
            kept = {"backup.db"} if "backup" in journal else set()
            assert left - folders == {
                "journal.json",
                *(["previous.json"] if kept else []),
                *(set() if folders else kept),
            }
            for name in folders & left:
                assert {path.name for path in (folder / name).iterdir()} == kept
        else:
            assert {durable.LEFT.sub("", name) for name in left - {"journal.json"}} <= {"journal.json"}
        holding = {f"app/{path.name}" for path in self.old_files}
        assert not self.new or self.files_with(self.new) == (holding if committed else set())
        kept = {"state/previous.json"} if "backup" in journal else set()
        assert self.files_with(self.old) == kept | (set() if committed else holding)

    def check_converges(self, ways: Sequence[str] = WAYS) -> None:
        """End the rotation by each of the ways from what a fault left, and check that each that is legal ends it whole."""
        running = self.lab.get("/health") == 200
        journal = self.journal()
        self.save("fault")
        for way in ways:
            if way != ways[0]:
                self.restore("fault", running)
            self.learn()
            {"forward": self._check_forward, "back": self._check_back}[way](journal)

    def _check_forward(self, journal: Mapping[str, Any]) -> None:
        if journal.get("decision") == "rollback":
            with pytest.raises(KeyturnError, match=r"roll.*back"):
                self.go_forward()
        else:
            self.go_forward()
            self.learn()
            self.check_ended("committed")

    def _check_back(self, journal: Mapping[str, Any]) -> None:
        if journal.get("decision") != "commit":
            self.go_back()
            self.check_ended("rolled_back" if journal else None)
        elif journal["phase"] != "closed":
            with pytest.raises(KeyturnError, match=r"only goes forward, run resume\.yml"):
                self.go_back()

    def journal(self) -> dict[str, Any]:
        """Return the journal of the rotation, empty before it has begun."""
        return next(iter(self.lab.journals()), {})

    def files_with(self, value: str) -> set[str]:
        """Return the files of application and state that hold ``value`` in clear, temporary ones as well."""
        found = set()
        for folder in (self.lab.state, self.lab.app):
            for path in folder.rglob("*"):
                if path.is_file() and value.encode() in path.read_bytes():
                    found.add(f"{folder.name}/{path.name}")
        return found

    def side_of(self, path: Path) -> str:
        """Return whether a file of the value is the old one, or the one that the rotation makes, or neither."""
        content, old = path.read_bytes(), self.old_files[path]
        new = old.replace(self.old.encode(), self.new.encode())
        return "old" if content == old else "new" if content == new else "neither"

    @contextlib.contextmanager
    def _copied_database(self) -> Iterator[sqlite3.Connection]:
        copy = self.lab.folder / "looked-at"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.lab.database.parent, copy)
        with contextlib.closing(sqlite3.connect(copy / self.lab.database.name)) as connection:
            if self.vault:
                connection.execute("ATTACH ? AS vault", (str(copy / "vault.db"),))
            yield connection


class Play:
    """A running ansible-playbook, whose processes are found by a mark in their environment.

    Keyturn runs a service's scripts with a clean environment, so the application never carries the mark.
    """

    def __init__(self, lab: Lab, playbook: str, *arguments: str, **environment: str) -> None:
        self.lab = lab
        self.mark = new_mark()
        self.output = lab.folder / f"{playbook}.out"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                lab.command(playbook, *arguments),
                cwd=ROOT,
                env=lab.environment() | environment | self.mark,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, state: str) -> None:
        """Wait until the interpreter of ``holding`` has stopped the module at ``state``."""
        while not (self.lab.folder / "held").exists():
            assert self.process.poll() is None, f"the run ended before {state}:\n{self.output.read_text()}"
            time.sleep(0.02)

    def wait_for_journal(self) -> None:
        """Wait until the rotation has opened its journal."""
        while self.state() == "none":
            assert self.process.poll() is None, f"the run ended before its journal:\n{self.output.read_text()}"
            time.sleep(0.02)

    def state(self) -> str:
        """Return the phase of the newest journal, ``decided`` from the decision to commit on, ``none`` without one."""
        journals = self.lab.journals()
        if not journals:
            return "none"
        phase, decision = journals[-1]["phase"], journals[-1].get("decision")
        return "decided" if decision == "commit" and phase != "closed" else str(phase)

    def processes(self) -> dict[int, list[str]]:
        """Return the command lines of all processes of the run that still live, by pid."""
        return marked(self.mark)

    def kill(self, who: str) -> None:
        """SIGKILL the controller with its workers (and let a module go on), or everything but the application."""
        kill(lambda: self._victims(who))
        self.process.wait()

    def _victims(self, who: str) -> Commands:
        return {
            pid: command
            for pid, command in self.processes().items()
            if who == "all" or any(part.endswith("/ansible-playbook") for part in command[:2])
        }


def hold(lab: Lab, state: str, seconds: float = 0) -> None:
    """Give the lab's host an interpreter that waits as soon as a journal says ``state``, until ``seconds`` after its release.

    The journal is durable then, and nothing that comes after it has begun.
    """
    folder = lab.folder / "hold"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HOLD.format(folder=str(lab.folder), state=state, seconds=seconds))
    lab.interpreter = interpreter(folder / "python", folder)
    lab.write_inventory()


def release(lab: Lab) -> None:
    """Let the call go on that is held, and give the lab's host its ordinary interpreter again."""
    (lab.folder / "released").touch()
    lab.interpreter = interpreter(lab.folder / "python", COMPILED)
    lab.write_inventory()


def run(command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command that loads a module by itself."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run(command, env=env, text=True, capture_output=True, check=False, **more)


def patched(command: list[str], patch: str) -> list[str]:
    """Return a command of ``module_command`` that runs the statements ``patch`` first."""
    assert command[2] == RUN_MODULE
    return [*command[:2], f"{patch}\n{RUN_MODULE}", *command[3:]]


def record(series: str, points: Mapping[str, Any]) -> None:
    """Add a line to the matrix that is printed at the end of the session."""
    folder = os.environ.get(MATRIX)
    if folder:
        name = re.sub(r"\W+", "-", f"{series}-{os.getpid()}-{time.monotonic_ns()}")
        (Path(folder) / f"{name}.json").write_text(json.dumps({"series": series, **points}))
