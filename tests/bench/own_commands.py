"""What applications ship to turn their keys, and Keyturn, while clients write: what the application reads back afterwards.

`PYTHONPATH=tests:tests/support:module_utils:demo .venv/bin/python -m bench.own_commands` installs Airflow and JupyterHub in environments of
their own (tests/support/environments.py), takes some minutes, and prints a line for each. `VARIABLES=2000` says how many Airflow has.
`POSTGRESQL=1` has two of its API servers behind HAProxy (tests/support/pair.py) keep them in PostgreSQL, where Keyturn turns them by a
stop, as a list of keys, and by Airflow's command in its own stop.

Airflow: what its documentation says is done to the letter. The key becomes `new,old` and each API server is started anew, the command is
run, the key becomes `new` and each is started anew. Clients update one variable after the other, each by a value that was never there, and
note what was acknowledged. Lost is an update that was acknowledged, that nobody has written over, and that Airflow does not read back.
Another client reads one variable after the other: a request has failed that got no good answer, or no value that somebody has written
there. JupyterHub: the key becomes `new;old`, half of the users come by, the key becomes `new`.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.fernet import Fernet
from support.pair import Pair
from support.postgres import server
from support.worked import ROWS, Airflow, Hub, Worked

VARIABLES = int(os.environ.get("VARIABLES", "2000"))
CLIENTS = 3
# of all clients together, in a second
UPDATES = 17
WAYS = {"a stop": "one key", "a list of keys": "list", "the command in a stop": "own command"}


class Measured(NamedTuple):
    """What came of one way to turn the key under load."""

    way: str
    exit_code: int
    seconds: float
    down: float
    acknowledged: int
    lost: int
    unreadable: int
    asked: int
    failed: int

    def __str__(self) -> str:
        """Return it as a line."""
        return (
            f"{self.way}: exit code {self.exit_code} after {self.seconds:.1f} s, no answer for {self.down:.1f} s; of {self.asked} requests "
            f"{self.failed} failed; of {self.acknowledged} acknowledged updates ({self.acknowledged / self.seconds:.1f} in a second) "
            f"{self.lost} lost, {self.unreadable} variables unreadable"
        )


class Load:
    """Clients that update variables, each some of its own, so that nobody writes over another's, and one that reads them."""

    def __init__(self, lab: Airflow) -> None:
        self.lab = lab
        self.last: dict[str, str] = {}
        self.uncertain: dict[str, set[str]] = {}
        self.acknowledged = self.asked = self.failed = 0
        self.down = 0.0
        self._end = threading.Event()

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Let the clients work for as long as the block lasts."""
        clients = [threading.Thread(target=self._write, args=(number,)) for number in range(CLIENTS)]
        clients.append(threading.Thread(target=self._read))
        for client in clients:
            client.start()
        try:
            yield self
        finally:
            self._end.set()
            for client in clients:
                client.join()

    def _write(self, client: int) -> None:
        number, since, due = client, None, time.monotonic()
        while not self._end.wait(max(0.0, due - time.monotonic())):
            due = max(due + CLIENTS / UPDATES, time.monotonic() - 1)
            name, value = f"v{number % VARIABLES}", f"updated-{client}-{number}"
            number += CLIENTS
            self.asked += 1
            try:
                self.lab.write(name, value)
            except (OSError, http.client.HTTPException):
                since = since or time.monotonic()
                self.failed += 1
                self.uncertain.setdefault(name, set()).add(value)
                time.sleep(0.05)
                continue
            if since:
                self.down, since = max(self.down, time.monotonic() - since), None
            self.last[name] = value
            self.uncertain.pop(name, None)
            self.acknowledged += 1

    def _read(self) -> None:
        """Ask for variables, whose values Airflow's own code opens for the answer."""
        number = 0
        while not self._end.wait(0.05):
            number += 7919
            self.asked += 1
            try:
                value = self.lab.api("GET", f"/variables/v{number % VARIABLES}")["value"]
            except (OSError, http.client.HTTPException):
                value = None
            self.failed += not str(value).startswith(("first-", "updated-"))


def restart(lab: Worked, key: str) -> None:
    """Put a key into the settings, and start the application anew."""
    env = lab.app / ".env"
    env.write_text(
        env.read_text().replace(f"={lab.key()}\n", f"='{key}'\n").replace(f"='{lab.key()}'\n", f"='{key}'\n")
    )
    lab.stop()
    lab.start()


def airflows_own(lab: Airflow | Pair) -> int:
    """Turn the key as Airflow's documentation says."""
    old, new = lab.key(), Fernet.generate_key().decode()
    anew = lab.restart if isinstance(lab, Pair) else lambda key: restart(lab, key)
    anew(f"{new},{old}")
    lab.program("rotate-fernet-key")
    anew(new)
    return 0


def keyturns(lab: Airflow | Pair) -> int:
    """Turn it by Keyturn."""
    done = lab.play("rotate", "-e", "keyturn_secret=fernet_key")
    if done.returncode:
        print(done.stdout)
    return done.returncode


def fill(lab: Airflow | Pair, folder: Path) -> None:
    """Give Airflow its variables, and start it."""
    values = folder / "variables.json"
    values.write_text(json.dumps({f"v{number}": f"first-{number}" for number in range(VARIABLES)}))
    lab.program("variables", "import", str(values))
    lab.start()
    lab.fill()


def measured(way: str, turn: Callable[[Any], int], lab: Airflow | Pair) -> Measured:
    """Load an Airflow, turn its key, and read everything back by Airflow's own code."""
    with Load(lab.front if isinstance(lab, Pair) else lab).running() as load:
        began = time.monotonic()
        code = turn(lab)
        seconds = time.monotonic() - began
    read = lab.read()
    lost = [n for n, value in load.last.items() if read.get(n) not in {value, None, *load.uncertain.get(n, ())}]
    unreadable = [name for name in (f"v{number}" for number in range(VARIABLES)) if read.get(name) is None]
    counted = (load.acknowledged, len(lost), len(unreadable), load.asked, load.failed)
    return Measured(way, code, seconds, load.down, *counted)


def jupyterhubs_own() -> str:
    """Turn JupyterHub's key by its list of keys, and return how many states it has then."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Hub(Path(folder))
        lab.start()
        try:
            lab.fill()
            old, new = lab.key(), secrets.token_hex(32)
            restart(lab, f"{new};{old}")
            for number in range(ROWS // 2):
                lab.api("GET", f"/users/row{number}")
            restart(lab, new)
            left = [name for name, state in lab.read().items() if state is not None]
            return f"jupyterhub new;old: of {ROWS} states {ROWS // 2} were read meanwhile, and {len(left)} are left"
        finally:
            lab.stop()


def on_sqlite() -> None:
    """Measure each way over a database of its own."""
    print(jupyterhubs_own(), flush=True)
    for way, turn in (("airflow rotate-fernet-key", airflows_own), ("keyturn", keyturns)):
        with tempfile.TemporaryDirectory() as folder:
            lab = Airflow(Path(folder))
            try:
                fill(lab, Path(folder))
                print(measured(way, turn, lab), flush=True)
            finally:
                lab.stop()


def on_postgresql() -> None:
    """Measure each way over the same database, one after the other."""
    with server() as postgres, tempfile.TemporaryDirectory() as folder:
        lab = Pair(Path(folder), postgres.database("airflow"))
        try:
            fill(lab, Path(folder))
            print(measured("airflow rotate-fernet-key", airflows_own, lab), flush=True)
            for way, described in WAYS.items():
                lab.describe(described)
                print(measured(f"keyturn, {way}", keyturns, lab), flush=True)
        finally:
            lab.stop()


def main() -> None:
    """Measure each way, and say so."""
    on_postgresql() if os.environ.get("POSTGRESQL") else on_sqlite()


if __name__ == "__main__":
    main()
