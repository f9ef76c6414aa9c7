"""Eight hosts, each broken in another way: one run names all of them, and changes nothing on any."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import yaml
from cryptography.fernet import Fernet
from support import reports
from support.evidence import files
from support.lab import KEY, Lab
from support.refusals import set_key, write


def sql(statement: str) -> Callable[[Lab], None]:
    def change(lab: Lab) -> None:
        with contextlib.closing(sqlite3.connect(lab.database)) as connection:
            connection.execute(statement)
            connection.commit()

    return change


BROKEN: dict[str, tuple[Callable[[Lab], None], str]] = {
    "no-database": (lambda lab: lab.database.unlink(), "{database} does not exist: correct `database`"),
    "other-file": (lambda lab: lab.database.write_bytes(b"text"), "{database} is not an SQLite database"),
    "no-column": (
        sql("ALTER TABLE plaid_items RENAME COLUMN access_token TO token"),
        "{database}: table plaid_items has no column access_token (it has: item_id, token",
    ),
    "empty-table": (
        sql("DELETE FROM plaid_items"),
        "{database}: table plaid_items has no rows, so nothing would prove the new key; if that is right, set "
        "keyturn_allow_empty_tables: [plaid_items]",
    ),
    "other-row": (
        lambda lab: write(lab, Fernet(Fernet.generate_key()).encrypt(b"access-x").decode()),
        "{database}: 1 rows cannot be turned, nothing was changed: plaid_items.access_token of 'item-00002' opens under no",
    ),
    "no-key": (set_key(""), f"{KEY} is not set in {{env}}: add it with its current value"),
    "placeholder": (
        set_key("your_32_plus_char_encryption_key_here"),
        f"{KEY} is still the template's placeholder",
    ),
    "down": (
        lambda lab: None,
        "service backend is not healthy at http://127.0.0.1:{port}/health: start it (`cd ",
    ),
}


def test_every_broken_host_is_named_with_its_remedy(tmp_path: Path) -> None:
    labs, hosts = {}, {}
    for name, (break_it, _) in BROKEN.items():
        labs[name] = Lab(tmp_path / name)
        break_it(labs[name])
        inventory = yaml.safe_load((labs[name].inventory / "hosts.yml").read_text())["trader_ai"]
        own = ("keyturn_app_root", "keyturn_state_dir", "keyturn_services")
        hosts[name] = inventory["hosts"]["here"] | {key: inventory["vars"][key] for key in own}
    first = labs["no-database"]
    document = {"trader_ai": {"hosts": hosts, "vars": inventory["vars"] | {"keyturn_reports_dir": str(first.reports)}}}
    (first.inventory / "hosts.yml").write_text(yaml.safe_dump(document))
    before = {name: files(lab.app) for name, lab in labs.items()}

    done = first.play("rotate_db_key")

    assert done.returncode == 2, done.stdout
    report = reports.report(first)
    assert report["outcome"] == "refused"
    printed = " ".join(done.stdout.split()).replace("''", "'")
    for name, (_, text) in BROKEN.items():
        lab = labs[name]
        expected = text.format(database=lab.database, env=lab.env, port=lab.port)
        assert f"{name}: " in report["failure"], report["failure"]
        assert expected in report["failure"].partition(f"{name}: ")[2]
        assert expected in printed
        assert "phase" not in report["hosts"][name], "a rotation was begun"
        assert files(lab.app) == before[name]
        assert not list(lab.state.glob("*/rotations/*"))
