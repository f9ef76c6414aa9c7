"""A host need not hold every secret: what is not used there, what is missed, and what no longer is what its last rotation left."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from keyturn.base import durable
from keyturn.base.errors import KeyturnError
from keyturn.base.fingerprint import fingerprint
from keyturn.ground import consumers
from keyturn.ground.consumers import Consumer, systemd_creds
from keyturn.host import storage
from keyturn.host.phases import delivery, holdings_info, prune, rollback, rotation_info, stage
from keyturn.host.rotation import Rotation
from keyturn.inputs import catalogue, validation
from keyturn.steps import fleet
from support.faults import Host
from support.lab import KEY
from support.steps import take
from unit.test_catalogue import shipped

TOKEN = "hf_" + "a" * 30
BEFORE = "20251001T000000Z-0123456789abcdef"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host whose `.env` holds its database key, and nothing of the others."""
    made = Host(tmp_path / "host")
    made.lab.env.write_text(f"{KEY}={made.lab.key()}\n")
    yield made
    made.stop()


def described(host: Host, secret: str, **more: Any) -> Rotation:
    entry = validation.validated(secret, catalogue.ENTRY, shipped()[secret])
    return dataclasses.replace(host.rotation(), secret=secret, entry=entry, **more)


def holds(host: Host, text: str) -> None:
    host.lab.env.write_text(host.lab.env.read_text() + text)


def earlier(rotation: Rotation) -> None:
    """Leave a rotation of the past."""
    application = rotation.application
    with application.lock("a test", 0):
        application.begin(BEFORE, secret=rotation.secret, operator="a test").enter("closed", outcome="committed")


def test_what_nobody_holds_and_nobody_has_turned_is_not_used_here(host: Host) -> None:
    rotations = [described(host, secret) for secret in ("db_key", "alpaca", "hf_token")]
    said = holdings_info.run(rotations)
    assert said["problems"] == []
    assert {secret for secret, found in said["verified"].items() if found["used"]} == {"db_key"}
    assert "alpaca is not used here\nhf_token is not used here" in said["text"]
    found = rotation_info.run(str(host.lab.app), str(host.lab.state), rotations)["held"]
    assert found["hf_token"] == {"used": False, "values": {}, "problem": ""}
    assert found["db_key"] == {"used": True, "values": {KEY: fingerprint(host.lab.key())}, "problem": ""}
    notes = [one for one in storage.look(rotations, production=False)["findings"] if one["rule"] == "readable"]  # type: ignore[attr-defined]
    assert [(one["severity"], one["what"]) for one in notes] == [
        ("note", "alpaca is not used here"),
        ("note", "hf_token is not used here"),
    ]


def test_what_was_there_and_is_gone_is_an_error(host: Host) -> None:
    rotation = described(host, "hf_token")
    assert rotation.values_here() is None
    earlier(rotation)
    missing = f"HF_TOKEN is not set in {host.lab.env}: add it with its current value"
    with pytest.raises(KeyturnError, match=missing):
        rotation.values_here()
    assert any(missing in problem for problem in holdings_info.run([rotation])["problems"])
    assert (
        missing in rotation_info.run(str(host.lab.app), str(host.lab.state), [rotation])["held"]["hf_token"]["problem"]
    )
    assert described(host, "hf_token", secrets_here=("db_key",)).values_here() is None, "a person says that it may go"


@pytest.mark.parametrize(
    ("secret", "text", "said"),
    [
        ("alpaca", "ALPACA_API_KEY=PK0123456789ABCDEF\n", "ALPACA_SECRET_KEY is not set"),
        ("alpaca", "ALPACA_API_SECRET=x\n", "ALPACA_API_KEY is not set"),
        ("db_key", "", f"{KEY} is not set"),
    ],
    ids=["a part of it", "its second name", "data under it"],
)
def test_a_part_or_data_that_depends_on_it_shows_that_it_is_used(host: Host, secret: str, text: str, said: str) -> None:
    host.lab.env.write_text(text or "A=1\n")
    with pytest.raises(KeyturnError, match=said):
        described(host, secret).values_here()


def test_a_file_that_is_gone_does_not_make_its_secrets_unused(host: Host) -> None:
    host.lab.env.unlink()
    with pytest.raises(KeyturnError, match=r"\.env does not exist"):
        described(host, "hf_token").values_here()
    assert consumers.holds(Consumer("dotenv", host.lab.env), ["HF_TOKEN"])


def test_a_host_that_holds_nothing_at_all_says_so(host: Host) -> None:
    host.lab.env.write_text("A=1\n")
    shutil.rmtree(host.lab.database.parent)
    (problem,) = holdings_info.run([described(host, "db_key"), described(host, "jwt")])["problems"]
    assert problem == "no secret of the catalogue is held here: where that is right, set keyturn_secrets_here: []"
    assert holdings_info.run([described(host, "jwt", secrets_here=())])["problems"] == []


def test_a_value_that_the_inventory_leaves_out_is_named(host: Host) -> None:
    holds(host, f"HF_TOKEN={TOKEN}\n")
    assert described(host, "hf_token", secrets_here=("hf_token",)).values_here() == {"HF_TOKEN": TOKEN}
    with pytest.raises(KeyturnError, match="HF_TOKEN is set, and keyturn_secrets_here leaves out hf_token") as error:
        described(host, "hf_token", secrets_here=("hf_tokn", "db_key")).values_here()
    assert TOKEN not in str(error.value)
    with pytest.raises(KeyturnError, match="PLAID_CLIENT_ID is not set"):
        described(host, "plaid", secrets_here=("plaid",)).values_here()


# -- old values go when they expire ------------------------------------------------------------------------------------


def test_an_old_value_goes_when_it_has_expired_without_a_rotation(host: Host) -> None:
    rotation = host.rotation()
    earlier(rotation)
    (journal,) = rotation.application.journals()
    durable.write_file(journal.path("previous.json"), b"{}")
    journal.update(previous={"expires": "2025-11-01T00:00:00Z"})

    def told() -> list[str]:
        return list(rotation_info.run(str(host.lab.app), str(host.lab.state))["expired"])

    assert told() == [BEFORE]
    said = prune.run([dataclasses.replace(rotation, check_mode=True)])
    assert (said["changed"], said["pruned"]) == (True, [BEFORE])
    assert BEFORE in said["would"] and journal.path("previous.json").exists()
    assert prune.run([rotation]) == {"changed": True, "pruned": [BEFORE]}
    assert not journal.path("previous.json").exists() and told() == []
    assert prune.run([rotation]) == {"changed": False, "pruned": []}


# -- a rotation leaves out who does not hold the secret ----------------------------------------------------------------

HOSTS: dict[str, dict[str, Any]] = {
    "app1": {},
    "app2": {"keyturn_secrets_here": ["db_key"]},
    "app3": {"keyturn_secrets_here": ["jwt"]},
}


def planned(secret: str, inventory: str = "", **more: Any) -> dict[str, Any]:
    known = {
        "keyturn_environment": "test",
        "keyturn_app_root": "/opt/app",
        "keyturn_services": {"backend": {"manager": "systemd", "unit": "b", "health_url": "http://127.0.0.1/health"}},
    }
    hosts = {name: known | said | more for name, said in HOSTS.items()}
    request = {
        "application": "/nowhere",
        "secrets": shipped(),
        "secret": secret,
        "hosts": hosts,
        "reason": "test",
        "inventory": inventory,
    }
    return take("plan", request)


@pytest.mark.parametrize("folder", ["test", "inventory", ""])
def test_an_inventory_lies_where_its_environment_says_or_where_awx_lays_it(folder: str) -> None:
    assert planned("jwt", folder)["plan"]["environment"] == "test"
    with pytest.raises(KeyturnError, match="and the inventory's folder is staging: one of the two is the wrong one"):
        planned("jwt", "staging")


def test_who_does_not_hold_the_secret_takes_no_part() -> None:
    assert planned("jwt")["text"].endswith("hosts       app1, app3")
    given = {
        "plan": {"rotation_id": "a", "secret": "jwt", "value": "shared", "overrides": {}},
        "hosts": HOSTS,
        "excluded": {},
        "staging": "",
        "typed": [],
        "production": False,
        "folder": "/",
    }
    silent = HOSTS | {"app2": HOSTS["app2"] | {"rotation_looked": {"unreachable": True}}}
    assert fleet.run(given | {"hosts": silent}, False)["hosts"] == ["app1", "app3"], "nobody waits for app2"
    assert fleet.run(given | {"excluded": {"app2": "in repair"}}, False)["hosts"] == ["app1", "app3"]
    arguments = {"secret": "jwt", "value": "shared", "hosts": silent, "environment": "test", "reports": "/nowhere"}
    assert take("agree", arguments)["hosts"] == ["app1", "app3"]


def test_a_secret_that_no_host_holds_cannot_be_rotated() -> None:
    with pytest.raises(KeyturnError, match="no host here holds hf_token: keyturn_secrets_here leaves it out on all"):
        planned("hf_token", keyturn_secrets_here=[])


# -- what the process is given otherwise ------------------------------------------------------------------------------


def begins_with(host: Host, line: str) -> None:
    """Put a line into the start script, and start the service by it."""
    script = host.lab.app / "start.sh"
    host.stop()
    script.write_text(script.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{line}\n", 1))
    host.start()


def test_a_value_of_the_processs_own_is_refused_while_it_runs(host: Host) -> None:
    """It wins over the files: the rotation could neither be proved nor, where it is another than theirs, go back."""
    before = host.lab.env.read_bytes()
    another = Fernet.generate_key().decode()
    begins_with(host, f"export {KEY}={another}")
    refused = (
        f"service backend: the process was started with {KEY} {fingerprint(another)}, which is not what the files hold"
    )
    with pytest.raises(KeyturnError, match=refused):
        stage.run(host.rotation())
    assert (host.lab.env.read_bytes(), host.lab.journals()) == (before, [])


JWT = "JWT_SECRET_KEY=a-value-of-the-tests"


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        (f"export {JWT}", True),
        ("set -a; . ./.env; set +a", False),
        ("set -a; . ./.env; JWT_SECRET_KEY=a-value-of-the-tests; set +a", True),
        (f"# {JWT}\nset -a; . ./.env; set +a", False),
        (f": {JWT}", False),
    ],
    ids=["given", "given from the file", "given beside the file", "in a comment", "there, and not given"],
)
def test_a_start_script_that_gives_a_value_is_refused_and_one_that_reads_the_file_is_not(
    host: Host, line: str, refused: bool
) -> None:
    holds(host, f"{JWT}\n")
    begins_with(host, line)
    rotation = described(host, "jwt")
    if refused:
        with pytest.raises(
            KeyturnError, match=f"{host.lab.app}/start.sh gives it JWT_SECRET_KEY, which wins over the files"
        ):
            stage.run(rotation, {"JWT_SECRET_KEY": "another-value-of-the-tests"})
    else:
        said = stage.run(rotation, {"JWT_SECRET_KEY": "another-value-of-the-tests"})
        assert said["rotation"]["phase"] == "staged"
        rollback.run(rotation, "a test", abandon_commit=False)


@pytest.mark.parametrize(
    ("consumer", "held", "given", "wins"),
    [
        ({"keys": {"JWT_SECRET_KEY": "SIGNING"}}, "SIGNING=a-value-of-the-tests", "SIGNING=another", True),
        ({"keys": {"JWT_SECRET_KEY": "SIGNING"}}, "SIGNING=a-value-of-the-tests", "SIGNING=a-value-of-the-tests", True),
        (
            {"keys": {"JWT_SECRET_KEY": "URL"}, "inside": "url"},
            "URL=db://user:a-value-of-the-tests@host/x",
            "URL=db://user:another-value@host/x",
            True,
        ),
        (
            {"keys": {"JWT_SECRET_KEY": "URL"}, "inside": "url"},
            "URL=db://user:a-value-of-the-tests@host/x",
            "URL=no-url",
            True,
        ),
        ({"keys": {"JWT_SECRET_KEY": "SIGNING"}}, "SIGNING=a-value-of-the-tests", "OTHER=a", False),
    ],
    ids=["another", "the same", "another in a URL", "no URL", "under no name of it"],
)
def test_a_process_that_is_given_the_value_under_a_key_of_the_file_is_refused(
    host: Host, consumer: dict[str, Any], held: str, given: str, wins: bool
) -> None:
    """A file may hold the value under another name, or in a URL, and so may the environment of a process."""
    holds(host, f"{held}\n")
    begins_with(host, f"export {given}")
    declared = {"consumers": [{"format": "dotenv", "path": ".env", **consumer}], "aliases": {}, "probes": []}
    entry = validation.validated("jwt", catalogue.ENTRY, shipped()["jwt"] | declared)
    rotation = dataclasses.replace(host.rotation(), secret="jwt", entry=entry)
    said = "" if wins else "nothing"
    try:
        stage.run(rotation, {"JWT_SECRET_KEY": "another-value-of-the-tests"})
        rollback.run(rotation, "a test", abandon_commit=False)
    except KeyturnError as error:
        said = str(error)
    key = given.partition("=")[0]
    assert (f"the process was started with {key} " in said or "gives it JWT_SECRET_KEY" in said) == wins, said


# -- how they are delivered --------------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services that systemd would take, on a host whose credentials lie in a folder of the test."""
    unit = {"check_launch": lambda path: None, "pid": lambda: None, "is_launched_with": lambda path: False}
    monkeypatch.setattr(delivery.Host, "_checked", staticmethod(lambda one: SimpleNamespace(name=one.name, **unit)))
    monkeypatch.setattr(systemd_creds, "STORE", tmp_path / "credstore")
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def moved(host: Host, **more: Any) -> str:
    """What a delivery of all secrets of the catalogue would do there."""
    given = {"delivery": "systemd_credential", "check_mode": True, **more}
    return str(delivery.run([described(host, secret, **given) for secret in shipped()])["would"])


def test_a_host_is_delivered_what_it_holds(host: Host, units: None) -> None:
    """It has no engine either, which Alpaca's pair would have to be given to."""
    assert moved(host).startswith(f"move {KEY} to ")
    holds(host, "JWT_SECRET_KEY=a-value-of-the-tests\nHF_TOKEN=\n")
    assert moved(host).startswith(f"move {KEY}, JWT_SECRET_KEY to ")
    assert moved(host, secrets_here=("db_key", "jwt")).startswith(f"move {KEY}, JWT_SECRET_KEY to ")


def test_a_delivery_misses_what_should_be_there_and_leaves_nothing_behind(host: Host, units: None) -> None:
    with pytest.raises(
        KeyturnError, match=r"HF_TOKEN has no value on this host: .* leave it out of keyturn_secrets_here"
    ):
        moved(host, secrets_here=("db_key", "hf_token"))
    earlier(described(host, "jwt"))
    with pytest.raises(KeyturnError, match="JWT_SECRET_KEY has no value on this host"):
        moved(host)
    holds(host, f"HF_TOKEN={TOKEN}\n")
    with pytest.raises(KeyturnError, match="HF_TOKEN is set, and keyturn_secrets_here leaves out hf_token"):
        moved(host, secrets_here=("db_key",))
    host.lab.env.write_text("A=1\n")
    with pytest.raises(KeyturnError, match="no secret of the catalogue is used on this host"):
        moved(host, secrets_here=())
