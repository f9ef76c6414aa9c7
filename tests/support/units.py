"""Units of many shapes on a real systemd, made from data, and the steps of a rotation on them without a controller."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import shlex
import subprocess
import tarfile
from typing import Any

from keyturn.inputs import catalogue, validation

from support import standing
from support.fleet import ROOT, Fleet
from support.shapes import APP, PORT, UNITS, Shape

VARIABLE = "JWT_SECRET_KEY"
STATE, CODE = "/var/lib/keyturn-shape", "/usr/local/lib/keyturn-shape"

# an application of one value: in its environment, or in its `.env`; with workers that share a port, as many say so
SERVER = f"""
import http.server, os, signal, socket, sys, threading, time
sys.path.insert(0, "{CODE}")
from keyturn.base import jwt
value = os.environ.get("{VARIABLE}") or open("{APP}/.env").read().strip().partition("=")[2]
if os.path.exists("{APP}/only") and open("{APP}/only").read() != value:
    sys.exit(1)  # it does not start on another value
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        known = self.path == "/health" or bool(token) and jwt.signed_with(token, value)
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
def reread(*_):
    threading.Timer(1, take).start()  # nobody is told when a reload has ended
def take():
    global value
    value = open("{APP}/.env").read().strip().partition("=")[2]
    if os.path.exists("{APP}/only") and open("{APP}/only").read() != value:
        os._exit(1)
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6 if "ipv6" in sys.argv else socket.AF_INET
    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
def go_to(group):
    os.makedirs("/sys/fs/cgroup" + group, exist_ok=True)
    open("/sys/fs/cgroup" + group + "/cgroup.procs", "w").write("0")
def serve():
    if os.environ.get("LISTEN_FDS"):
        server = Server(("", 0), Handler, bind_and_activate=False)
        given = [socket.socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]
        server.socket = next(one for one in given if one.getsockname()[1] == {PORT})
    else:
        assert "descriptor" not in sys.argv, "started without its descriptor"
        server = Server(("::1" if "ipv6" in sys.argv else "127.0.0.1", {PORT}), Handler)
    if "notify" in sys.argv:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    print("up", flush=True)
    server.serve_forever()
if "deaf" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
if "rereads" in sys.argv:
    signal.signal(signal.SIGHUP, reread)
if "forking" in sys.argv:
    pid = os.fork()
    if pid:
        open("{APP}/pid", "w").write(str(pid))
        os._exit(0)
if "delegated" in sys.argv:
    go_to(open("/proc/self/cgroup").read().strip().rpartition(":")[2] + "/below")
if "gone" in sys.argv:
    go_to("/shape-gone")
if "workers" in sys.argv:
    for _ in range(3):
        if not os.fork():
            serve()
    while True:
        time.sleep(60)
serve()
"""

# one call of a phase on the host, as keyturn_phase makes it; the power may be cut while the files are about to be replaced
CALL = f"""
import json, pathlib, sys, time
sys.path.insert(0, "{CODE}")
from keyturn.base.errors import KeyturnError
from keyturn.host.phases import commit, delivery, rollback, stage, turn, holdings_info
from keyturn.host.rotation import Rotation
given = json.loads(sys.argv[1])
described = given["rotation"]
for name in ("app_root", "state_dir"):
    described[name] = pathlib.Path(described[name])
rotation = Rotation(**described)
def hold(*_):
    pathlib.Path("{STATE}/held").touch()
    time.sleep(600)
if given["hold"]:
    Rotation.replace_values = hold
call = {{
    "stage": lambda: stage.run(rotation, {{"{VARIABLE}": given["new"]}}, sent_at=time.time()),
    "turn": lambda: turn.run(rotation, "proved"),
    "commit": lambda: commit.run(rotation, "both"),
    "rollback": lambda: rollback.run(rotation, "a test", False),
    "holdings_info": lambda: holdings_info.run([rotation]),
    "deliver": lambda: delivery.run([rotation]),
}}
try:
    print(json.dumps({{"error": "", **call[given["phase"]]()}}))
except KeyturnError as error:
    print(json.dumps({{"error": str(error)}}))
"""


# how many of some requests are taken with a token of a value; each comes by a connection of its own, to any worker
ASK = f"""
import sys
sys.path.insert(0, "{CODE}")
from keyturn.base import http
from keyturn.base import jwt
url, value, times = sys.argv[1:]
token = {{"Authorization": "Bearer " + jwt.mint(value)}}
print(sum(http.get(url, 5, token) == 200 for _ in range(int(times))))
"""


class UnitHost:
    """One host with one service of a shape."""

    def __init__(self, fleet: Fleet, host: str = "app1") -> None:
        self.fleet = fleet
        self.host = host
        self.old, self.new = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self.delivery = "dotenv"
        self.rotation_id = "20260101T000000Z-" + secrets.token_hex(8)

    def put(self, files: dict[str, str]) -> None:
        """Write files, by their path, in one call."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for path, text in files.items():
                found = tarfile.TarInfo(path.lstrip("/"))
                found.size, found.mode = len(text.encode()), 0o644
                archive.addfile(found, io.BytesIO(text.encode()))
        words = self.fleet.enter(self.host, "tar", "-x", "-C", "/", "--no-same-owner")
        subprocess.run(words, input=content.getvalue(), check=True)

    def bring_code(self) -> None:
        """Bring keyturn's code to the host."""
        folder = ROOT / "module_utils/keyturn"
        self.put(
            {f"{CODE}/keyturn/{path.relative_to(folder)}": path.read_text() for path in sorted(folder.rglob("*.py"))}
        )
        self.run(f"python3 -m compileall -q {CODE}")  # each call would compile it anew

    def make(self, shape: Shape) -> None:
        """Make the application and the units, and start them."""
        self.shape = shape
        env = f"{VARIABLE}={self.old}\n"
        units = {f"{UNITS}/{name}": text for name, text in {shape.name: shape.text, **shape.files}.items()}
        self.put(
            {f"{APP}/.env": env, f"{APP}/server.py": SERVER, f"{APP}/call.py": CALL, f"{APP}/ask.py": ASK, **units}
        )
        self.running = [shape.name.replace("@.", "@a\\x2db."), *shape.runs]
        wants = f"{UNITS}/multi-user.target.wants"
        enable = "; ".join(
            f"ln -sf ../{re.sub('@.*[.]', '@.', name)} {wants}/{shlex.quote(name)}" for name in self.running
        )  # a boot starts them
        sockets = [name for name in self.running if name.endswith(".socket")]
        self.run(
            f"chmod 600 {APP}/.env; {enable}; systemctl daemon-reload; systemctl start {shlex.join([*sockets, *self.running])}"
        )
        self.wait_up()
        self.run(shape.before)
        standing.watch(self)

    def wait_up(self) -> None:
        """Wait until the service answers, if it ever does."""
        self.run(f"for i in $(seq 100); do curl -gso /dev/null {self.url()} && break; sleep 0.05; done")

    def url(self) -> str:
        """Where it answers."""
        return str(self.shape.says.get("health_url") or f"http://127.0.0.1:{PORT}/health")

    def clean(self) -> None:
        """Take everything away again."""
        standing.forget(self)
        self.run(
            f"mount -o remount,size=50% /run; systemctl stop 'shape*'; "
            "for left in /sys/fs/cgroup/{shape*,system.slice/{,*/}shape*}/cgroup.kill; do [ -e $left ] && echo 1 >$left; done; "
            f"rm -rf {UNITS}/shape* {UNITS}/multi-user.target.wants/shape* {APP} {STATE} /etc/credstore.encrypted/shape*; "
            "systemctl daemon-reload; systemctl reset-failed 'shape*'; true"
        )

    def run(self, command: str) -> str:
        """Run a shell command on the host."""
        return self.fleet.run(self.host, command)

    def call(self, phase: str, hold: bool = False, check_mode: bool = False) -> dict[str, Any]:
        """Run a phase on the host; ``hold``: let it begin to replace the files, cut the power there, and boot."""
        command = ["python3", "-B", f"{APP}/call.py", json.dumps(self.told(phase, hold, check_mode))]
        words = self.fleet.enter(self.host, *command)
        if hold:
            with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
                self.fleet.wait_on(self.host, f"test -e {STATE}/held", 60)
                self.fleet.power_off(self.host)
            self.fleet.podman("start", f"keyturn-lab{os.environ['KEYTURN_LAB']}-{self.host}")
            self.fleet.wait_on(self.host, 'systemctl is-system-running | grep -Eq "running|degraded"', 60)
            return {}
        done = subprocess.run(words, check=False, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert self.old not in done.stdout and self.new not in done.stdout
        return dict(json.loads(done.stdout))

    def told(self, phase: str, hold: bool, check_mode: bool) -> dict[str, Any]:
        """Return what the controller would say."""
        entry = {
            "title": "A secret",
            "variables": [VARIABLE],
            "source": {"kind": "generated", "generator": "token_urlsafe"},
            "value": "shared",
            "switch": "together",
            "overlap": "none_needed",
            "consumers": [{"format": "dotenv", "path": ".env"}],
            "migration": {"kind": "none"},
            "services": ["backend"],
            "probes": [{"kind": "jwt", "path": "/api"}],
            "retire": {"kind": "none"},
            "downtime_budget_seconds": 60,
        }
        service = {"manager": "systemd", "unit": self.running[0].removesuffix(".service"), "health_url": self.url()}
        service |= {"health_timeout_seconds": 5, "stop_timeout_seconds": 10, **self.shape.says}
        rotation = {
            "rotation_id": self.rotation_id,
            "environment": "test",
            "secret": "jwt",
            "entry": validation.validated("entry", catalogue.ENTRY, entry),
            "app_root": APP,
            "app_user": None,
            "state_dir": STATE,
            "services": validation.services({"backend": service}),
            "reason": "test",
            "operator": "a test",
            "check_mode": check_mode,
            "delivery": self.delivery,
        }
        return {"phase": phase, "hold": hold, "new": self.new, "rotation": rotation}

    # -- what is seen ----------------------------------------------------------------------------------------------

    def down(self) -> list[str]:
        """Return which of the units that ran do not."""
        return [
            name
            for name in self.running
            if self.run(f"systemctl is-active {shlex.quote(name)} || true").strip() != "active"
        ]

    def left(self) -> list[str]:
        """Return the units that ran and do not, and the gates that are closed."""
        gates = self.run(f"ls -d {STATE}/*/switching 2>/dev/null || true").split()
        return [*(f"{name} is down" for name in self.down()), *(f"{path} keeps it down" for path in gates)]

    def accepts(self, value: str, times: int = 20) -> int:
        """Return how many of some requests are taken with a token of ``value``."""
        url = self.url().replace("/health", "/api")
        return int(self.run(f"python3 -B {APP}/ask.py {url} {value} {times}"))

    def assert_runs_on(self, value: str, other: str) -> None:
        """Check that the service and all that ran beside it run, on this value and on no other."""
        assert self.down() == []
        assert (self.accepts(value), self.accepts(other)) == (20, 0)
