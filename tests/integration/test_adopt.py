"""An application that nothing describes yet: what is found on its host, and the folder that is written of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from keyturn.inputs.application import Application
from support.canary import Scanner, secrets
from support.lab import Lab, catalogue


@pytest.fixture
def unknown(tmp_path: Path) -> Iterator[Lab]:
    """The stand-in, and an inventory that says no more of it than where it lies."""
    lab = Lab(tmp_path / "host")
    lab.start()
    hosts = lab.inventory / "hosts.yml"
    host = yaml.safe_load(hosts.read_text())["trader_ai"]["hosts"]
    told = {"keyturn_hosts": "shops", "keyturn_app_root": str(lab.app)}
    hosts.write_text(yaml.safe_dump({"shops": {"hosts": host, "vars": told}}))
    yield lab
    lab.stop()


def test_an_application_that_nothing_describes_is_adopted(unknown: Lab, tmp_path: Path) -> None:
    scanner = Scanner(secrets(unknown))
    before = {path: path.read_bytes() for path in (unknown.env, unknown.database)}
    done = unknown.play("audit_keys", "-vvv", "--diff")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "under DATABASE_ENCRYPTION_KEY of" in done.stdout
    shop = tmp_path / "shop"
    told = unknown.play("adopt", "-e", f"keyturn_dest={shop}", "-vvv", "--diff")
    assert told.returncode == 0, told.stdout + told.stderr
    written = "".join(path.read_text() for path in shop.iterdir())
    assert scanner.find((done.stdout + done.stderr + told.stdout + told.stderr + written).encode()) == set()
    assert {path: path.read_bytes() for path in before} == before
    assert not unknown.state.exists()
    checked = unknown.play("validate", "-e", f"keyturn_application={shop}")
    assert checked.returncode == 0, checked.stdout
    # every column of the catalogue that people have written, with its key
    found = list(Application(shop).part("catalogue.yml", "secrets").values())
    places = {place for entry in found for place in declared(entry)}
    assert places >= {place for entry in catalogue().values() for place in declared(entry)}
    assert {one["variables"][0] for one in found} == {"DATABASE_ENCRYPTION_KEY"}
    assert "# JWT_SECRET_KEY in" in (shop / "catalogue.yml").read_text()
    assert "# DATABASE_ENCRYPTION_KEY" not in (shop / "catalogue.yml").read_text()
    services = yaml.safe_load((shop / "group_vars.yml").read_text())["keyturn_services"]
    assert any(f":{unknown.port}/" in one["health_url"] for one in services.values()), json.dumps(services)


def declared(entry: Any) -> set[tuple[str, str, str]]:
    return {(one["table"], one["key"], one["column"]) for one in entry["migration"].get("columns", [])}


def test_what_is_missing_is_said_before_a_host_is_asked(unknown: Lab) -> None:
    for playbook, arguments, sentence in (
        ("adopt", (), "Name a folder that does not exist"),
        ("audit_keys", ("-e", "keyturn_fils=x"), "keyturn_fils is no variable of Keyturn: is keyturn_files meant?"),
        ("audit_keys", ("--tags", "x"), "must run whole"),
    ):
        done = unknown.play(playbook, *arguments)
        assert done.returncode != 0
        assert sentence in " ".join((done.stdout + done.stderr).split())
