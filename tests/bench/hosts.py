"""Hosts over SSH: one sshd on loopback, an address and an application for each, and playbooks run against them."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from support.faults import SERVER, START, STOP
from support.lab import ROOT, free_port

from bench.measure import Measured, alternating, ratio

BENCH = Path(__file__).parent
HOST_SIDE = BENCH / "host_side.py"


class Hosts:
    """Applications on this machine that a controller reaches by SSH as if each were on a host of its own."""

    def __init__(self, folder: Path, interpreter: str, count: int, rows: int) -> None:
        self.folder, self.interpreter = folder, interpreter
        self.names = [f"host{number:02}" for number in range(1, count + 1)]
        self.ports = {name: free_port() for name in self.names}
        self.ssh_port = free_port()
        folder.mkdir(parents=True)
        self._sshd()
        for name in self.names:
            self._install(name, rows)
        self._inventory()

    def _sshd(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)
        settings = {
            "Port": self.ssh_port,
            "HostKey": self.folder / "host",
            "AuthorizedKeysFile": self.folder / "user.pub",
            "PidFile": "none",
            "PasswordAuthentication": "no",
            "StrictModes": "no",
            "UsePAM": "no",
            "MaxStartups": 200,
            "Subsystem": "sftp internal-sftp",
        }
        self.sshd: list[subprocess.Popen[bytes]] = []
        # one sshd listens on 16 addresses at most
        for first in range(1, len(self.names) + 1, 16):
            lines = [f"{name} {value}" for name, value in settings.items()]
            addresses = range(first, min(first + 16, len(self.names) + 1))
            lines += [f"ListenAddress 127.0.1.{number}" for number in addresses]
            config = self.folder / f"sshd_config_{first}"
            config.write_text("\n".join(lines) + "\n")
            self.sshd.append(subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", str(config)], stderr=subprocess.DEVNULL))

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

    def _inventory(self) -> None:
        hosts = {}
        for number, name in enumerate(self.names, 1):
            root = self.folder / name
            url = f"http://127.0.0.1:{self.ports[name]}/health"
            hosts[name] = {
                "ansible_host": f"127.0.1.{number}",
                "keyturn_app_root": str(root / "app"),
                "keyturn_state_dir": str(root / "state"),
                "keyturn_services": {
                    "backend": {
                        "manager": "script",
                        "start": "./start.sh",
                        "stop": "./stop.sh",
                        "health_url": url,
                        "pid_file": "run/pid",
                    }
                },
            }
        variables = {
            "ansible_port": self.ssh_port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.folder / "user"),
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            "ansible_python_interpreter": self.interpreter,
            "keyturn_environment": "bench",
            "keyturn_reports_dir": str(self.folder / "reports"),
        }
        inventory = self.folder / "bench"
        inventory.mkdir()
        (inventory / "hosts.yml").write_text(yaml.safe_dump({"trader_ai": {"hosts": hosts, "vars": variables}}))

    def play(self, playbook: Path, *arguments: str) -> Measured:
        """Run a playbook; return its wall and CPU seconds and the seconds of each task, in order."""
        self.disconnect()
        command = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            str(playbook),
            "-i",
            str(self.folder / "bench"),
        ]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONPATH"))}
        began = time.monotonic()
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env=env | {"PYTHONUNBUFFERED": "1", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[tuple[float, str]] = []
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append((time.monotonic() - began, line.rstrip()))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        if process.returncode:
            raise RuntimeError("\n".join(line for _, line in self.lines[-60:]))
        return {"wall": wall, "controller_cpu": usage.ru_utime + usage.ru_stime}

    def tasks(self) -> list[tuple[str, float]]:
        """Return the tasks of the last run with their seconds, in order."""
        heads = [(at, line) for at, line in self.lines if re.match(r"(TASK|PLAY|PLAY RECAP) ?[\[*]", line)]
        ends = [at for at, _ in heads[1:]] + [self.lines[-1][0]]
        return [
            (re.sub(r"^TASK \[(.*)\] \**$", r"\1", line), round(end - at, 3))
            for (at, line), end in zip(heads, ends, strict=True)
            if line.startswith("TASK")
        ]

    def disconnect(self) -> None:
        """End the connections that the last run keeps: each run is the first one."""
        for name in Path("~/.ansible/cp").expanduser().glob("*"):
            subprocess.run(
                ["ssh", "-O", "exit", "-o", f"ControlPath={name}", "x"], check=False, stderr=subprocess.DEVNULL
            )

    def close(self) -> None:
        """Stop everything."""
        self.disconnect()
        for name in self.names:
            subprocess.run(["./stop.sh"], cwd=self.folder / name / "app", check=False)
        for process in self.sshd:
            process.terminate()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


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


WAYS = {"noop": BENCH / "noop.yml", "naive": BENCH / "naive.yml", "keyturn": ROOT / "playbooks/rotate_db_key.yml"}


def one_host(interpreter: str, folder: Path, rows: int, repeats: int) -> dict[str, Any]:
    """Measure whole rotations of one host, their downtime and the tasks of the last one."""
    hosts = Hosts(folder, interpreter, 1, rows)
    tasks: dict[str, list[tuple[str, float]]] = {}

    def way(name: str) -> Measured:
        with Poller(f"http://127.0.0.1:{hosts.ports[hosts.names[0]]}/health") as poller:
            measured = hosts.play(WAYS[name])
        tasks[name] = hosts.tasks()
        return measured | {"down": poller.down}

    try:
        ways = {name: functools.partial(way, name) for name in WAYS}
        found = alternating(ways | {"restart": lambda: bare_restart(hosts)}, repeats)
    finally:
        hosts.close()
    found["ratios"] = {
        "wall, keyturn / naive": ratio(found["keyturn"], found["naive"], "wall"),
        "downtime beyond a restart, s": round(
            found["keyturn"]["down"]["median"] - found["restart"]["down"]["median"], 3
        ),
    }
    return found | {"rows": rows, "tasks": tasks}


def fleet(interpreter: str, folder: Path, counts: Mapping[int, int], rows: int) -> dict[str, Any]:
    """Measure whole rotations of each number of hosts, as often as ``counts`` says."""
    found: dict[str, Any] = {}
    for count, repeats in counts.items():
        print(f"{count} hosts", flush=True)
        hosts = Hosts(folder / str(count), interpreter, count, rows)
        try:
            ways = alternating({name: functools.partial(hosts.play, path) for name, path in WAYS.items()}, repeats)
        finally:
            hosts.close()
        ways["ratios"] = {"wall, keyturn / naive": ratio(ways["keyturn"], ways["naive"], "wall")}
        found[str(count)] = ways
    return found
