"""Three hosts share a PostgreSQL database and the key of its rows: one turns them, and another one takes over where that is lost."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml
from cryptography.fernet import Fernet
from dotenv import dotenv_values
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

    def __init__(self, folder: Path, postgres: Server) -> None:
        self.url = postgres.database("shop")
        self.labs = {
            host: Lab(folder / host, variables={"keyturn_application": str(folder / "shop")}) for host in HOSTS
        }
        (folder / "shop").mkdir()
        for name, content in (("catalogue", CATALOGUE), ("policy", POLICY)):
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
