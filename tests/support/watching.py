"""The real programs of monitoring on loopback: written by the role, run by what the demo runs them with, heard by a webhook."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import jinja2
import yaml
from jinja2.nativetypes import NativeEnvironment
from keyturn.base.log_lines import pattern
from keyturn.inputs.application import Application
from watch import PORTS, Watch

from support.lab import ROOT, Lab, free_port

Found = TypeVar("Found")


def wait_for(what: str, look: Callable[[], Found], seconds: float = 300) -> Found:
    """Return what ``look`` finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.1)
    return found


def get(url: str) -> Any:
    """Return the JSON of a GET."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


class Webhook(ThreadingHTTPServer):
    """Keeps what Alertmanager says."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Hook)
        self.alerts: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is."""
        return "http://{}:{}/".format(*self.server_address[:2])

    def heard(self, name: str, severity: str, status: str) -> list[dict[str, Any]]:
        """Return the alerts of this kind that came."""
        return [
            one
            for one in self.alerts
            if (one["labels"]["alertname"], one["labels"]["severity"], one["status"]) == (name, severity, status)
        ]


class _Hook(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.alerts += json.loads(content)["alerts"]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Watched:
    """A lab that is watched."""

    def __init__(self, lab: Lab, **variables: Any) -> None:
        self.lab, self.root = lab, lab.folder / "watch"
        self.ports = {name: free_port() for name in PORTS}
        self.logs = [lab.app / "logs/backend.out.log", lab.app / "logs/backend.err.log"]
        for log in self.logs:
            log.touch()
        self.variables = {
            "monitoring_manage": False,
            "monitoring_root": str(self.root),
            "monitoring_logs": [str(log) for log in self.logs],
            "monitoring_access_log": str(self.logs[0]),
            "monitoring_quiet_hours": {},
            "monitoring_scrape_interval": "1s",
            "monitoring_group_wait": "1s",
            "monitoring_group_interval": "1s",
            **{f"monitoring_{name}_port": port for name, port in self.ports.items()},
            **variables,
        }
        self.watch = Watch(self.root, self.logs, self.ports)

    def write(self, *arguments: str, **extra: Any) -> str:
        """Run the playbook and return its output; ``extra`` are variables that win over all."""
        self.lab.write_inventory(**self.variables)
        hosts = self.lab.inventory / "hosts.yml"
        document = yaml.safe_load(hosts.read_text())
        document["monitoring"] = {"hosts": {"here": None}}
        hosts.write_text(yaml.safe_dump(document))
        done = self.lab.play("monitoring", *arguments, "-e", json.dumps(extra))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what Prometheus says to an expression."""
        where = f"{self.watch.url('prometheus')}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        return list(get(where)["data"]["result"])


SHIPPED = Application(ROOT / "applications/trader_ai")


def counts_program(application: Application = SHIPPED) -> str:
    """Return the program of mtail that the role writes for an application."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["keyturn_pattern"] = pattern
    template = environment.from_string((ROOT / "roles/monitoring/templates/counts.mtail.j2").read_text())
    known = {
        "monitoring_application": application.name,
        "keyturn_counts": application.part("monitoring.yml"),
        "keyturn_log_lines": application.part("catalogue.yml", "log_lines"),
    }
    told = yaml.safe_load((ROOT / "roles/monitoring/vars/main.yml").read_text())
    for name in ("monitoring_lines", "monitoring_requests", "monitoring_counters"):
        known[name] = NativeEnvironment().from_string(told[name]).render(known)
    return template.render(known)


class Mtail:
    """mtail alone, on the program of the role."""

    def __init__(self, folder: Path, *logs: Path) -> None:
        self.port = free_port()
        self.log = folder / "mtail.log"
        program = folder / "trader_ai.mtail"
        program.write_text(counts_program())
        command = [
            *("mtail", "--progs", str(program), "--logtostderr"),
            *("--address", "127.0.0.1", "--port", str(self.port), *(f"--logs={log}" for log in logs)),
        ]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)
        wait_for("mtail", self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.counts())
        except OSError:
            return False

    def counts(self) -> dict[str, int]:
        """Return every counter of the program, by name without prefix and suffix."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.findall(r"^trader_ai_(\w+)_total(?:\{.*\})? (\d+)$", text, re.MULTILINE)
        return {name: int(value) for name, value in found}

    def after(self, lines: int) -> dict[str, int]:
        """Return what was counted but zero, once this many lines were read."""
        wait_for(f"line {lines}", lambda: self.counts().get("lines") == lines, 30)
        return {name: count for name, count in self.counts().items() if count and name != "lines"}

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(10)
