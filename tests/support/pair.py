"""Two API servers of one Airflow behind HAProxy: their settings and their database are the same, and Keyturn knows both as hosts."""

from __future__ import annotations

import copy
import csv
import io
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml

from support.fleet import HOOKS
from support.lab import ROOT, free_port
from support.worked import STARTS_WITHIN, Airflow

HOSTS = ("app1", "app2")
BALANCER = """
global
    stats socket {socket} mode 600 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    retries 0
frontend www
    bind 127.0.0.1:{port}
    default_backend apps
backend apps
    option httpchk GET {health}
    default-server inter 2s fastinter 500ms downinter 500ms fall 2 rise 1
"""


class Pair:
    """The two, and their balancer: ``front`` is the application as clients see it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.labs = folder, {}
        for host in HOSTS:
            (folder / host).mkdir()
            self.labs[host] = Airflow(folder / host, url)
        self.first, second = self.labs.values()
        settings = (self.first.app / ".env").read_text()
        (second.app / ".env").write_text(settings.replace(str(self.first.app), str(second.app)))
        self.front = copy.copy(self.first)
        self.front.port = free_port()
        self.socket = folder / "haproxy.sock"
        text = BALANCER.format(socket=self.socket, port=self.front.port, health=self.first.health)
        text += "".join(f"    server {host} 127.0.0.1:{lab.port} check\n" for host, lab in self.labs.items())
        (folder / "haproxy.cfg").write_text(text)
        self.balancer: subprocess.Popen[bytes] | None = None
        self.describe("one key")

    def describe(self, way: str) -> None:
        """Write the inventory: both hosts, the balancer, and how the key is turned (as of ``Worked``)."""
        documents = {}
        for host, lab in self.labs.items():
            lab.way = way
            lab.write_inventory()
            documents[host] = yaml.safe_load((lab.inventory / "hosts.yml").read_text())
        document: dict[str, Any] = documents["app1"]
        ours = ("keyturn_app_root", "keyturn_state_dir", "keyturn_services")
        document["apps"]["hosts"] = {
            host: {**one["apps"]["hosts"]["here"], **{name: one["apps"]["vars"][name] for name in ours}}
            for host, one in documents.items()
        }
        balancer = {**HOOKS["keyturn_haproxy"], "socket": str(self.socket)}
        document["apps"]["vars"] |= {**HOOKS, "keyturn_haproxy": balancer}
        document["balancer"] = {"hosts": {"lb": documents["app2"]["apps"]["hosts"]["here"]}}
        (self.first.inventory / "hosts.yml").write_text(yaml.safe_dump(document))

    def start(self) -> None:
        """Start all, and wait until the balancer has both."""
        for lab in self.labs.values():
            lab.start()
        program = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
        self.balancer = subprocess.Popen([str(program), "-db", "-f", str(self.folder / "haproxy.cfg")])
        for host in HOSTS:
            self._wait(host, "status", "UP")

    def stop(self) -> None:
        """Stop all."""
        if self.balancer:
            self.balancer.terminate()
            self.balancer.wait()
        for lab in self.labs.values():
            lab.stop()

    def fill(self) -> None:
        """Have the application make its data."""
        self.front.fill()

    def key(self) -> str:
        """Return the key of both."""
        (held,) = {lab.key() for lab in self.labs.values()}
        return held

    def read(self) -> dict[str, Any]:
        """Return what the application's own code reads."""
        return self.first.read()

    def program(self, *arguments: str) -> str:
        """Run a command of Airflow's."""
        return self.first.program(*arguments)

    def play(self, playbook: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook against both hosts."""
        command, env = self.first.command(playbook, *arguments), self.first.environment()
        return subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True, check=False)

    def restart(self, key: str) -> None:
        """Give both another key, one after the other, each while the balancer leaves it out: what a careful person does by hand."""
        for host, lab in self.labs.items():
            self._order(f"set server apps/{host} state drain")
            self._wait(host, "scur", "0")
            env, held = lab.app / ".env", lab.key()
            env.write_text(env.read_text().replace(f"={held}\n", f"='{key}'\n").replace(f"='{held}'\n", f"='{key}'\n"))
            lab.stop()
            lab.start()
            self._order(f"set server apps/{host} state ready")
            self._wait(host, "status", "UP")

    def _order(self, text: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(text.encode() + b"\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def _wait(self, host: str, column: str, wanted: str) -> None:
        """Wait until the balancer says so of a server."""
        deadline = time.monotonic() + STARTS_WITHIN
        while True:
            if self.socket.exists():
                table = csv.DictReader(io.StringIO(self._order("show stat").removeprefix("# ")))
                if {row[column] for row in table if row["svname"] == host} == {wanted}:
                    return
            assert time.monotonic() < deadline, f"{host}: {column} does not become {wanted}"
            time.sleep(0.1)
