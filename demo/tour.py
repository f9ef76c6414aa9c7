"""A tour of Keyturn: real rotations of the stand-in application on this machine, each with what it is to show. ``make tour`` runs it.

Everything lies in one folder, which is made anew. Plaid and Alpaca are stand-ins on loopback. A step that does not show what it says
ends the tour with an exit code of 1.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import logging
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from dotenv import dotenv_values
from jose import jwt
from providers import Alpaca, Plaid
from seed import DATABASE, seed
from trader_ai.token_store import TokenStore

ROOT = Path(__file__).resolve().parents[1]
SESSIONS = 25
KILLED_IN = ("switching", "switched")
MARK = "KEYTURN_TOUR"
ENGINE_CONNECTS_SECONDS = 20


def main() -> None:
    """Take the tour."""
    parser = argparse.ArgumentParser(description="A tour of Keyturn on this machine.")
    parser.add_argument("--root", type=Path, default=ROOT / ".local/tour", help="the folder, which is made anew")
    parser.add_argument("--rows", type=int, default=1000)
    options = parser.parse_args()
    logging.disable()  # the application's code reads rows here, and would say of each that is plaintext
    began = time.monotonic()
    with Tour(options.root, options.rows).standing() as tour:
        for number, step in enumerate(STEPS, 1):
            head, _, text = (step.__doc__ or "").partition("\n")
            print(f"\n\n== {number}. {head}\n{' '.join(text.split())}", flush=True)
            print(f"-> {step(tour)}", flush=True)
    print(f"\nThe tour took {time.monotonic() - began:.0f} s. What it has made lies in {options.root}.")


class Tour:
    """The stand-ins, and what a step does with them."""

    def __init__(self, root: Path, rows: int) -> None:
        self.root, self.app = root, root / "app"
        self.inventory, self.reports = root / "tour", root / "reports/tour"
        self.plaid, self.alpaca = Plaid(), Alpaca()
        if (self.app / "stop.sh").exists():
            self.stop()
        shutil.rmtree(root, ignore_errors=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.tokens = seed(self.app, rows, self.port, alpaca_url=self.alpaca.url)
        self.plaid.valid, self.alpaca.valid = {self.pair("PLAID_CLIENT_ID", "PLAID_SECRET")}, {self.alpaca_pair()}
        self._write_inventory()

    def _write_inventory(self) -> None:
        url = f"http://127.0.0.1:{self.port}"
        backend = {"manager": "script", "start": "./start.sh", "stop": "./stop.sh", "health_url": f"{url}/health"}
        backend |= {"log_file": "logs/backend.err.log"}
        engine = {"manager": "script", "start": "./start_engine.sh", "stop": "./stop_engine.sh"}
        engine |= {"pid_file": "run/engine.pid", "log_file": "logs/trading.log"}
        engine |= {"health_line": "{{ keyturn_log_lines.alpaca_connected | keyturn_pattern }}"}
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "keyturn_environment": self.inventory.name,
            "keyturn_app_root": str(self.app),
            "keyturn_state_dir": str(self.root / "state"),
            "keyturn_reports_dir": str(self.reports.parent),
            "keyturn_services": {
                "backend": backend
                | {"proof_path": "/api/bank/accounts", "proof_auth": "jwt", "proof_secret": "JWT_SECRET_KEY"},
                "engine": engine,
            },
            "keyturn_plaid_url": self.plaid.url,
            "keyturn_alpaca_url": self.alpaca.url,
        }
        self.inventory.mkdir(parents=True)
        document = {"trader_ai": {"hosts": {"here": {}}, "vars": variables}}
        (self.inventory / "hosts.yml").write_text(json.dumps(document, indent=1))  # which is YAML as well

    @contextlib.contextmanager
    def standing(self) -> Iterator[Tour]:
        """Have the application run until the end of the tour."""
        subprocess.run([self.app / "start.sh"], check=True)
        subprocess.run([self.app / "start_engine.sh"], check=True)
        try:
            log, deadline = self.app / "logs/trading.log", time.monotonic() + ENGINE_CONNECTS_SECONDS
            while not log.exists() or b"Connected" not in log.read_bytes():
                must(time.monotonic() < deadline, f"the engine does not connect, see {log}")
                time.sleep(0.05)
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop the application."""
        for script in ("stop_engine.sh", "stop.sh"):
            subprocess.run([self.app / script], check=False, stdout=subprocess.DEVNULL)

    # -- what is there ---------------------------------------------------------------------------------------------

    def held(self, name: str) -> str:
        """Return a value of the application's `.env`."""
        return str(dotenv_values(self.app / ".env")[name])

    def pair(self, *names: str) -> tuple[str, ...]:
        """Return some of them."""
        return tuple(self.held(name) for name in names)

    def alpaca_pair(self) -> tuple[str, ...]:
        """Return the pair of Alpaca."""
        return self.pair("ALPACA_API_KEY", "ALPACA_SECRET_KEY")

    def rows_read(self) -> int:
        """Return how many tokens the application's own code reads as they were written."""
        store = TokenStore(self.app / DATABASE, self.held("DATABASE_ENCRYPTION_KEY"))
        return sum(self.tokens[item.item_id] == item.access_token for item in store.all_items())

    def check_rows(self) -> str:
        """Return a sentence about the rows, all of which must be read."""
        read = self.rows_read()
        must(
            read == len(self.tokens), f"{len(self.tokens) - read} of {len(self.tokens)} rows are not read as they were"
        )
        return f"The application reads all {read} tokens as they were."

    def session(self) -> str:
        """Return a token of a user, signed as the application signs."""
        user = {"sub": str(uuid.uuid4()), "exp": int(time.time()) + 3600}
        return str(jwt.encode(user, self.held("JWT_SECRET_KEY"), algorithm="HS256"))

    def ask(self, session: str, path: str = "/api/positions") -> int | None:
        """Return the application's answer to a user, None without one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", path, headers={"Authorization": f"Bearer {session}"})
            return connection.getresponse().status
        return None

    # -- what is done ----------------------------------------------------------------------------------------------

    def command(self, playbook: str, *arguments: str) -> list[str]:
        """Print a command as a person would type it, and return it."""
        place = os.path.relpath(self.inventory, ROOT)
        print(f"\n$ bin/keyturn {shlex.join([playbook, '-i', place, *arguments])}", flush=True)
        return [str(ROOT / "bin/keyturn"), playbook, "-i", place, *arguments]

    def play(self, playbook: str, *arguments: str, code: int = 0, **environment: str) -> None:
        """Run a playbook, which must end with this exit code."""
        for name in environment:
            print(f"$ export {name}=...", flush=True)
        done = subprocess.run(self.command(playbook, *arguments), cwd=ROOT, env=os.environ | environment, check=False)
        must(done.returncode == code, f"it ended with {done.returncode} instead of {code}")

    def kill_in_the_middle(self, playbook: str) -> str:
        """Run a playbook and kill all of it while the service is switched; return the phase."""
        mark = uuid.uuid4().hex
        running = subprocess.Popen(self.command(playbook), cwd=ROOT, env=os.environ | {MARK: mark})
        while (phase := self.open_phase()) not in KILLED_IN:
            must(running.poll() is None, "it ended before it could be killed")
            time.sleep(0.001)
        # what Keyturn starts for the application has a clean environment, so the application is not found
        while victims := marked(mark):
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            running.poll()
        running.wait()
        return phase

    def open_phase(self) -> str:
        """Return the phase of the rotation that is open, nothing without one."""
        phases = [json.loads(path.read_text())["phase"] for path in self.root.glob("state/*/rotations/*/journal.json")]
        return next((phase for phase in phases if phase != "closed"), "")

    def report(self) -> dict[str, object]:
        """Return the newest report."""
        return dict(json.loads(max(self.reports.glob("2*.json")).read_text()))


class Load:
    """A user who asks all the time."""

    def __init__(self, tour: Tour) -> None:
        self.tour, self.session = tour, tour.session()
        self.answers: list[tuple[float, bool]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Load:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._end.wait(0.01):
            began = time.monotonic()
            self.answers.append((began, self.tour.ask(self.session, "/api/bank/accounts") == 200))

    def sentence(self) -> str:
        """Say what was lost, which must lie in one gap."""
        bad = [at for at, good in self.answers if not good]
        must(bool(bad), "no request met the gap: nothing was switched")
        inside = [good for at, good in self.answers if bad[0] <= at <= bad[-1]]
        must(not any(inside), "requests were lost outside of the one gap")
        return (
            f"{len(self.answers)} requests: {len(self.answers) - len(bad)} were answered, and the {len(bad)} others fell into "
            f"one gap of {bad[-1] - bad[0]:.1f} s, in which the service was restarted."
        )


def marked(mark: str) -> list[int]:
    """Return the living processes that were started with the mark."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def must(holds: bool, otherwise: str) -> None:
    """End the tour where something does not hold."""
    if not holds:
        sys.exit(f"\nThe tour ends here: {otherwise}")


# -- the steps: what each shows is its text -------------------------------------------------------------------------------


def turn_under_load(tour: Tour) -> str:
    """The database key is turned while the application is used.

    Every row is encrypted anew beside the running service. It stops for one transaction only, and is proved on the new key.
    """
    with Load(tour) as load:
        tour.play("rotate_db_key")
    return f"{load.sentence()} {tour.check_rows()}"


def kill_and_resume(tour: Tour) -> str:
    """The same, killed in the middle, and ended.

    SIGKILL for the controller and for the call on the host, while the service is switched. What is open is seen, and ended.
    """
    phase = tour.kill_in_the_middle("rotate_db_key")
    print(f"\n(killed: the journal of the host says `{phase}`)", flush=True)
    tour.play("rotate_jwt_secret", code=2)
    print("\n(another rotation is refused, and the two commands that end this one are named)", flush=True)
    tour.play("resume")
    return tour.check_rows()


def bring_plaid(tour: Tour) -> str:
    """A person brings a new Plaid secret, and the old one is proved dead.

    Old and new work beside each other until somebody deletes the old one at Plaid. Nothing but Plaid's own refusal closes that.
    """
    old = tour.pair("PLAID_CLIENT_ID", "PLAID_SECRET")
    new = (old[0], secrets.token_hex(15))
    tour.plaid.valid.add(new)
    tour.play("rotate_plaid_credentials", KEYTURN_NEW_PLAID_CLIENT_ID=new[0], KEYTURN_NEW_PLAID_SECRET=new[1])
    must(tour.pair("PLAID_CLIENT_ID", "PLAID_SECRET") == new, "the application has not got the new secret")
    tour.play("confirm_revoked", code=2)
    print(
        "\n(Plaid still accepts the old secret, so it stays open; now somebody deletes it in the dashboard)", flush=True
    )
    tour.plaid.valid.remove(old)
    tour.play("confirm_revoked")
    return "Plaid has refused the old secret, and its last copy is destroyed."


def turn_alpaca(tour: Tour) -> str:
    """Alpaca, where the new pair kills the old one, in two steps.

    The first run checks all that needs no new pair, and changes nothing. Then the person makes the pair at Alpaca, by which the old one
    dies, and the second run brings it to all hosts at once.
    """
    tour.play("rotate_alpaca_credentials", "-e", "keyturn_until=ready")
    new = ("PK" + secrets.token_hex(9).upper(), secrets.token_urlsafe(30))
    tour.alpaca.valid = {new}
    print("\n(READY: the person regenerates the pair, and the old one is dead from now on)", flush=True)
    tour.play("rotate_alpaca_credentials", KEYTURN_NEW_ALPACA_API_KEY=new[0], KEYTURN_NEW_ALPACA_SECRET_KEY=new[1])
    must(tour.alpaca_pair() == new, "the application has not got the new pair")
    tour.play("confirm_revoked")
    return "The trading engine is connected with the new pair, and Alpaca has refused the old one."


def end_sessions(tour: Tour) -> str:
    """The JWT secret is turned, and every session ends.

    Tokens that were signed before must be refused afterwards; a user who logs in again is served.
    """
    sessions = [tour.session() for _ in range(SESSIONS)]
    before = sum(tour.ask(session) == 200 for session in sessions)
    tour.play("rotate_jwt_secret")
    after = sum(tour.ask(session) == 200 for session in sessions)
    must(
        (before, after, tour.ask(tour.session())) == (SESSIONS, 0, 200), f"{after} of {before} old sessions are served"
    )
    return f"{before} of {SESSIONS} sessions were served before and {after} afterwards. A new login works."


def drill(tour: Tour) -> str:
    """A drill: what if the JWT secret has leaked.

    One command decides by the policy's table which secrets are affected, rotates those that need nobody, also in a drill, and keeps a
    document of it. Values that a person brings are listed as waiting, and so are the points that only people can tick.
    """
    said = {
        "keyturn_incident_id": "DRILL-1",
        "keyturn_incident_leaked": "credentials",
        "keyturn_incident_affected": ["jwt"],
    }
    said |= {"keyturn_incident_drill": True, "keyturn_incident_without_evidence": "a tour"}
    tour.play("respond_to_incident", "-e", json.dumps(said))
    return f"The document is {tour.reports}/incidents/DRILL-1/incident.md."


def see_the_status(tour: Tour) -> str:
    """What needs whom now.

    The state of each secret, as a table, as JSON for programs and as a page for people. All has just been rotated, so it ends with 0; it
    ends with 2 as soon as a secret is due, or a checklist or an incident is late.
    """
    tour.play("status")
    tour.play("verify_log")
    must((tour.reports / "status.html").is_file(), "there is no page")
    return f"The page is {tour.reports}/status.html: open it in a browser."


STEPS: tuple[Callable[[Tour], str], ...] = (
    turn_under_load,
    kill_and_resume,
    bring_plaid,
    turn_alpaca,
    end_sessions,
    drill,
    see_the_status,
)

if __name__ == "__main__":
    main()
