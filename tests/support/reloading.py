"""An application of one value that is read when it starts, and anew when its reload script says so."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from keyturn.host.rotation import Rotation
from keyturn.inputs import catalogue
from keyturn.inputs.validation import services, validated

from support import stores
from support.faults import ROTATION_ID, Kills
from support.lab import Lab, free_port

# it answers whether it has a value; told to read its file anew it takes a moment, and nobody is told when it has
SERVER = """
import http.server, os, pathlib, signal, sys, threading
read = lambda: pathlib.Path(".env").read_text().strip().partition("=")[2]
value = read()
def take():
    global value
    value = read()
if sys.argv[2] == "rereads":
    signal.signal(signal.SIGHUP, lambda *_: threading.Timer(0.3, take).start())
else:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        held = read() if sys.argv[2] == "looks itself" else value
        self.send_response(200 if self.path == "/health" or self.headers["X-Value"] == held else 401)
        self.end_headers()
    def log_message(self, *_): pass
pathlib.Path("pid").write_text(str(os.getpid()))
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
CHECK = """
import pathlib, sys, urllib.request
value = pathlib.Path(".env").read_text().strip().partition("=")[2]
urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={"X-Value": value}), timeout=20)
"""
SCRIPTS = {
    "start.sh": "[ -e pid ] && kill -0 $(cat pid) || setsid {python} server.py {port} '{does}' >log 2>&1 &",
    "stop.sh": "kill -9 $(cat pid); rm -f pid",
    "reload.sh": "echo reload >>told; kill -HUP $(cat pid)",
    "check.sh": "exec {python} check.py http://127.0.0.1:{port}/ask",
}


class App(Kills):
    """An application of one value that is read when it starts, and when it is told to."""

    def __init__(self, folder: Path, does: str = "rereads") -> None:
        self.app, self.state, self.port = folder / "app", folder / "state", free_port()
        self.lab = SimpleNamespace(folder=folder)
        self.lab.module_and_arguments = partial(Lab.module_and_arguments, self.lab)
        self.app.mkdir(parents=True)
        for name, text in {**SCRIPTS, "server.py": SERVER, "check.py": CHECK}.items():
            head = "#!/bin/sh\n" if name.endswith(".sh") else ""
            filled = text.format(python=sys.executable, port=self.port, does=does) if head else text
            (self.app / name).write_text(f"{head}{filled}\n")
            (self.app / name).chmod(0o755)
        (self.app / ".env").write_text("SHOP_TOKEN=first-value\n")
        (self.app / ".env").chmod(0o600)
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.run("start.sh")
        deadline = time.monotonic() + 60
        while not self.answers("/health"):
            assert time.monotonic() < deadline, "the application of the test does not answer"
            time.sleep(0.02)
        self.pid = self.running()

    def stop(self) -> None:
        """End it."""
        self.run("stop.sh")

    def run(self, script: str) -> None:
        """Run one of its scripts."""
        subprocess.run([f"./{script}"], cwd=self.app, check=False, stderr=subprocess.DEVNULL)

    def running(self) -> int:
        """Return its process."""
        return int((self.app / "pid").read_text())

    def value(self) -> str:
        """Return the value in its file."""
        return (self.app / ".env").read_text().strip().removeprefix("SHOP_TOKEN=")

    def answers(self, path: str, value: str = "") -> bool:
        """Tell whether it takes a value."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"X-Value": value})
        try:
            return bool(urllib.request.urlopen(asked, timeout=20).status == 200)
        except OSError:
            return False

    def told(self) -> int:
        """Return how often it was told to read its file anew."""
        return len((self.app / "told").read_text().splitlines()) if (self.app / "told").exists() else 0

    def save(self, name: str) -> None:
        """Keep application and state as they are now under ``name``."""
        for folder in (self.app, self.state):
            shutil.rmtree(target := self.lab.folder / f"saved-{name}" / folder.name, ignore_errors=True)
            if folder.exists():
                shutil.copytree(folder, target)

    def restore(self, name: str) -> None:
        """Put both back, with another process: it has read what the file holds now, as after a boot."""
        self.stop()
        for folder in (self.app, self.state):
            shutil.rmtree(folder, ignore_errors=True)
            if (saved := self.lab.folder / f"saved-{name}" / folder.name).exists():
                shutil.copytree(saved, folder)
        (self.app / "pid").unlink(missing_ok=True)
        self.start()

    def parameters(self) -> dict[str, Any]:
        """Return the parameter ``rotation`` of the modules."""
        entry = stores.ENTRY | {"variables": ["SHOP_TOKEN"], "services": ["web"], "max_age_days": 90}
        entry |= {"probes": [{"kind": "command", "checks": [{"command": ["./check.sh"]}]}]}
        url = f"http://127.0.0.1:{self.port}/health"
        spec = {verb: f"./{verb}.sh" for verb in ("start", "stop", "reload")} | {"manager": "script", "pid_file": "pid"}
        spec |= {"health_url": url, "reloads": ["token"], "health_timeout_seconds": 20}
        given = {"rotation_id": ROTATION_ID, "environment": "test", "reason": "planned", "operator": "tester"}
        given |= {"app_root": str(self.app), "state_dir": str(self.state)}
        return given | {"secret": "token", "entry": entry, "services": {"web": spec}}

    def rotation(self) -> Rotation:
        """Return the rotation for calls in this process."""
        given = self.parameters() | {"app_root": self.app, "app_user": None, "state_dir": self.state}
        given["entry"] = validated("entry", catalogue.ENTRY, given["entry"])
        return Rotation(**given | {"services": services(given["services"])})
