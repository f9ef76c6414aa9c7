"""A host of its own for a test: the stand-in application, its state folder, an inventory, and ways to act on them."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values
from jose import jwt
from keyturn.base import procfs
from keyturn.base.log_lines import pattern
from keyturn.entry.module import attempt
from keyturn.fleet.answers import OF_PHASES
from keyturn.inputs.application import Application, secrets
from keyturn.inputs.catalogue import APPLICATION
from seed import seed
from trader_ai.token_store import TokenStore

from support import forked, standing, warm
from support.steps import take

ROOT = Path(__file__).parents[2]


def known_lines() -> dict[str, Any]:
    """Return ``keyturn_log_lines``."""
    return dict(yaml.safe_load((ROOT / "applications/trader_ai/catalogue.yml").read_text())["log_lines"])


KEY = "DATABASE_ENCRYPTION_KEY"
ENGINE = {
    "manager": "script",
    "start": "./start_engine.sh",
    "stop": "./stop_engine.sh",
    "pid_file": "run/engine.pid",
    "log_file": "logs/trading.log",
    "health_line": pattern(known_lines()["alpaca_connected"]),
}
# a line for ``Lab.break_start``: the application comes up, and finds no bank
UNUSABLE_ON_NEW = '[ "$(sha256sum <.env)" = "{checksum}" ] || export PLAID_BASE_URL=http://127.0.0.1:9\n'
# the steps of one phase that a test takes apart, by the parameters of the call that ends after each
STEPS = {
    "prepare": {"phase": "turn", "until": "prepared"},
    "switch": {"phase": "turn", "until": "switched"},
    "prove": {"phase": "turn", "until": "proved"},
}
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# another run of the tests on this machine begins elsewhere: two that look at one port at the same moment both find it free
PORTS = itertools.islice(itertools.cycle(range(20000 + 1000 * WORKER, 21000 + 1000 * WORKER)), os.getpid() % 1000, None)
STARTS_WITHIN = 5
# how the folders of database servers begin, which stand below /tmp: another user has to get there
SERVERS = "keyturn-pg-"
COMPILED = ROOT / "tests/support/compiled"
RUN_MODULE = (
    "import runpy, sys; from ansible.module_utils.testing import patch_module_args\n"
    "import json; args = json.load(open(sys.argv[2]))\n"
    "with patch_module_args(args): runpy.run_path(sys.argv[1], run_name='__main__')"
)


def interpreter(path: Path, customized_by: Path) -> str:
    """Make this Python as the interpreter of a host, with the sitecustomize of a folder; return the program."""
    path.write_text(f'#!/bin/sh\nPYTHONPATH={customized_by} exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


@cache
def catalogue() -> dict[str, Any]:
    """Return ``keyturn_secrets``."""
    return dict(yaml.safe_load((ROOT / "applications/trader_ai/catalogue.yml").read_text())["secrets"])


# what an inventory says that has chosen all optional secrets
SAID = {
    "keyturn_database_url": "postgresql://127.0.0.1:5432/trader",
    "keyturn_database_user": "trader",
    "keyturn_smtp_url": "smtp://127.0.0.1:587",
    "keyturn_smtp_user": "trader@example.org",
    "keyturn_alert_webhook_accepted": 405,
    "keyturn_alert_webhook_rejected": 404,
}


@cache
def optional() -> dict[str, Any]:
    """Return the entries of which an inventory chooses, with what it says (``SAID``)."""
    text = json.dumps(Application(ROOT / "applications/trader_ai").offered)
    return dict(json.loads(re.sub(r'"{{ (\w+) }}"', lambda found: json.dumps(SAID[found[1]]), text)))


@cache
def unhurried() -> tuple[str, str]:
    """Return the option that gives every secret half an hour of downtime, and the policy a review that is never late.

    A budget of a minute judges how busy the machine is, and the day of the review what time it has.
    """
    shipped = Application(ROOT / "applications/trader_ai")
    policy = shipped.part("policy.yml")
    entries = secrets(catalogue(), policy["schedule"])
    patient = {
        "keyturn_secrets": {name: entry | {"downtime_budget_seconds": 1800} for name, entry in entries.items()},
        "keyturn_policy": policy | {"review": policy["review"] | {"next": "9999-01-01"}},
    }
    path = Path(tempfile.gettempdir()) / f"keyturn-catalogue-{os.getpid()}.json"
    path.write_text(json.dumps(patient))
    atexit.register(path.unlink, missing_ok=True)
    return "-e", f"@{path}"


def free_port() -> int:
    """Return a port that nobody listens on: of this worker alone, and below those that the system gives to clients."""
    for port in PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is always another port")


@dataclass
class Lab:
    """One application on this machine, in a folder of the test's own."""

    folder: Path
    rows: int = 12
    journal_mode: str = "delete"
    forms: str = "mixed"
    variables: dict[str, Any] = field(default_factory=dict)
    plaid_url: str | None = None
    alpaca_url: str | None = None
    # what runs the modules that a test runs by themselves
    run_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.app = self.folder / "app"
        self.state = self.folder / "state"
        self.reports = self.folder / "reports"
        self.port = free_port()
        self.ran: set[str] = set()  # what the test has started, and has not stopped
        self.folder.mkdir(exist_ok=True)
        self.interpreter = interpreter(self.folder / "python", COMPILED)
        self.tokens = seed(
            self.app,
            self.rows,
            self.port,
            journal_mode=self.journal_mode,
            forms=self.forms,
            random_seed=1,
            plaid_url=self.plaid_url,
            alpaca_url=self.alpaca_url,
        )
        self.write_inventory()

    @property
    def env(self) -> Path:
        """The application's `.env`."""
        return self.app / ".env"

    @property
    def database(self) -> Path:
        """The application's database."""
        return self.app / "data/bank_accounts.db"

    @property
    def plaintext_item(self) -> str:
        """The row whose token was never encrypted (one of 12, of ``forms`` mixed)."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return next(
                str(item)
                for item, stored in connection.execute("SELECT item_id, access_token FROM plaid_items")
                if stored == self.tokens.get(item) != ""
            )

    @property
    def services(self) -> dict[str, Any]:
        """``keyturn_services`` of this host."""
        url = f"http://127.0.0.1:{self.port}/health"
        backend = {"manager": "script", "start": "./start.sh", "stop": "./stop.sh", "health_url": url}
        services = {
            "backend": backend
            | {"proof_path": "/api/bank/accounts", "proof_auth": "jwt", "proof_secret": "JWT_SECRET_KEY"}
        }
        return services | ({"engine": ENGINE} if self.alpaca_url else {})

    @property
    def inventory(self) -> Path:
        """The folder of the inventory."""
        return self.folder / "test"

    def write_inventory(self, **more: Any) -> None:
        """Write the inventory; ``more`` overrides its variables."""
        host = {"ansible_connection": "local", "ansible_python_interpreter": self.interpreter}
        variables = {
            "keyturn_environment": "test",
            "keyturn_app_root": str(self.app),
            "keyturn_state_dir": str(self.state),
            "keyturn_reports_dir": str(self.reports),
            "keyturn_services": self.services,
            **self.variables,
            **more,
        }
        self.inventory.mkdir(exist_ok=True)
        document = {"trader_ai": {"hosts": {"here": host}, "vars": variables}}
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(document))

    # -- the application -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the service."""
        subprocess.run([self.app / "start.sh"], check=True, stdout=subprocess.DEVNULL, env={"PATH": os.environ["PATH"]})
        self.watch("backend")

    def start_engine(self) -> None:
        """Start the trading engine and wait until it is connected."""
        log = self.app / "logs/trading.log"
        before = log.stat().st_size if log.exists() else 0
        subprocess.run([self.app / "start_engine.sh"], check=True, env={"PATH": os.environ["PATH"]})
        deadline = time.monotonic() + 120
        while not log.exists() or b"Connected to Alpaca" not in log.read_bytes()[before:]:
            assert time.monotonic() < deadline, "the engine does not connect"
            time.sleep(0.02)
        self.watch("engine")

    def break_start(self, line: str) -> None:
        """Put a line into the start script; ``{checksum}`` stands for the sha256sum of the `.env` as it is now."""
        checksum = subprocess.run(["sha256sum"], input=self.env.read_bytes(), capture_output=True, check=True).stdout
        line = line.replace("{checksum}", checksum.decode().strip())
        script = self.app / "start.sh"
        text = script.read_text().replace("mkdir -p logs run\n", "mkdir -p logs run\n" + line)
        assert line in text
        script.write_text(text)

    def stop(self) -> None:
        """Stop the services."""
        self.forget()
        subprocess.run([self.app / "stop_engine.sh"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([self.app / "stop.sh"], check=True, stdout=subprocess.DEVNULL)

    def watch(self, service: str) -> None:
        """Hold that a service runs at the end of the test."""
        self.ran.add(service)
        standing.watch(self)

    def forget(self) -> None:
        """Hold nothing any more of the services."""
        self.ran.clear()
        standing.forget(self)

    def left(self) -> list[str]:
        """Return the services that ran and do not, and the gates that are closed. One that the test has just started may take a while."""
        gates = [f"{path} keeps it down" for path in self.state.glob("*/switching")]
        deadline = time.monotonic() + (0 if gates else STARTS_WITHIN)
        while (down := self.down()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return [*(f"{service} of {self.folder} is down" for service in down), *gates]

    def down(self) -> list[str]:
        """Return what the test has started and does not run."""
        runs = {"backend": lambda: self.get("/health", login=False) == 200, "engine": self.engine_runs}
        return [service for service in sorted(self.ran) if not runs[service]()]

    def engine_runs(self) -> bool:
        """Tell whether the trading engine's process lives."""
        noted = self.app / "run/engine.pid"
        return noted.exists() and procfs.started_at(int(noted.read_text())) is not None

    def login(self) -> dict[str, str]:
        """Return the headers of a user, made with the secret of the application's `.env`."""
        secret = dotenv_values(self.env).get("JWT_SECRET_KEY") or ""
        return {"Authorization": f"Bearer {jwt.encode({'sub': 'test', 'exp': int(time.time()) + 60}, secret)}"}

    def get(self, path: str, login: bool = True) -> int:
        """Return the status of GET ``path``, as a user where ``login``; 0 without an answer."""
        headers = self.login() if login else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def key(self) -> str:
        """Return the key that the application would use."""
        return str(dotenv_values(self.env)[KEY])

    def tokens_read(self) -> dict[str, str]:
        """Return every token as the application itself reads it with the key of its `.env`."""
        store = TokenStore(self.database, self.key())
        return {item.item_id: item.access_token for item in store.all_items()}

    # -- keyturn ---------------------------------------------------------------------------------------------------

    def command(self, playbook: str, *arguments: str) -> list[str]:
        """Return the command line of a playbook."""
        program = Path(sys.executable).with_name("ansible-playbook")
        return [str(program), f"playbooks/{playbook}.yml", "-i", str(self.inventory), *unhurried(), *arguments]

    def play(self, playbook: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook to its end, warm where that makes no difference."""
        command, env = self.command(playbook, *arguments), self.environment() | environment
        if warm.would_load_the_same(env):
            return warm.run(command, env)
        return subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True, check=False)

    @staticmethod
    def environment() -> dict[str, str]:
        """Return an operator's environment."""
        return warm.operators_environment()

    def rotation(self, rotation_id: str = "20260101T000000Z-0123456789abcdef", **more: Any) -> dict[str, Any]:
        """Return the parameter ``rotation`` of the modules."""
        return {
            "rotation_id": rotation_id,
            "environment": "test",
            "secret": "db_key",
            "entry": catalogue()["db_key"] | {"max_age_days": 90},
            "app_root": str(self.app),
            "state_dir": str(self.state),
            "services": self.services,
            "reason": "test",
            "operator": "tester",
            **more,
        }

    def module_command(self, name: str, **parameters: Any) -> list[str]:
        """Return a command that runs a module by itself, in one process, as the interpreter of a host does."""
        return [*self.run_by, sys.executable, "-c", RUN_MODULE, *self.module_and_arguments(name, **parameters)]

    def module_and_arguments(self, name: str, **parameters: Any) -> tuple[str, str]:
        """Write the parameters of a module to a file; return the module's file and that one."""
        arguments = self.folder / f"{name}.json"
        clock = {"sent_at": time.time()} if name == "stage" else {}
        phase = STEPS.get(name) or ({"phase": name} if name in OF_PHASES else {})
        given = {key: value for key, value in parameters.items() if value is not None}
        arguments.write_text(json.dumps(phase | clock | given))
        return str(ROOT / "library" / f"keyturn_{'phase' if phase else name}.py"), str(arguments)

    def module(self, name: str, **parameters: Any) -> dict[str, Any]:
        """Run a module by itself and return its result; ``rotation=None`` for a module that takes none."""
        given = {"rotation": self.rotation()} | parameters
        if self.run_by:
            command = self.module_command(name, **given)
            env = os.environ | {"PYTHONPATH": str(ROOT / "tests/support")}
            done = subprocess.run(command, env=env, text=True, capture_output=True, check=False)
        else:
            done = forked.run(*self.module_and_arguments(name, **given))
        return dict(json.loads(done.stdout))

    @staticmethod
    def action(name: str, **parameters: Any) -> dict[str, Any]:
        """Run what an action does on the controller and return its result, as its plugin does."""
        result, failure = attempt(lambda: take(name, parameters))
        return {"failed": True, "msg": failure} if failure else result

    def step(self, name: str, **parameters: Any) -> dict[str, Any]:
        """Run a module by itself and return its result; fail with its message where it fails."""
        found = self.module(name, **parameters)
        assert not found.get("failed"), f"keyturn_{name}: {found.get('msg')}"
        return found

    def verified(self, **more: Any) -> dict[str, Any]:
        """Return what keyturn_holdings_info says of a secret; ``more`` overrides the rotation's parameters."""
        rotation = self.rotation(**more)
        found = self.step("holdings_info", **self.about(rotation))
        assert found["verified"][rotation["secret"]]["problems"] == found["problems"]
        return dict(found["verified"][rotation["secret"]])

    @staticmethod
    def about(*rotations: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters of a call about the application and the secrets of some rotations: no rotation is at work."""
        application = {name: value for name, value in rotations[0].items() if name in APPLICATION}
        return {
            "rotation": None,
            "application": application,
            "secrets": {one["secret"]: one["entry"] for one in rotations},
        }

    def about_one(self, rotation: dict[str, Any]) -> dict[str, Any]:
        """Return the same of a call about one secret."""
        parameters = self.about(rotation)
        del parameters["secrets"]
        return parameters | {"secret": rotation["secret"], "entry": rotation["entry"]}

    def journals(self) -> list[dict[str, Any]]:
        """Return the journals of the host, the oldest first."""
        return [json.loads(path.read_text()) for path in sorted(self.state.glob("*/rotations/*/journal.json"))]

    def report(self) -> dict[str, Any]:
        """Return the newest report."""
        return dict(json.loads(max((self.reports / "test").glob("2*.json")).read_text()))
