"""Applications of others, installed from the package index: their folder, their service, an inventory, and what they say by their API."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from cryptography.fernet import Fernet
from dotenv import dotenv_values

from support.environments import environment
from support.lab import COMPILED, ROOT, Lab, free_port, interpreter

START = """#!/bin/sh
# ends at once; whether it works the health URL says
set -eu
cd "$(dirname "$0")"
set -a; . ./.env; set +a
{variables}
setsid {command} >>service.log 2>&1 </dev/null &
echo $! >service.pid
"""
STOP = """#!/bin/sh
# ends when it is gone
cd "$(dirname "$0")"
[ -e service.pid ] || exit 0
pid=$(cat service.pid)
kill -TERM "$pid" 2>/dev/null
for _ in $(seq 600); do
  kill -s 0 -- "-$pid" 2>/dev/null || { rm -f service.pid; exit 0; }
  sleep 0.05
done
exit 1
"""
# has the application's own code turn its rows: a program that reads settings would read the old key in .env
TURN = """#!/bin/sh
set -eu
set -a; . ./.env; set +a
export {variable}="$KEYS"
exec {command}
"""
STARTS_WITHIN = 120
ROWS = 12


class Worked(Lab):
    """A lab with an application that the stand-in has nothing to do with."""

    application = ""
    secret = ""
    service = ""
    health = ""
    # variables of the inventory that this application needs
    told: Mapping[str, Any] = MappingProxyType({})
    # of a database server, the variable with its URL
    url_variable = ""
    # where it reads a list of keys, what stands between them, and what of its own turns rows that are under the second
    separator = own_command = ""
    variable = ""

    def __init__(self, folder: Path, url: str = "", way: str = "one key") -> None:
        """``url`` is that of a PostgreSQL database, which is a file's where nothing is said. ``way`` is how its key is turned.

        That is "one key", "list" of keys, or "own command".
        """
        self.folder, self.way = folder, way
        self.url = url.replace("postgresql:", "postgresql+psycopg2:")
        self.app, self.state, self.reports = folder / "app", folder / "state", folder / "reports"
        self.port, self.ran, self.variables, self.run_by = free_port(), set(), {}, ()
        self.interpreter = interpreter(folder / "python", COMPILED)
        self.app.mkdir()
        self.python = environment(self.application)
        self.make()
        self.write_script("start.sh", START, self.command_line)
        self.write_script("stop.sh", STOP)
        self.write_script("turn.sh", TURN, self.own_command)
        self.write_inventory()

    command_line = environment_lines = ""

    def write_script(self, name: str, text: str, command: str = "") -> None:
        """Write a script of the application's."""
        filled = {"{command}": command, "{variables}": self.environment_lines, "{variable}": self.variable}
        for place, what in filled.items():
            text = text.replace(place, what)
        (self.app / name).write_text(text)
        (self.app / name).chmod(0o755)

    def make(self) -> None:
        """Write the settings of the application, and make its database."""

    def fill(self) -> None:
        """Have the application make its data."""

    @property
    def services(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}"
        told = {"manager": "script", "start": "./start.sh", "stop": "./stop.sh", "health_url": url + self.health}
        return {self.service: told | {"pid_file": "service.pid", "health_timeout_seconds": STARTS_WITHIN}}

    def described(self) -> str:
        """Return the folder with what Keyturn knows of it: the shipped one, or a copy with the lines that a PostgreSQL changes."""
        if not self.url:
            return self.application
        folder = self.folder / "described"
        shutil.copytree(ROOT / "applications" / self.application, folder, dirs_exist_ok=True)
        document = yaml.safe_load((folder / "catalogue.yml").read_text())
        entry = document["secrets"][self.secret]
        entry["migration"] = {
            **{name: value for name, value in entry["migration"].items() if name != "database"},
            "kind": "fernet_postgresql",
            "login": {"url": self.url_variable},
        }
        if self.way == "own command":
            keys = f"{{new}}{self.separator}{{old}}"
            turn = {"command": ["./turn.sh"], "environment": {"KEYS": keys}, "seconds": 600}
            entry["migration"] = {"kind": "command", "turn": turn, "rows": entry["migration"]}
            entry["probes"] = [{"kind": "rows"}, {"kind": "http"}]
        if self.way == "list":
            entry |= {"switch": "rolling", "overlap": "key_list"}
            entry["key_list"] = {"separator": self.separator, "grace_seconds": 2}
        (folder / "catalogue.yml").write_text(yaml.safe_dump(document))
        return str(folder)

    def write_inventory(self, **more: Any) -> None:
        told = {"keyturn_application": self.described(), "keyturn_hosts": "apps", **self.told, **more}
        super().write_inventory(**told)
        hosts = self.inventory / "hosts.yml"
        hosts.write_text(hosts.read_text().replace("trader_ai:", "apps:"))

    def forget_description(self) -> None:
        """Leave of the inventory what is known before an application is adopted."""
        hosts = self.inventory / "hosts.yml"
        document = yaml.safe_load(hosts.read_text())
        document["apps"]["vars"] = {"keyturn_hosts": "apps", "keyturn_app_root": str(self.app)}
        hosts.write_text(yaml.safe_dump(document))

    def command(self, playbook: str, *arguments: str) -> list[str]:
        """Return the command line, without the patience that is for trader-ai's catalogue."""
        return [*super().command(playbook)[:2], "-i", str(self.inventory), *arguments]

    def start(self) -> None:
        subprocess.run([self.app / "start.sh"], check=True)
        deadline = time.monotonic() + STARTS_WITHIN
        while not self.answers():
            assert time.monotonic() < deadline, (self.app / "service.log").read_text()[-4000:]
            time.sleep(0.05)
        self.watch(self.service)

    def stop(self) -> None:
        self.forget()
        subprocess.run([self.app / "stop.sh"], check=True)

    def answers(self) -> bool:
        """Tell whether the service says that it is well."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{self.health}", timeout=10) as answer:
                return int(answer.status) == 200
        except OSError:
            return False

    def down(self) -> list[str]:
        return [name for name in self.ran if not self.answers()]

    def write(self, name: str, value: str) -> None:
        """Have the application keep a value, by its API: it has once this returns."""
        raise NotImplementedError

    def read(self) -> dict[str, Any]:
        """Return what the application's own code reads."""
        raise NotImplementedError

    def held(self, variable: str) -> str:
        """Return the value of a variable of the application's environment."""
        return str(dotenv_values(self.app / ".env")[variable])

    def ask(self, method: str, path: str, content: Any = None, **headers: str) -> Any:
        """Ask the application's API; OSError where it does not answer, or says that it cannot."""
        body = None if content is None else json.dumps(content).encode()
        given = {"Content-Type": "application/json", **headers}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, given, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")


class Writer:
    """Has an application write one thing after the other, and knows what it has acknowledged of each last."""

    def __init__(self, lab: Worked) -> None:
        self.lab, self.count = lab, 0
        self.acknowledged = lab.read()
        self.uncertain: dict[str, list[Any]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        number = 0
        while not self._end.wait(0.01):
            number += 1
            name, value = f"row{number % ROWS}", f"written-as-number-{number}"
            try:
                self.lab.write(name, value)
            except (OSError, http.client.HTTPException):
                # it is down, or was stopped before it could answer: nobody has said whether that is written
                self.uncertain.setdefault(name, []).append(value)
            else:
                self.acknowledged[name], self.count = value, self.count + 1
                self.uncertain.pop(name, None)

    def wait_for(self, more: int) -> None:
        """Wait until so many more writes were acknowledged."""
        deadline, wanted = time.monotonic() + 2 * STARTS_WITHIN, self.count + more
        while self.count < wanted:
            assert time.monotonic() < deadline, (self.lab.app / "service.log").read_text()[-4000:]
            time.sleep(0.02)

    def lost(self) -> list[str]:
        """Return the names under which stands what nobody can have written there."""
        read = self.lab.read()
        legal = {name: [value, *self.uncertain.get(name, [])] for name, value in self.acknowledged.items()}
        return [name for name, values in legal.items() if read.get(name) not in values]


HUB = """
import os

from jupyterhub.proxy import Proxy


class NoProxy(Proxy):
    '''The hub is asked itself.'''

    should_start = False

    async def add_route(self, routespec, target, data): ...
    async def delete_route(self, routespec): ...
    async def get_all_routes(self):
        return {}


c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.hub_bind_url = "http://127.0.0.1:PORT"
c.JupyterHub.db_url = os.environ.get("DATABASE_URL", "sqlite:///jupyterhub.sqlite")
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.enable_auth_state = True
c.JupyterHub.services = [{"name": "tester", "api_token": "TOKEN"}]
c.JupyterHub.load_roles = [
    {"name": "tester", "scopes": ["admin:users", "admin:auth_state"], "services": ["tester"]}
]
"""
CRYPT_KEY = "JUPYTERHUB_CRYPT_KEY"
# what a hub does when a user comes by
HUB_TURN = """import asyncio, os
from jupyterhub import orm
from jupyterhub.crypto import decrypt, encrypt


async def turn():
    with orm.new_session_factory(os.environ["DATABASE_URL"])() as session:
        for user in session.query(orm.User):
            if user.encrypted_auth_state is not None:
                user.encrypted_auth_state = await encrypt(await decrypt(user.encrypted_auth_state))
        session.commit()


asyncio.run(turn())
"""


class Hub(Worked):
    """A JupyterHub without users' servers; what is asked of it goes by its REST API."""

    application = "jupyterhub"
    secret = "crypt_key"
    service = "hub"
    health = "/hub/health"
    url_variable = "DATABASE_URL"
    separator = ";"
    variable = CRYPT_KEY

    def make(self) -> None:
        self.token = secrets.token_hex(32)
        settings = self.app / "jupyterhub_config.py"
        settings.write_text(HUB.replace("PORT", str(self.port)).replace("TOKEN", self.token))
        settings.chmod(0o600)
        env = self.app / ".env"
        env.write_text(f"{CRYPT_KEY}={secrets.token_hex(32)}\n" + (f"DATABASE_URL={self.url}\n" if self.url else ""))
        env.chmod(0o600)
        self.command_line = f"{self.python} -m jupyterhub -f jupyterhub_config.py"
        (self.app / "turn.py").write_text(HUB_TURN)
        self.own_command = f"{self.python} turn.py"

    def key(self) -> str:
        return self.held(CRYPT_KEY)

    def api(self, method: str, path: str, content: Any = None) -> Any:
        """Ask the hub."""
        return self.ask(method, f"/hub/api{path}", content, Authorization=f"token {self.token}")

    def write(self, name: str, value: str) -> None:
        """Let the hub have what an authenticator would have got at a login."""
        self.api("PATCH", f"/users/{name}", {"auth_state": {"access_token": value}})

    def fill(self) -> None:
        for number in range(ROWS):
            self.api("POST", f"/users/row{number}")
            self.write(f"row{number}", f"written-at-first-{number}")
        self.api("POST", "/users/without")

    def read(self) -> dict[str, Any]:
        names = [user["name"] for user in self.api("GET", "/users")]
        states = {name: self.api("GET", f"/users/{name}")["auth_state"] for name in names}
        return {name: state and state["access_token"] for name, state in states.items()}


AIRFLOW = {
    "CORE__LOAD_EXAMPLES": "False",
    "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
    "API__WORKERS": "1",
    "API__EXPOSE_CONFIG": "False",
}
FERNET_KEY = "AIRFLOW__CORE__FERNET_KEY"


class Airflow(Worked):
    """The API server of an Apache Airflow, which writes its connections and variables."""

    application = "airflow"
    secret = "fernet_key"
    service = "api_server"
    health = "/api/v2/monitor/health"
    url_variable = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
    separator = ","
    variable = FERNET_KEY
    # in these there need be no rows
    told = MappingProxyType({"keyturn_allow_empty_tables": ["trigger", "connection_test_request"]})

    def make(self) -> None:
        settings = {f"AIRFLOW__{name}": value for name, value in AIRFLOW.items()} | {
            "AIRFLOW_HOME": str(self.app),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.url or f"sqlite:///{self.app}/airflow.db",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
            FERNET_KEY: Fernet.generate_key().decode(),
        }
        env = self.app / ".env"
        env.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        env.chmod(0o600)
        self.program("db", "migrate")
        self.own_command = f"{self.python} -m airflow rotate-fernet-key"
        self.command_line = f"{self.python} -m airflow api-server --host 127.0.0.1 --port {self.port}"

    def program(self, *arguments: str, **more: str) -> str:
        """Run a command of Airflow's with the settings that it has now; return what it prints."""
        given = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        env = given | {name: str(value) for name, value in dotenv_values(self.app / ".env").items()} | more
        command = [str(self.python), "-m", "airflow", *arguments]
        done = subprocess.run(command, env=env, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def key(self) -> str:
        return self.held(FERNET_KEY)

    def api(self, method: str, path: str, content: Any = None) -> Any:
        """Ask the API server, as somebody who may do everything."""
        if not self.token:
            self.token = self.ask("GET", "/auth/token")["access_token"]
        return self.ask(method, f"/api/v2{path}", content, Authorization=f"Bearer {self.token}")

    token = ""

    def write(self, name: str, value: str) -> None:
        self.api("PATCH", f"/variables/{name}", {"key": name, "value": value})

    def fill(self) -> None:
        for number in range(ROWS):
            self.api("POST", "/variables", {"key": f"row{number}", "value": f"written-at-first-{number}"})
            connection = {"connection_id": f"c{number}", "conn_type": "http", "password": f"password-at-{number}"}
            self.api("POST", "/connections", connection | ({"extra": '{"a": 1}'} if number % 2 else {}))
        self.api("POST", "/connections", {"connection_id": "without", "conn_type": "http"})

    def read(self) -> dict[str, Any]:
        """Return what Airflow reads with the key of its settings: each variable, and of connections password and extra."""
        code = (
            "import json; from airflow.models import Connection, Variable; from airflow.utils.session import create_session\n"
            "with create_session() as session:\n"
            "    found = {one.key: one.get_val() for one in session.query(Variable)}\n"
            "    found |= {one.conn_id: [one.password, one.extra] for one in session.query(Connection)}\n"
            "    print('\\n' + json.dumps(found))"
        )
        given = {name: str(value) for name, value in dotenv_values(self.app / ".env").items()}
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder)} | given
        done = subprocess.run([self.python, "-c", code], env=env, text=True, capture_output=True, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))
