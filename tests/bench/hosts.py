"""Applications that a controller rotates as if each were on a host of its own: over SSH by a sshd on loopback, or locally."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from support.faults import SERVER, START, STOP
from support.lab import free_port

from bench.measure import Measured, alternating, ratio
from bench.plays import BENCH, NAIVE, PING, ROTATE, Run, play, write_inventory

HOST_SIDE = BENCH / "host_side.py"
TICKS = os.sysconf("SC_CLK_TCK")


class Hosts:
    """Hosts with an application each, on this machine."""

    def __init__(
        self, folder: Path, interpreter: str, count: int, rows: int, connection: Literal["ssh", "local"] = "ssh"
    ) -> None:
        self.folder, self.interpreter = folder, interpreter
        self.inventory, self.connections = folder / "bench", folder / "cp"
        self.names = [f"host{number:02}" for number in range(1, count + 1)]
        self.ports = {name: free_port() for name in self.names}
        self.sshd: list[subprocess.Popen[bytes]] = []
        folder.mkdir(parents=True)
        reached_by: dict[str, Any] = {"ansible_connection": "local"} if connection == "local" else self._sshd()
        for name in self.names:
            self._install(name, rows)
        self._inventory(reached_by)

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()
        for name in self.names:
            subprocess.run(["./stop.sh"], cwd=self.folder / name / "app", check=False)
        for process in self.sshd:
            process.terminate()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sshd(self) -> dict[str, Any]:
        """Start what all hosts are reached by, and return the variables of the inventory that say how."""
        port = free_port()
        Path("/run/sshd").mkdir(exist_ok=True)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)
        settings = {
            "Port": port,
            "HostKey": self.folder / "host",
            "AuthorizedKeysFile": self.folder / "user.pub",
            "PidFile": "none",
            "PasswordAuthentication": "no",
            "StrictModes": "no",
            "UsePAM": "no",
            "MaxStartups": 200,
            "Subsystem": "sftp internal-sftp",
        }
        # one sshd listens on 16 addresses at most
        for first in range(1, len(self.names) + 1, 16):
            lines = [f"{name} {value}" for name, value in settings.items()]
            addresses = range(first, min(first + 16, len(self.names) + 1))
            lines += [f"ListenAddress 127.0.1.{number}" for number in addresses]
            config = self.folder / f"sshd_config_{first}"
            config.write_text("\n".join(lines) + "\n")
            self.sshd.append(subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", str(config)], stderr=subprocess.DEVNULL))
        return {
            "ansible_port": port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.folder / "user"),
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            "ansible_control_path_dir": str(self.connections),
        }

    def _install(self, name: str, rows: int) -> None:
        app = self.folder / name / "app"
        (app / "run").mkdir(parents=True)
        subprocess.run(
            [self.interpreter, HOST_SIDE, "seed", app, str(rows), "1"], check=True, stdout=subprocess.DEVNULL
        )
        key = yaml.safe_load((app / "keys.json").read_text())["old"]
        (app / "keys.json").unlink()
        env = app / ".env"
        env.touch(0o600)
        env.write_text(f'LOG_LEVEL=INFO\nDATABASE_ENCRYPTION_KEY="{key}"\n')
        for file, text in {"start.sh": START, "stop.sh": STOP, "server.py": SERVER}.items():
            (app / file).write_text(text.format(python=self.interpreter, port=self.ports[name], outlive=""))
            (app / file).chmod(0o755)
        subprocess.run(["./start.sh"], cwd=app, check=True)

    def _inventory(self, reached_by: Mapping[str, Any]) -> None:
        hosts = {}
        for number, name in enumerate(self.names, 1):
            root = self.folder / name
            backend = {
                "manager": "script",
                "start": "./start.sh",
                "stop": "./stop.sh",
                "health_url": f"http://127.0.0.1:{self.ports[name]}/health",
                "pid_file": "run/pid",
            }
            hosts[name] = {
                "ansible_host": f"127.0.1.{number}",
                "keyturn_app_root": str(root / "app"),
                "keyturn_state_dir": str(root / "state"),
                "keyturn_services": {"backend": backend},
            }
        write_inventory(self.inventory, hosts, {**reached_by, "ansible_python_interpreter": self.interpreter})

    def play(self, playbook: Path) -> Run:
        """Run a playbook over new connections; ``cpu`` is that of controller and hosts together, without the applications."""
        before = self._served()
        run = play(playbook, self.inventory)
        controller = run.measured["cpu"] + self.disconnect()
        hosts = self._served() - before
        costs = {"controller_cpu": controller, "hosts_cpu": hosts, "cpu": controller + hosts}
        return run._replace(measured=run.measured | costs)

    def disconnect(self) -> float:
        """End the connections that the last run keeps, and return the CPU seconds that they cost the controller."""
        cost = 0.0
        for path in self.connections.glob("*"):
            ssh = ["ssh", "-o", f"ControlPath={path}", "x", "-O"]
            said = subprocess.run([*ssh, "check"], check=True, capture_output=True, text=True).stderr
            pid = re.findall(r"pid=(\d+)", said)[0]
            cost += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
            subprocess.run([*ssh, "exit"], check=True, stderr=subprocess.DEVNULL)
        return cost

    def _served(self) -> float:
        """Return the CPU seconds of all sessions up to now, once each has ended."""
        cost = 0
        for process in self.sshd:
            folder = Path(f"/proc/{process.pid}")
            while (folder / f"task/{process.pid}/children").read_text():
                time.sleep(0.01)
            cost += sum(int(ticks) for ticks in (folder / "stat").read_text().rpartition(")")[2].split()[11:15])
        return cost / TICKS


class Poller:
    """Asks a health URL without a pause, and remembers the longest time without an answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.down = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Poller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        last = time.monotonic()
        while not self._end.wait(0.002):
            try:
                with urllib.request.urlopen(self.url, timeout=1):
                    now = time.monotonic()
            except OSError:
                continue
            self.down, last = max(self.down, now - last), now


def bare_restart(hosts: Hosts) -> Measured:
    """The floor of a downtime: stop, start, and the first answer."""
    name = hosts.names[0]
    with Poller(f"http://127.0.0.1:{hosts.ports[name]}/health") as poller:
        time.sleep(0.2)
        began = time.monotonic()
        for script in ("./stop.sh", "./start.sh"):
            subprocess.run([script], cwd=hosts.folder / name / "app", check=True)
        wall = time.monotonic() - began
        time.sleep(0.3)
    return {"wall": wall, "down": poller.down}


WAYS = {"ping": PING, "naive": NAIVE, "keyturn": ROTATE}


def one_host(interpreter: str, folder: Path, rows: int, repeats: int) -> dict[str, Any]:
    """Measure whole rotations of one host, their downtime and the tasks of the last one."""
    tasks: list[tuple[str, float]] = []
    with Hosts(folder, interpreter, 1, rows) as hosts:

        def way(name: str) -> Measured:
            with Poller(f"http://127.0.0.1:{hosts.ports[hosts.names[0]]}/health") as poller:
                run = hosts.play(WAYS[name])
            if name == "keyturn":
                tasks[:] = run.tasks()
            return run.measured | {"down": poller.down}

        ways = {name: functools.partial(way, name) for name in WAYS}
        found = alternating(ways | {"restart": lambda: bare_restart(hosts)}, repeats)
    found["ratios"] = {
        "wall, keyturn / naive": ratio(found["keyturn"], found["naive"], "wall"),
        "downtime beyond a restart, s": round(
            found["keyturn"]["down"]["median"] - found["restart"]["down"]["median"], 3
        ),
    }
    return found | {"sizes": f"1 host, {rows:,} rows", "tasks": tasks}


def fleet(interpreter: str, folder: Path, counts: Mapping[int, int], rows: int) -> dict[str, Any]:
    """Measure whole rotations of each number of hosts, as often as ``counts`` says."""
    found: dict[str, Any] = {}
    few = 0
    for count, repeats in counts.items():
        print(f"{count} hosts", flush=True)
        with Hosts(folder / str(count), interpreter, count, rows) as hosts:
            ways = alternating(
                {name: lambda path=path: hosts.play(path).measured for name, path in WAYS.items()}, repeats
            )
        ways["ratios"] = {
            f"{figure}, keyturn / naive": ratio(ways["keyturn"], ways["naive"], figure) for figure in ("cpu", "wall")
        }
        found[str(count)] = ways
        if few:
            walls = [found[str(size)]["keyturn"]["wall"]["median"] for size in (few, count)]
            ways["ratios"][f"wall of a host more than {few}, s"] = round((walls[1] - walls[0]) / (count - few), 3)
        few = count
    return found
