"""Three real hosts behind HAProxy: ways to run playbooks against them, to hurt them, and to see what they hold."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from jose import jwt

from support import warm
from support.brought import OWNERS, VARIABLES
from support.fakes import Fake
from support.lab import unhurried
from support.processes import kill, marked, new_mark

ROOT = Path(__file__).parents[2]
JWT, KEY = "JWT_SECRET_KEY", "DATABASE_ENCRYPTION_KEY"
HOSTS = ("app1", "app2", "app3")
# tests that run in parallel have a lab each: gw0 has 1
NUMBER = str(int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) + 1)
os.environ["KEYTURN_LAB"] = NUMBER
# the controller's own address in the network of the hosts: the providers stand there, where both can reach them
GATEWAY = "10.99.7.1"
os.environ["KEYTURN_LAB_PROVIDERS"] = GATEWAY
PROVIDER_PORTS = {"plaid": int(f"180{NUMBER}1"), "alpaca": int(f"180{NUMBER}2"), "hf_token": int(f"180{NUMBER}3")}
ADDRESS = {host: f"10.99.7.{NUMBER}{host[-1]}" for host in HOSTS}
BALANCER = f"http://10.99.7.{NUMBER}0"
SCRIPT = ROOT / "tests/molecule/host/fleet"
# of a run that takes each host off the balancer before it stops
HOOKS = {
    "keyturn_haproxy": {"host": "lb", "socket": "/run/haproxy.sock", "backend": "apps"},
    "keyturn_drain_hook": str(ROOT / "playbooks/hooks/haproxy_drain.yml"),
    "keyturn_return_hook": str(ROOT / "playbooks/hooks/haproxy_return.yml"),
}
INVENTORY = ROOT / "tests/molecule/inventory/lab"
MATRIX = "KEYTURN_FLEET_MATRIX"  # names the file that takes the lines of the matrix, from all workers

# the name of a task is printed when it begins; without skipped hosts it is only printed with the first result
AT_ONCE = {"PYTHONUNBUFFERED": "1", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"}

# what the application itself reads, what the host holds and how far its newest rotation is: fingerprints, never values; and how
# the application, where it runs, answers to a token of its own secret and to one of another
LOOK = """
import glob, hashlib, json, os, sys, urllib.request
sys.path.insert(0, "/usr/share/trader-ai")
os.chdir("/opt/trader-ai")
from dotenv import dotenv_values
from jose import jwt
from trader_ai.token_store import TokenStore
env = dotenv_values(".env")
mark = lambda value: "kt:" + hashlib.blake2b(value.encode(), digest_size=6, person=b"keyturn-value-1").hexdigest()
items = TokenStore("data/bank_accounts.db", env["DATABASE_ENCRYPTION_KEY"]).all_items()
bad = [i for i in items if i.access_token and not i.access_token.startswith("access-")]
def ask(secret):
    token = jwt.encode({"sub": "a test", "user_id": "a test", "exp": 4102444800}, secret)
    request = urllib.request.Request("http://127.0.0.1:8000/api/positions", headers={"Authorization": "Bearer " + token})
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError:
        return 0
held = {n: mark(env[n]) for n in ("JWT_SECRET_KEY", "DATABASE_ENCRYPTION_KEY")}
found = sorted(glob.glob("/var/lib/keyturn/*/rotations/*/journal.json"))
journal = json.load(open(found[-1])) if found else {"phase": "none"}
decided = journal.get("decision") == "commit" and journal["phase"] != "closed"
print(json.dumps({
    "rows": len(items), "lost": len(bad), **held, "phase": "decided" if decided else journal["phase"],
    "answers": [ask(env["JWT_SECRET_KEY"]), ask("another secret, of nobody")],
}))
"""

# holds the lock from the first moment at which the newest journal says what it waits for; another process that has the lock
# file open then is a call that wants it
HOLD_LOCK = """
import fcntl, glob, json, os, sys, time  # keyturn-test-hold
def says():
    found = sorted(glob.glob("/var/lib/keyturn/*/rotations/*/journal.json"))
    journal = json.load(open(found[-1])) if found else {"phase": "none"}
    decided = journal.get("decision") == "commit" and journal["phase"] != "closed"
    return "decided" if decided else journal["phase"]
while says() != sys.argv[1]:
    time.sleep(0.01)
lock = glob.glob("/var/lib/keyturn/*/lock")[0]
file = open(lock)
fcntl.flock(file, fcntl.LOCK_EX)
assert says() == sys.argv[1], "the host has gone on"
def wanted():
    for path in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(path) == lock and path.split("/")[2] != str(os.getpid()):
                return True
        except OSError:
            pass
    return False
while not wanted():
    time.sleep(0.02)
print("wanted", flush=True)
time.sleep(600)
"""
# Holds, once, the call that writes a phase into the journal, by what is fsynced last in such a write: its folder. The mark is
# durable, so that a host that boots holds nothing; leave to go on is not.
HELD_ONCE, GO_ON = "/var/lib/keyturn-test-held", "/run/keyturn-test-go-on"
PACKAGES = "/usr/local/lib/python3.11/dist-packages"
HOLD_CALL = """
import json, os, pathlib, time
fsync = os.fsync
def hold(fd):
    fsync(fd)
    journal = pathlib.Path(os.readlink(f"/proc/self/fd/{{fd}}"), "journal.json")
    if journal.exists() and json.loads(journal.read_text())["phase"] == {phase!r}:
        try:
            open({mark!r}, "x").close()
        except FileExistsError:
            return
        while not os.path.exists({leave!r}):
            time.sleep(0.02)
os.fsync = hold
"""
# what of the application does not run, once it has had time to boot, and what keeps it from starting
LEFT = """
down() {
  for unit in trader-ai-backend trader-ai-engine; do systemctl is-active --quiet $unit || echo $unit is down; done
  curl -sfm 5 http://127.0.0.1:8000/health >/dev/null || echo it is not healthy
}
for gate in /var/lib/keyturn/*/switching; do [ -e $gate ] && down && echo $gate keeps it down && exit; done
for i in $(seq 150); do [ "$(down)" ] || exit 0; sleep 0.2; done
down
"""
KILL_WAITING = """
for fd in /proc/[0-9]*/fd/*; do
  case $(readlink $fd) in /var/lib/keyturn/*/lock)
    pid=${fd#/proc/}; pid=${pid%%/*}
    grep -q keyturn-test-hold /proc/$pid/cmdline || kill -9 $pid;;
  esac
done 2>/dev/null
true
"""


def open_in(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the hosts on which a rotation is open, by what was ``found`` on them."""
    return [host for host, one in found.items() if one["phase"] not in ("none", "closed")]


def moved(variable: str, before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the hosts that hold another value of ``variable`` than before."""
    return [host for host in HOSTS if after[host][variable] != before[host][variable]]


def one_side(variable: str, before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> str:
    """Check that all hosts hold one value of ``variable``, and return which: old or new."""
    assert len({found[variable] for found in after.values()}) == 1, after
    return "new" if moved(variable, before, after) else "old"


def record(
    fault: str, when: str, outcome: str, sides: Mapping[str, Sequence[str]], found: Mapping[str, Mapping[str, Any]]
) -> None:
    """Add a line to the matrix that is printed at the end; its figures are of what was ``found`` on the hosts."""
    lost = sum(one["lost"] for one in found.values())
    converged = "no" if open_in(found) else "yes"
    hosts = (" ".join(sides.get(side, ())) or "-" for side in ("old", "new"))
    row = [fault, when, outcome, *hosts, str(lost), converged]
    with Path(os.environ[MATRIX]).open("a") as file:
        file.write(json.dumps(row) + "\n")


def container(host: str) -> str:
    """Return the name of a host's container."""
    return f"keyturn-lab{NUMBER}-{host}"


@contextlib.contextmanager
def limit(seconds: float, late: Callable[[], None]) -> Iterator[None]:
    """Call ``late`` where the body has not ended after ``seconds``."""
    timer = threading.Timer(seconds, late)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@dataclass
class Run:
    """A playbook that is under way: its output so far, and a way to wait for a line of it."""

    process: subprocess.Popen[str]
    mark: dict[str, str]
    output: list[str] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.arrived:
                self.output.append(line)
                self.arrived.notify_all()
        with self.arrived:
            self.arrived.notify_all()

    def wait_for(self, text: str, timeout: float = 120) -> None:
        """Wait until a line with ``text`` is printed; fail when the run ended without it."""
        deadline = time.monotonic() + timeout
        with self.arrived:
            while not any(text in line for line in self.output):
                going = self.reader.is_alive() and time.monotonic() < deadline
                assert going, f"the run ended before {text}:\n{''.join(self.output)}"
                self.arrived.wait(1)

    def end(self, timeout: float = 300) -> tuple[int, str]:
        """Wait for the end; return the exit code and all output."""
        code = self.process.wait(timeout)
        self.reader.join(10)
        return code, "".join(self.output)

    def kill(self) -> None:
        """Kill the controller: ansible-playbook, its workers and its connections. What runs on hosts goes on."""
        kill(lambda: marked(self.mark))


class Fleet:
    """The hosts app1, app2 and app3, and the balancer in front of them."""

    def __init__(self, reports: Path, providers: dict[str, Fake]) -> None:
        self.reports = reports
        self.providers = providers
        self.inits: dict[str, str] = {}  # the first process of each host, as this machine numbers it
        self.ended = False
        self.runs: list[Run] = []

    # -- hosts -----------------------------------------------------------------------------------------------------

    def podman(self, *arguments: str) -> str:
        """Run podman."""
        env = os.environ | {"CONTAINERS_CONF": str(ROOT / "tests/molecule/containers.conf")}
        return subprocess.run(["podman", *arguments], check=True, text=True, capture_output=True, env=env).stdout

    def enter(self, host: str, *command: str) -> list[str]:
        """Return the words that run a command on a host, not by SSH. ``podman exec`` does the same for a quarter of a core's second."""
        if host not in self.inits:
            self.inits[host] = self.podman("inspect", "--format", "{{.State.Pid}}", container(host)).strip()
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return ["nsenter", "--all", "--target", self.inits[host], "env", "-i", f"PATH={path}", "HOME=/root", *command]

    def run(self, host: str, command: str, check: bool = True) -> str:
        """Run a shell command on a host, not by SSH."""
        words = self.enter(host, "bash", "-c", command)
        return subprocess.run(words, check=check, text=True, capture_output=True).stdout

    def unpack(self, host: str, folder: str, archive: bytes) -> None:
        """Unpack a tar archive in a folder of a host, which is made."""
        words = self.enter(host, "sh", "-c", f"mkdir -p {folder} && tar -xC {folder} --no-same-owner")
        subprocess.run(words, check=True, input=archive, capture_output=True)

    def wait_on(self, host: str, condition: str, timeout: int = 120) -> None:
        """Wait until a shell condition holds on a host."""
        self.run(host, f"timeout {timeout} sh -c 'until {condition}; do sleep 0.05; done'")

    def power_off(self, host: str) -> None:
        """Cut the power: nothing is written any more."""
        self.podman("kill", "--signal", "KILL", container(host))
        self.inits.pop(host, None)

    def boot(self, host: str) -> None:
        """Start the host again, and wait for its sshd."""
        self.podman("start", container(host))
        self.inits.pop(host, None)
        self._wait_for_login(host)

    def cut(self, host: str) -> None:
        """Take the host off the network."""
        self.run(host, "ip link set eth0 down")

    def mend(self, host: str) -> None:
        """Give the host its network back."""
        self.run(host, "ip link set eth0 up")
        self._wait_for_login(host)

    def _wait_for_login(self, host: str) -> None:
        """Wait until the controller can log in: a booting host refuses that for a while (pam_nologin)."""
        key = ROOT / ".local/lab/id_ed25519"
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=2"]
        command = ["ssh", "-i", str(key), *(word for option in options for word in ("-o", option))]
        for _ in range(60):
            done = subprocess.run([*command, f"root@{ADDRESS[host]}", "true"], check=False, capture_output=True)
            if done.returncode == 0:
                return
            time.sleep(0.5)
        raise AssertionError(f"{host} refuses logins")

    def install(self, rows: int = 60, plaid: bool = False) -> None:
        """Make the application of each host anew, with credentials that its providers accept; ``plaid``: it asks for items there."""
        urls = [f"--alpaca-url={self.providers['alpaca'].url}"]
        urls += [f"--plaid-url={self.providers['plaid'].url}"] if plaid else []
        subprocess.run([SCRIPT, "install", str(rows), *urls], check=True, capture_output=True)
        self.accept_held()
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.start_application, HOSTS))

    def accept_held(self) -> None:
        """Let each provider accept what the hosts hold, and nothing else."""
        for secret, fake in self.providers.items():
            fake.mood = ""
            fake.valid = {self.credential("app1", secret): OWNERS[secret]}

    def start_application(self, host: str) -> None:
        """Start the services of a host where they do not run, and wait until they serve."""
        self.run(host, "systemctl start trader-ai-backend trader-ai-engine")
        run = "$(systemctl show --property InvocationID --value trader-ai-engine)"
        connected = f"journalctl _SYSTEMD_INVOCATION_ID={run} | grep -q Connected"
        self.wait_on(host, f"curl -sf http://127.0.0.1:8000/health >/dev/null && {connected}", 60)

    def credential(self, host: str, secret: str) -> tuple[str, ...]:
        """Return the credential of a provider that a host's `.env` holds."""
        held = dotenv_values(stream=io.StringIO(self.run(host, "cat /opt/trader-ai/.env")))
        return tuple(str(held[name]) for name in VARIABLES[secret])

    def look(self) -> dict[str, dict[str, Any]]:
        """Return what each host holds, read as the application reads it."""
        with ThreadPoolExecutor() as pool:
            return dict(zip(HOSTS, pool.map(self.look_at, HOSTS), strict=True))

    def look_at(self, host: str) -> dict[str, Any]:
        """Return what a host holds, read as the application reads it."""
        return dict(json.loads(self.run(host, f"PYTHONDONTWRITEBYTECODE=1 python3 -c '{LOOK}' 2>/dev/null")))

    def open_rotations(self) -> list[str]:
        """Return the hosts on which a rotation is open."""
        return open_in(self.look())

    @contextlib.contextmanager
    def lock_held(self, host: str, when: str) -> Iterator[Callable[[], None]]:
        """Hold Keyturn's lock on a host as soon as its journal says ``when``; yields a way to wait until a call wants it."""
        command = self.enter(host, "python3", "-c", HOLD_LOCK, when)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            try:
                yield lambda: self._wait_until_wanted(host, holder)
            finally:
                self.run(host, "pkill -9 -f keyturn-test-hold", check=False)
                holder.kill()

    @contextlib.contextmanager
    def call_held(self, host: str, phase: str) -> Iterator[Callable[[], None]]:
        """Hold the call on a host that writes ``phase`` into its journal; yields a way to wait until it has."""
        text = HOLD_CALL.format(phase=phase, mark=HELD_ONCE, leave=GO_ON)
        self.run(
            host,
            f"rm -f {HELD_ONCE} {GO_ON}; cat >{PACKAGES}/keyturn_test_hold.py <<'END'\n{text}END\n"
            f"echo import keyturn_test_hold >{PACKAGES}/keyturn_test_hold.pth",
        )
        try:
            yield lambda: self.wait_on(host, f"test -e {HELD_ONCE}")
        finally:  # a host without power has nobody to let go
            self.run(host, f"touch {GO_ON}; rm -f {PACKAGES}/keyturn_test_hold.p*", check=False)

    def _wait_until_wanted(self, host: str, holder: subprocess.Popen[str], timeout: float = 120) -> None:
        """Wait until the one that holds the lock says that a call wants it; tell what runs on the host where none comes."""
        assert holder.stdout is not None
        with limit(timeout, holder.kill):
            said = holder.stdout.read(len("wanted"))
        if said == "wanted":
            return
        told = self.run(
            host, "cat /var/lib/keyturn/*/lock; grep -H phase /var/lib/keyturn/*/rotations/*/journal.json; ps -ef"
        )
        runs = "".join("".join(run.output[-40:]) for run in self.runs)
        raise AssertionError(f"no call came to the lock of {host} in {timeout} s:\n{told}\n{runs}")

    def kill_waiting(self, host: str) -> None:
        """Kill the call that waits for the lock: it has done nothing."""
        self.run(host, KILL_WAITING)

    def left(self) -> list[str]:
        """Return the services that do not run, and the gates that are closed. A host without power boots first."""
        for host in HOSTS:
            self.podman("start", container(host))
        self.inits.clear()
        return [f"{host}: {line}" for host in HOSTS for line in self.run(host, LEFT, check=False).splitlines()]

    def healthy(self, host: str) -> bool:
        """Tell whether the application of the host answers."""
        return bool(self.run(host, "curl -sf -m 5 http://127.0.0.1:8000/health || true", check=False))

    # -- evidence --------------------------------------------------------------------------------------------------

    def assert_ended(self) -> dict[str, dict[str, Any]]:
        """Check that nothing is open, that every application runs on what its host holds, and that no row is lost.

        Returns what the hosts hold.
        """
        after = self.look()
        assert not open_in(after), {host: one["phase"] for host, one in after.items()}
        for one in after.values():
            accepted, other = one["answers"]
            assert accepted == 200
            assert other and not 200 <= other < 300
            assert one["lost"] == 0
        self.ended = True
        return after

    def assert_verified(self) -> None:
        """Check that verify.yml finds nothing."""
        code, output = self.play("verify")
        assert code == 0, output
        assert "finding:" not in output, output

    # -- keyturn ---------------------------------------------------------------------------------------------------

    def command(self, playbook: str, *arguments: str, inventory: Path) -> list[str]:
        """Return the words that run a playbook against the hosts."""
        program = Path(sys.executable).with_name("ansible-playbook")
        words = [str(program), f"playbooks/{playbook}.yml", "-i", str(inventory)]
        return [*words, "-e", f"keyturn_reports_dir={self.reports}", *unhurried(), *arguments]

    def start(self, playbook: str, *arguments: str, inventory: Path = INVENTORY, **environment: str) -> Run:
        """Start a playbook."""
        mark = new_mark()
        process = subprocess.Popen(
            self.command(playbook, *arguments, inventory=inventory),
            cwd=ROOT,
            env=warm.operators_environment() | AT_ONCE | environment | mark,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.runs.append(Run(process, mark))
        return self.runs[-1]

    def play(self, playbook: str, *arguments: str, inventory: Path = INVENTORY, **environment: str) -> tuple[int, str]:
        """Run a playbook to its end, warm where that makes no difference; return the exit code and the output."""
        env = warm.operators_environment() | environment
        if not warm.would_load_the_same(env):
            return self.start(playbook, *arguments, inventory=inventory, **environment).end()
        done = warm.run(self.command(playbook, *arguments, inventory=inventory), env)
        return done.returncode, done.stdout + done.stderr

    def report(self) -> dict[str, Any]:
        """Return the newest report."""
        return dict(json.loads(max((self.reports / "lab").glob("2*.json")).read_text()))


class Prober:
    """Asks through the balancer all the time and remembers when no good answer came."""

    def __init__(self, path: str = "/health", pause: float = 0.05, secret: str = "") -> None:
        # a path that wants a user is asked with a token of an hour's life, as the application's own have
        user = {"sub": "prober", "exp": int(time.time()) + 3600}
        headers = {"Authorization": f"Bearer {jwt.encode(user, secret, algorithm='HS256')}"} if secret else {}
        self.request = urllib.request.Request(BALANCER + path, headers=headers)
        self.pause = pause
        self.failures: list[float] = []
        self.causes: Counter[str] = Counter()
        self.answered: list[float] = []
        self.asked = self.good = 0

    def __enter__(self) -> Prober:
        self.going = True
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()
        while not self.good:
            time.sleep(0.05)
        self.failures.clear()
        self.causes.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self.going = False
        self.thread.join()
        print(f"{len(self.failures)} of {self.asked} requests had no good answer: {dict(self.causes)}")

    def _ask(self) -> None:
        while self.going:
            began = time.monotonic()
            try:
                with urllib.request.urlopen(self.request, timeout=2):
                    self.good += 1
                    self.answered.append(began)
            except OSError as error:
                self.failures.append(began)
                self.causes[str(error)] += 1
            self.asked += 1
            time.sleep(self.pause)

    @property
    def longest(self) -> int:
        """The most requests in a row that had no good answer."""
        began = sorted([(at, False) for at in self.answered] + [(at, True) for at in self.failures])
        return max(
            (len(list(run)) for failed, run in itertools.groupby(began, lambda one: one[1]) if failed), default=0
        )

    @property
    def window(self) -> float:
        """Seconds from the first failure to the last."""
        return self.failures[-1] - self.failures[0] if self.failures else 0.0

    @property
    def resolution(self) -> float:
        """Seconds by which the window may be longer: from the last good answer before it, and to the first one after it."""
        first, last = self.failures[0], self.failures[-1]
        before = max(at for at in self.answered if at < first)
        return first - before + min(at for at in self.answered if at > last) - last


class Writer:
    """Saves items through the balancer all the time, and remembers which it was told are saved."""

    def __init__(self, secret: str) -> None:
        user = {"sub": "writer", "exp": int(time.time()) + 3600}
        token = jwt.encode(user, secret, algorithm="HS256")
        self.headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        self.saved: dict[str, str] = {}
        self.failures: list[str] = []
        self.going = True
        self.thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Writer:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.going = False
        self.thread.join()

    def _write(self) -> None:
        number = 0
        while self.going:
            number += 1
            item, token = f"written-{number}", f"access-written-{number}"
            body = json.dumps({"item_id": item, "access_token": token}).encode()
            request = urllib.request.Request(f"{BALANCER}/api/bank/items", body, self.headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=5):
                    self.saved[item] = token
            except OSError as error:
                self.failures.append(f"{item}: {error}")
            time.sleep(0.05)


def rotate_while_used(fleet: Fleet, *options: str) -> tuple[Prober, Writer, str]:
    """Rotate while one client reads and another writes; return both, and what was printed. No request fails."""
    secret = fleet.run("app1", "sed -n s/^JWT_SECRET_KEY=//p /opt/trader-ai/.env").strip()
    with Prober("/api/bank/accounts", secret=secret) as reader, Writer(secret) as writer:
        code, output = fleet.play("rotate", *options)
    assert code == 0, output
    assert (reader.failures, writer.failures) == ([], [])
    assert reader.good > 100 and len(writer.saved) > 50
    return reader, writer, output
