"""Three real hosts behind HAProxy: ways to run playbooks against them, to hurt them, and to see what they hold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HOSTS = ("app1", "app2", "app3")
ADDRESS = {"app1": "10.99.7.11", "app2": "10.99.7.12", "app3": "10.99.7.13"}
BALANCER = "http://10.99.7.10"
SCRIPT = ROOT / "tests/molecule/host/fleet"
INVENTORY = ROOT / "tests/molecule/inventory/lab"

# what the application itself reads, and what the host holds: fingerprints, never values
LOOK = """
import hashlib, json, os, sys
sys.path.insert(0, "/usr/share/trader-ai")
os.chdir("/opt/trader-ai")
from dotenv import dotenv_values
from trader_ai.token_store import TokenStore
env = dotenv_values(".env")
mark = lambda value: "kt:" + hashlib.blake2b(value.encode(), digest_size=6, person=b"keyturn-value-1").hexdigest()
items = TokenStore("data/bank_accounts.db", env["DATABASE_ENCRYPTION_KEY"]).all_items()
bad = [i for i in items if i.access_token and not i.access_token.startswith("access-")]
print(json.dumps({"rows": len(items), "lost": len(bad), **{n: mark(env[n]) for n in ("JWT_SECRET_KEY", "DATABASE_ENCRYPTION_KEY")}}))
"""


@dataclass
class Run:
    """A playbook that is under way: its output so far, and a way to wait for a line of it."""

    process: subprocess.Popen[str]
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

    def wait_for(self, text: str, timeout: float = 120) -> bool:
        """Wait until a line with ``text`` is printed; False when the run ended without it."""
        deadline = time.monotonic() + timeout
        with self.arrived:
            while not any(text in line for line in self.output):
                if not self.reader.is_alive() or time.monotonic() > deadline:
                    return False
                self.arrived.wait(1)
        return True

    def end(self, timeout: float = 300) -> tuple[int, str]:
        """Wait for the end; return the exit code and all output."""
        code = self.process.wait(timeout)
        self.reader.join(10)
        return code, "".join(self.output)

    def kill(self) -> None:
        """Kill the controller: ansible-playbook and its workers, at once. What runs on hosts goes on."""
        os.killpg(self.process.pid, signal.SIGKILL)


class Fleet:
    """The hosts app1, app2 and app3, and the balancer in front of them."""

    def __init__(self, reports: Path) -> None:
        self.reports = reports

    # -- hosts -----------------------------------------------------------------------------------------------------

    def podman(self, *arguments: str, check: bool = True) -> str:
        """Run podman."""
        env = os.environ | {"CONTAINERS_CONF": str(ROOT / "tests/molecule/containers.conf")}
        done = subprocess.run(["podman", *arguments], check=check, text=True, capture_output=True, env=env)
        return done.stdout

    def run(self, host: str, command: str, check: bool = True) -> str:
        """Run a shell command on a host, not by SSH."""
        return self.podman("exec", f"keyturn-{host}", "bash", "-c", command, check=check)

    def power_off(self, host: str) -> None:
        """Cut the power: nothing is written any more."""
        self.podman("kill", "--signal", "KILL", f"keyturn-{host}")

    def boot(self, host: str) -> None:
        """Start the host again, and wait for its sshd."""
        self.podman("start", f"keyturn-{host}")
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

    def install(self, rows: int = 60) -> None:
        """Make the application of each host anew."""
        subprocess.run([SCRIPT, "install", str(rows)], check=True, capture_output=True)
        for host in HOSTS:
            self.run(host, "until curl -sf http://127.0.0.1:8000/health >/dev/null; do sleep 0.1; done")

    def look(self) -> dict[str, dict[str, Any]]:
        """Return what each host holds, read as the application reads it."""
        with ThreadPoolExecutor() as pool:
            command = f"PYTHONDONTWRITEBYTECODE=1 python3 -c '{LOOK}' 2>/dev/null"
            return dict(zip(HOSTS, pool.map(lambda host: json.loads(self.run(host, command)), HOSTS), strict=True))

    def open_rotations(self) -> list[str]:
        """Return the hosts on which a rotation is open."""
        command = 'grep -L \'"phase": "closed"\' /var/lib/keyturn/*/rotations/*/journal.json'
        return [host for host in HOSTS if self.run(host, command, check=False)]

    def healthy(self, host: str) -> bool:
        """Tell whether the application of the host answers."""
        return bool(self.run(host, "curl -sf -m 5 http://127.0.0.1:8000/health || true", check=False))

    # -- keyturn ---------------------------------------------------------------------------------------------------

    def start(self, playbook: str, *arguments: str, **environment: str) -> Run:
        """Start a playbook in a process group of its own."""
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), f"playbooks/{playbook}.yml", "-i", str(INVENTORY)]
        command += ["-e", f"keyturn_reports_dir={self.reports}", *arguments]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONPATH"))}
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env | {"PYTHONUNBUFFERED": "1"} | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return Run(process)

    def play(self, playbook: str, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run a playbook to its end; return the exit code and the output."""
        return self.start(playbook, *arguments, **environment).end()

    def report(self) -> dict[str, Any]:
        """Return the newest report."""
        return dict(json.loads(max((self.reports / "lab").glob("2*.json")).read_text()))


class Prober:
    """Asks through the balancer all the time and remembers when no good answer came."""

    def __init__(self, path: str = "/health", pause: float = 0.02) -> None:
        self.path = path
        self.pause = pause
        self.failures: list[float] = []
        self.asked = self.good = 0

    def __enter__(self) -> Prober:
        self.going = True
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()
        while not self.good:
            time.sleep(0.05)
        self.failures.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self.going = False
        self.thread.join()

    def _ask(self) -> None:
        while self.going:
            began = time.monotonic()
            try:
                with urllib.request.urlopen(BALANCER + self.path, timeout=2):
                    self.good += 1
            except OSError:
                self.failures.append(began)
            self.asked += 1
            time.sleep(self.pause)

    @property
    def window(self) -> float:
        """Seconds from the first failure to the last."""
        return self.failures[-1] - self.failures[0] if self.failures else 0.0
