"""Three hosts share a PostgreSQL database and the key of its rows: one turns them, and another one takes over where that is lost.

With a list of keys they are turned while every host reads and writes, each by the list that its service had when it started.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import psycopg2
import pytest
import yaml
from cryptography.fernet import Fernet, MultiFernet
from dotenv import dotenv_values
from keyturn.fleet.draft import OPEN
from support.faults import Play, hold, release
from support.lab import Lab
from support.postgres import PASSWORD, Server, server

HOSTS = ("app1", "app2", "app3")
KEY = "SHARED_KEY"
CATALOGUE: dict[str, Any] = {
    "secrets": {
        "shared_key": {
            "title": "Key of the shared rows",
            "variables": [KEY],
            "source": {"kind": "generated", "generator": "fernet"},
            "value": "shared",
            "switch": "together",
            "overlap": "none_needed",
            "consumers": [{"format": "dotenv", "path": ".env"}],
            "migration": {
                "kind": "fernet_postgresql",
                "login": {"url": "DATABASE_URL"},
                "columns": [{"table": "items", "key": ["name"], "column": "token", "plaintext": "^access-"}],
            },
            "services": ["backend"],
            "probes": [{"kind": "fernet_rows"}],
            "retire": {"kind": "none"},
            "downtime_budget_seconds": 1800,
        }
    }
}
POLICY = {"review": {"next": "9999-01-01"}, "schedule": {"shared_key": {"max_age_days": 90}}, "checklist": []}
ROWS = {f"n{number}": f"access-{number}" for number in range(300)}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as made:
        yield made


class Fleet:
    """The hosts, each the stand-in in a folder of its own, one inventory for all of them, and the rows in one database."""

    def __init__(self, folder: Path, postgres: Server, **more: Any) -> None:
        self.url = postgres.database("shop")
        self.labs = {
            host: Lab(folder / host, variables={"keyturn_application": str(folder / "shop")}) for host in HOSTS
        }
        (folder / "shop").mkdir()
        entry = CATALOGUE["secrets"]["shared_key"] | more
        for name, content in (("catalogue", {"secrets": {"shared_key": entry}}), ("policy", POLICY)):
            (folder / f"shop/{name}.yml").write_text(yaml.safe_dump(content))
        self.first = self.labs["app1"]
        described = {host: yaml.safe_load((lab.inventory / "hosts.yml").read_text()) for host, lab in self.labs.items()}
        document = described["app1"]
        document["trader_ai"]["hosts"] = {
            host: {
                **one["trader_ai"]["hosts"]["here"],
                **{
                    name: one["trader_ai"]["vars"][name]
                    for name in ("keyturn_app_root", "keyturn_state_dir", "keyturn_services")
                },
            }
            for host, one in described.items()
        }
        (self.first.inventory / "hosts.yml").write_text(yaml.safe_dump(document))
        self.old = Fernet.generate_key().decode()
        for lab in self.labs.values():
            with lab.env.open("a") as file:
                file.write(f"{KEY}={self.old}\nDATABASE_URL={self.url}\n")
            lab.start()
        self.sql("CREATE TABLE items (id bigserial PRIMARY KEY, name text, token text)")
        for name, text in ROWS.items():
            self.sql(
                "INSERT INTO items (name, token) VALUES (%s, %s)",
                name,
                Fernet(self.old).encrypt(text.encode()).decode(),
            )

    def sql(self, statement: str, *parameters: Any) -> list[Any]:
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            found = list(cursor.fetchall()) if cursor.description else []
        connection.close()
        return found

    def play(self, playbook: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self.first.command(playbook, *arguments)
        shipped = command.index("-e")  # the options of the shipped catalogue
        del command[shipped : shipped + 2]
        return subprocess.run(
            command,
            cwd=Path(__file__).parents[2],
            env=self.first.environment(),
            text=True,
            capture_output=True,
            check=False,
        )

    def begin(self, playbook: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a run that somebody kills."""
        command = self.first.command(playbook, *arguments)
        shipped = command.index("-e")
        del command[shipped : shipped + 2]
        output = (self.first.folder / "killed.log").open("w")
        env = self.first.environment()
        return subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],
            env=env,
            text=True,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def key(self) -> str:
        (held,) = {str(dotenv_values(lab.env)[KEY]) for lab in self.labs.values()}
        return held

    def rows(self) -> dict[str, str]:
        key = Fernet(self.key())
        return {name: key.decrypt(token.encode()).decode() for name, token in self.sql("SELECT name, token FROM items")}

    def schemas(self) -> list[Any]:
        return self.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'keyturn%'")

    def journals(self) -> dict[str, dict[str, Any]]:
        return {host: lab.journals()[-1] for host, lab in self.labs.items()}

    def stop(self) -> None:
        for lab in self.labs.values():
            lab.stop()


@pytest.fixture
def fleet(tmp_path: Path, postgres: Server) -> Iterator[Fleet]:
    made = Fleet(tmp_path, postgres)
    yield made
    made.stop()


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


ROTATE = ("rotate", "-e", "keyturn_secret=shared_key", "-e", "keyturn_accept_unproved=rows alone show it")


def test_one_host_turns_the_rows_of_all_and_names_itself(fleet: Fleet) -> None:
    done = fleet.play(*ROTATE, "--check")
    assert done.returncode == 0, said(done)
    assert fleet.key() == fleet.old and fleet.rows() == ROWS and not fleet.schemas()
    done = fleet.play(*ROTATE)
    assert done.returncode == 0, said(done)
    assert fleet.key() != fleet.old and fleet.rows() == ROWS and not fleet.schemas()
    journals = fleet.journals()
    assert {journal["speaker"] for journal in journals.values()} == {"app1"}
    assert [sorted(host for host in HOSTS if name in journals[host]) for name in ("backup", "rows_under")] == [
        ["app1"]
    ] * 2
    assert journals["app1"]["evidence"]["backup"] == {"ok": True, "rows": 300}
    report = json.loads(next((fleet.first.reports / "test").glob("2*.json")).read_text())
    assert {host["speaker"] for host in report["hosts"].values()} == {"app1"} and report["outcome"] == "committed"
    shown = done.stdout + done.stderr + json.dumps(report)
    assert fleet.key() not in shown and fleet.old not in shown and PASSWORD not in shown
    done = fleet.play("verify")
    assert done.returncode == 0, said(done)
    fleet.sql("CREATE SCHEMA keyturn_20260101t000000z_left")  # what a kill leaves that nobody has gone on from
    done = fleet.play("verify")
    left = 'the schema keyturn_20260101t000000z_left is left of a rotation: DROP SCHEMA "keyturn_20260101t000000z_left" CASCADE'
    assert done.returncode == 0 and said(done).count(left) == len(HOSTS), said(done)


def test_a_host_that_does_not_reach_the_database_leaves_the_rows_to_the_next(fleet: Fleet) -> None:
    first = fleet.labs["app1"]
    first.env.write_text(
        first.env.read_text().replace(f"DATABASE_URL={fleet.url}", "DATABASE_URL=postgresql://127.0.0.1:1/x")
    )
    done = fleet.play(*ROTATE)
    # of a host that does not come to the rows nothing shows that it works, so that all go back
    assert done.returncode != 0
    assert (
        "app2 turns the rows of all hosts" in said(done) and "nobody listens there" not in said(done).split("TASK")[0]
    )
    assert fleet.key() == fleet.old and fleet.rows() == ROWS and not fleet.schemas()
    assert {journal["outcome"] for journal in fleet.journals().values()} == {"rolled_back"}
    assert fleet.journals()["app2"]["rows_under"] == "old"


@pytest.mark.parametrize("way", ["resume", "rollback"])
def test_another_host_ends_what_one_has_begun_that_is_gone(fleet: Fleet, way: str) -> None:
    """The first host dies when it has turned the rows: it is left out, and ends by itself what it has open when it is back."""
    new = Fernet.generate_key().decode()
    entry = CATALOGUE["secrets"]["shared_key"] | {"max_age_days": 90}
    more = {"secret": "shared_key", "entry": entry, "overrides": {"unproved": "rows alone show it"}, "speaker": "app1"}
    rotation = {host: lab.rotation(**more, speaks=host == "app1") for host, lab in fleet.labs.items()}
    for host, lab in fleet.labs.items():
        lab.step("stage", rotation=rotation[host], new_values={KEY: new})
    fleet.first.step("turn", rotation=rotation["app1"], until="prepared")
    for host, lab in fleet.labs.items():
        lab.step("turn", rotation=rotation[host], until="stopped")
    fleet.first.step("turn", rotation=rotation["app1"], until="turned")
    mine = ("-e", f"keyturn_rotation_id={rotation['app1']['rotation_id']}")
    done = fleet.play(way, *mine, "-e", json.dumps({"keyturn_exclude": {"app1": "its board is broken"}}))
    assert "app2 turns the rows of all hosts" in said(done), said(done)
    others = {host: journal["outcome"] for host, journal in fleet.journals().items() if host != "app1"}
    assert set(others.values()) == {"rolled_back" if way == "rollback" else "committed"}, said(done)
    done = fleet.play(way, *mine)
    assert fleet.journals()["app1"]["phase"] == "closed", said(done)
    assert fleet.key() == (fleet.old if way == "rollback" else new) and fleet.rows() == ROWS and not fleet.schemas()


# -- a list of keys ------------------------------------------------------------------------------------------------------


class Part:
    """What one host's service does: it reads the list of keys when it starts, keeps a connection, reads rows and writes rows of its own."""

    def __init__(self, fleet: Fleet, host: str) -> None:
        self.lab, self.url = fleet.labs[host], fleet.url
        self.names = [name for number, name in enumerate(ROWS) if number % len(HOSTS) == HOSTS.index(host)]
        self.written: dict[str, str] = {}
        self.failures: list[str] = []
        self.asked = 0
        self._pid, self._connection, self._ended = "", cast(Any, None), threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Part:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._connection:
            self._connection.close()

    def _service(self) -> str:
        """Return the process id of the service, empty while it is down: the other hosts serve then."""
        path = self.lab.app / "run/backend.pid"
        pid = path.read_text().strip() if path.exists() else ""
        return pid if pid and Path(f"/proc/{pid}").exists() else ""

    def _work(self) -> None:
        for number in itertools.count():
            if self._ended.wait(0.005):
                return
            if (pid := self._service()) != self._pid and self._connection:
                self._connection.close()
                self._connection = None
            if not pid:
                continue
            if not self._connection:
                self._pid = pid
                self._keys = MultiFernet([Fernet(key) for key in str(dotenv_values(self.lab.env)[KEY]).split(",")])
                self._connection = psycopg2.connect(self.url)
                self._connection.autocommit = True
            try:
                self._ask(number)
            except Exception as error:
                self.failures.append(f"{number}: {type(error).__name__}")

    def _ask(self, number: int) -> None:
        self.asked += 1
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT token FROM items WHERE name = %s", (random.choice([*ROWS]),))
            self._keys.decrypt(cursor.fetchone()[0].encode())
            name, text = self.names[number % len(self.names)], f"access-{number}"
            cursor.execute(
                "UPDATE items SET token = %s WHERE name = %s", (self._keys.encrypt(text.encode()).decode(), name)
            )
            self.written[name] = text


@pytest.fixture
def listed(tmp_path: Path, postgres: Server) -> Iterator[Fleet]:
    """Hosts whose application reads a list of keys."""
    more = {"switch": "rolling", "overlap": "key_list", "key_list": {"separator": ",", "grace_seconds": 1}}
    made = Fleet(tmp_path, postgres, **more)
    yield made
    made.stop()


@contextlib.contextmanager
def serving(fleet: Fleet) -> Iterator[list[Part]]:
    """Have every host serve; in the end no request has failed, and what was acknowledged is there."""
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(Part(fleet, host)) for host in HOSTS]
        yield parts
    assert [part.failures for part in parts] == [[], [], []] and all(part.written for part in parts)
    written = {name: text for part in parts for name, text in part.written.items()}
    assert fleet.rows() == ROWS | written, "what was acknowledged is gone"


def test_rows_are_turned_by_one_host_while_all_serve(listed: Fleet) -> None:
    with serving(listed) as parts:
        done = listed.play(*ROTATE)
    assert done.returncode == 0 and "while all serve" in said(done), said(done)
    assert listed.key() != listed.old and not listed.schemas()
    journals = listed.journals()
    assert [host for host in HOSTS if "rows_under" in journals[host]] == ["app1"]
    assert {journal["outcome"] for journal in journals.values()} == {"committed"}
    assert journals["app1"]["evidence"]["backup"] == {"ok": True, "rows": 300}
    print(f"list of keys over PostgreSQL: 0 of {sum(part.asked for part in parts)} requests failed")


@pytest.mark.covering()
@pytest.mark.parametrize("wish", ["resume", "rollback"])
@pytest.mark.parametrize(
    ("host", "phase"),
    [
        ("app2", "accepting"),
        ("app3", "accepts"),
        ("app2", "leads"),
        ("app1", "turning"),
        ("app1", "turned"),
        ("app2", "switched"),
    ],
)
def test_a_run_that_is_killed_in_any_step_ends_whole(listed: Fleet, host: str, phase: str, wish: str) -> None:
    with serving(listed):
        run = listed.begin(*ROTATE)
        journals = listed.labs[host].journals
        deadline = time.monotonic() + 120
        while not any(phase in {one["phase"] for one in journal["history"]} for journal in journals()):
            assert run.poll() is None and time.monotonic() < deadline, (listed.first.folder / "killed.log").read_text()
            time.sleep(0.01)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        done = listed.play(wish)
    assert done.returncode == 0, said(done)
    outcome = "committed" if wish == "resume" else "rolled_back"
    assert {journal["outcome"] for journal in listed.journals().values()} == {outcome}
    assert (listed.key() == listed.old) == (wish == "rollback") and not listed.schemas()


@pytest.mark.exhaustive
def test_who_has_not_been_started_anew_keeps_the_old_key_and_all_go_back(listed: Fleet) -> None:
    worker = psycopg2.connect(listed.url)
    with serving(listed):
        done = listed.play(*ROTATE)
    assert done.returncode == 2 and "has been open since before the hosts read the new key" in said(done), said(done)
    assert {journal["outcome"] for journal in listed.journals().values()} == {"rolled_back"}
    assert listed.key() == listed.old and not listed.schemas()
    worker.close()


class Unknown(Lab):
    """The stand-in, with rows of the server beside it; ``told`` is what its people have put into the inventory."""

    told: ClassVar[dict[str, Any]] = {}

    def write_inventory(self, **more: Any) -> None:
        super().write_inventory(**more)
        path = self.inventory / "hosts.yml"
        told = {"keyturn_hosts": "shops", "keyturn_app_root": str(self.app), **self.told}
        path.write_text(yaml.safe_dump({"shops": yaml.safe_load(path.read_text())["trader_ai"] | {"vars": told}}))

    def command(self, playbook: str, *arguments: str) -> list[str]:
        """Return the command line, without what is said of the shipped catalogue."""
        return [*super().command(playbook)[:2], "-i", str(self.inventory), *arguments]

    def answer(self, folder: Path) -> None:
        """Answer what is open in a drafted folder, as the guide says."""
        for path in folder.iterdir():
            path.write_text("".join(line for line in path.open() if OPEN not in line))
        found = yaml.safe_load((folder / "group_vars.yml").read_text())
        for service in found["keyturn_services"].values():
            service["health_url"] += "health"
        self.told = found | {
            "keyturn_application": str(folder),
            "keyturn_environment": "test",
            "keyturn_reports_dir": str(self.reports),
            "keyturn_state_dir": str(self.state),
        }
        self.write_inventory()


def test_an_application_that_nothing_describes_is_adopted_turned_killed_and_resumed(
    tmp_path: Path, postgres: Server
) -> None:
    lab, folder = Unknown(tmp_path / "host", rows=0), tmp_path / "shop"
    old, login = Fernet.generate_key().decode(), psycopg2.extensions.parse_dsn(postgres.database("unknown"))
    names = {f"PG{name}": login[part] for name, part in PARTS.items()}
    with lab.env.open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in {KEY: old, **names}.items())

    def sql(statement: str, *parameters: Any) -> list[Any]:
        with contextlib.closing(psycopg2.connect(**login)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    def read() -> dict[str, str]:
        key = Fernet(str(dotenv_values(lab.env)[KEY]))
        return {name: key.decrypt(token.encode()).decode() for name, token in sql("SELECT name, token FROM items")}

    def play(playbook: str, *arguments: str) -> str:
        done = lab.play(playbook, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    sql("CREATE TABLE items (name text PRIMARY KEY, token text)")
    for name, text in ROWS.items():
        sql("INSERT INTO items VALUES (%s, %s)", name, Fernet(old).encrypt(text.encode()).decode())
    lab.start()
    try:
        adopted = play("adopt", "-e", f"keyturn_dest={folder}")
        assert f"{len(ROWS)} under {KEY} of {lab.env}" in adopted and login["password"] not in adopted
        lab.answer(folder)
        play("validate")
        play("rotate", "-e", "keyturn_secret=shared_key", "--check")
        assert dotenv_values(lab.env)[KEY] == old
        hold(lab, "switching")
        run = Play(lab, "rotate", "-e", "keyturn_secret=shared_key")
        run.wait_for("switching")
        run.kill("all")
        release(lab)
        assert "COMMITTED" in play("resume")
        assert dotenv_values(lab.env)[KEY] != old and read() == ROWS
        play("respond_to_incident", *DRILL)
        assert [one["outcome"] for one in lab.journals()] == ["committed", "committed"] and read() == ROWS
        assert "shared_key" in play("status")
    finally:
        lab.stop()


PARTS = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "DATABASE": "dbname"}
DRILL = [
    *("-e", "keyturn_incident_id=DRILL-1", "-e", "keyturn_incident_leaked=key", "-e", "keyturn_incident_drill=true"),
    *("-e", "keyturn_incident_without_evidence=rehearsal"),
]
