"""What applications ship to turn their keys, and Keyturn, while clients write: what the application reads back afterwards.

`PYTHONPATH=tests:tests/support:module_utils:demo .venv/bin/python -m bench.own_commands` installs Airflow and JupyterHub in environments of
their own (tests/support/environments.py), takes some minutes, and prints a line for each. `VARIABLES=2000` says how many Airflow has;
`POSTGRESQL=1` has it keep them in PostgreSQL, where Keyturn turns them by a stop, as a list of keys,
and by Airflow's command in its own stop.

Airflow: what its documentation says is done to the letter. The key becomes `new,old` and the API server is started anew, the command is
run, the key becomes `new` and the server is started anew. Clients update one variable after the other, each by a value that was never
there, and note what was acknowledged. Lost is an update that was acknowledged, that nobody has written over, and that Airflow does not read
back. JupyterHub: the key becomes `new;old`, half of the users come by, the key becomes `new`.
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
from typing import NamedTuple

from cryptography.fernet import Fernet
from support.postgres import server
from support.worked import ROWS, Airflow, Hub, Worked

VARIABLES = int(os.environ.get("VARIABLES", "2000"))
CLIENTS = 3
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

    def __str__(self) -> str:
        """Return it as a line."""
        return (
            f"{self.way}: exit code {self.exit_code} after {self.seconds:.1f} s, no answer for {self.down:.1f} s; of {self.acknowledged} "
            f"acknowledged updates {self.lost} lost, {self.unreadable} variables unreadable"
        )


class Load:
    """Clients that update variables: each has some of its own, so that nobody writes over another's."""

    def __init__(self, lab: Airflow) -> None:
        self.lab = lab
        self.last: dict[str, str] = {}
        self.uncertain: dict[str, set[str]] = {}
        self.acknowledged = 0
        self.down = 0.0
        self._end = threading.Event()

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Let the clients work for as long as the block lasts."""
        clients = [threading.Thread(target=self._work, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            yield self
        finally:
            self._end.set()
            for client in clients:
                client.join()

    def _work(self, client: int) -> None:
        number, since = client, None
        while not self._end.is_set():
            name, value = f"v{number % VARIABLES}", f"updated-{client}-{number}"
            number += CLIENTS
            try:
                self.lab.write(name, value)
            except (OSError, http.client.HTTPException):
                since = since or time.monotonic()
                self.uncertain.setdefault(name, set()).add(value)
                time.sleep(0.05)
                continue
            if since:
                self.down, since = max(self.down, time.monotonic() - since), None
            self.last[name] = value
            self.uncertain.pop(name, None)
            self.acknowledged += 1


def restart(lab: Worked, key: str) -> None:
    """Put a key into the settings, and start the application anew."""
    env = lab.app / ".env"
    env.write_text(
        env.read_text().replace(f"={lab.key()}\n", f"='{key}'\n").replace(f"='{lab.key()}'\n", f"='{key}'\n")
    )
    lab.stop()
    lab.start()


def airflows_own(lab: Airflow) -> int:
    """Turn the key as Airflow's documentation says."""
    old, new = lab.key(), Fernet.generate_key().decode()
    restart(lab, f"{new},{old}")
    lab.program("rotate-fernet-key")
    restart(lab, new)
    return 0


def keyturns(lab: Airflow) -> int:
    """Turn it by Keyturn."""
    done = lab.play("rotate", "-e", f"keyturn_secret={lab.secret}")
    if done.returncode:
        print(done.stdout)
    return done.returncode


def measured(way: str, turn: Callable[[Airflow], int], url: str = "", keys: str = "one key") -> Measured:
    """Make an Airflow, load it, turn its key, and read everything back by Airflow's own code."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Airflow(Path(folder), url, keys)
        values = Path(folder) / "variables.json"
        values.write_text(json.dumps({f"v{number}": f"first-{number}" for number in range(VARIABLES)}))
        lab.program("variables", "import", str(values))
        lab.start()
        try:
            lab.fill()
            with Load(lab).running() as load:
                began = time.monotonic()
                code = turn(lab)
                seconds = time.monotonic() - began
            read = lab.read()
            lost = [n for n, value in load.last.items() if read.get(n) not in {value, None, *load.uncertain.get(n, ())}]
            unreadable = [name for name in (f"v{number}" for number in range(VARIABLES)) if read.get(name) is None]
            return Measured(way, code, seconds, load.down, load.acknowledged, len(lost), len(unreadable))
        finally:
            lab.stop()


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


def main() -> None:
    """Measure each way, and say so."""
    if not os.environ.get("POSTGRESQL"):
        print(jupyterhubs_own(), flush=True)
        for way, turn in (("airflow rotate-fernet-key", airflows_own), ("keyturn", keyturns)):
            print(measured(way, turn), flush=True)
        return
    with server() as postgres:
        print(measured("airflow rotate-fernet-key", airflows_own, postgres.database("airflow")), flush=True)
        for way, keys in WAYS.items():
            print(measured(f"keyturn, {way}", keyturns, postgres.database("airflow"), keys), flush=True)


if __name__ == "__main__":
    main()
