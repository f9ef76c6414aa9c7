"""Whatever the application reads a secret from is turned with it, or keeps the rotation from ending."""

from __future__ import annotations

import base64
import codecs
import dataclasses
import json
import os
import pickle
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from keyturn.base.errors import KeyturnError
from keyturn.base.fingerprint import fingerprint
from keyturn.host import copies, values
from keyturn.host.phases import common, examination, retire, stage
from keyturn.host.rotation import Rotation
from keyturn.host.values import Staged
from keyturn.inputs import catalogue
from keyturn.inputs.validation import validated
from support.fakes import FakePlaid
from support.lab import catalogue as shipped

PLAID = ("PLAID_CLIENT_ID", "PLAID_SECRET")
ALPACA = ("ALPACA_API_KEY", "ALPACA_SECRET_KEY")
OLD = {
    "plaid": dict(zip(PLAID, ("0123456789abcdef01234567", "a" * 30), strict=True)),
    "alpaca": dict(zip(ALPACA, ("PKOLDCANARY123456", "old-canary-of-the-secret-key-1"), strict=True)),
}
NEW = {
    "plaid": OLD["plaid"] | {"PLAID_SECRET": "b" * 30},
    "alpaca": dict(zip(ALPACA, ("PKNEWCANARY123456", "new-canary-of-the-secret-key-2"), strict=True)),
}
CONFIG = "config/config.json"
PHASE2 = "config/phase2_integration.json"


def make(folder: Path, secret: str, url: str = "http://127.0.0.1:9") -> Rotation:
    """A rotation of a shipped secret, in an application whose `.env` holds the old values."""
    entry = dict(shipped()[secret])
    entry["provider"] = entry["provider"] | {"url": url} | ({"account": "paper"} if secret == "alpaca" else {})
    entry |= {"max_age_days": 90, "services": []}
    if secret == "alpaca":
        entry["consumers"] = [
            entry["consumers"][0],
            entry["consumers"][1] | {"form": "environment"},
            entry["consumers"][2],
        ]
    (folder / "config").mkdir()
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in OLD[secret].items()))
    (folder / "state").mkdir(mode=0o700)
    return Rotation(
        rotation_id="20260101T000000Z-0123456789abcdef",
        environment="test",
        secret=secret,
        entry=validated("entry", catalogue.ENTRY, entry),
        app_root=folder,
        app_user=None,
        state_dir=folder / "state",
        services={},
        reason="test",
        operator="test",
    )


def write(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(content, indent=2))
    return path


def of_plaid(client_id: str, secret: str) -> dict[str, Any]:
    return {"mode": "paper", "plaid_client_id": client_id, "plaid_secret": secret}


def test_a_literal_of_plaid_is_turned_with_the_rest_and_a_reference_stays(tmp_path: Path) -> None:
    rotation = make(tmp_path, "plaid")
    path = write(tmp_path, CONFIG, of_plaid("env:PLAID_CLIENT_ID", OLD["plaid"]["PLAID_SECRET"]))
    assert rotation.current_values() == OLD["plaid"]
    record = {"forms": rotation.forms(), "modes": rotation.modes()}
    before = path.read_bytes()
    rotation.replace_values(NEW["plaid"])
    assert json.loads(path.read_text()) == of_plaid("env:PLAID_CLIENT_ID", NEW["plaid"]["PLAID_SECRET"])
    common.check_files_hold_new(rotation, Staged(OLD["plaid"], NEW["plaid"]), decided=True)
    rotation.replace_values(OLD["plaid"], record)
    assert path.read_bytes() == before


def test_a_key_of_a_nested_object_is_turned_in_its_form(tmp_path: Path) -> None:
    rotation = make(tmp_path, "alpaca")
    broker = {"provider": "alpaca", "api_key": OLD["alpaca"]["ALPACA_API_KEY"], "api_secret": "${ALPACA_API_SECRET}"}
    path = write(tmp_path, PHASE2, {"api_key": "not read", "broker": broker})
    config = write(tmp_path, CONFIG, {"api_key": OLD["alpaca"]["ALPACA_API_KEY"], "secret_key": ""})
    rotation.replace_values(NEW["alpaca"])
    turned = broker | {"api_key": NEW["alpaca"]["ALPACA_API_KEY"]}
    assert json.loads(path.read_text()) == {"api_key": "not read", "broker": turned}
    assert json.loads(config.read_text()) == {"api_key": "", "secret_key": ""}
    common.check_files_hold_new(rotation, Staged(OLD["alpaca"], NEW["alpaca"]), decided=True)


@pytest.mark.parametrize("secret", ["plaid", "alpaca"])
def test_files_that_are_absent_or_only_refer_are_right_and_stay(tmp_path: Path, secret: str) -> None:
    rotation = make(tmp_path, secret)
    assert rotation.current_values() == OLD[secret]
    held = [
        write(tmp_path, CONFIG, of_plaid("env:PLAID_CLIENT_ID", "") | {"api_key": ""}),
        write(tmp_path, PHASE2, {"broker": {"api_key": "${ALPACA_API_KEY}", "api_secret": "${ALPACA_API_SECRET}"}}),
    ]
    before = [path.read_bytes() for path in held]
    assert rotation.current_values() == OLD[secret]
    rotation.replace_values(NEW[secret])
    common.check_files_hold_new(rotation, Staged(OLD[secret], NEW[secret]), decided=True)
    assert [path.read_bytes() for path in held] == before


def test_a_literal_that_differs_is_refused_by_file_and_key(tmp_path: Path) -> None:
    rotation = make(tmp_path, "alpaca")
    path = write(tmp_path, PHASE2, {"broker": {"api_key": "PKSOMEBODYELSES00", "api_secret": ""}})
    with pytest.raises(KeyturnError) as caught:
        rotation.current_values()
    assert f"{path} (broker.api_key) holds {fingerprint('PKSOMEBODYELSES00')}; make them equal first" in str(
        caught.value
    )


def test_nothing_is_proved_while_a_file_holds_the_old_value(tmp_path: Path) -> None:
    rotation = make(tmp_path, "plaid")
    staged = Staged(OLD["plaid"], NEW["plaid"])
    rotation.replace_values(NEW["plaid"])
    # a deployment that puts a file of before back
    path = write(tmp_path, CONFIG, of_plaid("", OLD["plaid"]["PLAID_SECRET"]))
    common.check_files(rotation, staged)
    old, new = (fingerprint(held["PLAID_SECRET"]) for held in staged)
    with pytest.raises(KeyturnError) as caught:
        common.check_files_hold_new(rotation, staged, decided=True)
    assert str(caught.value).startswith(
        f"{path} (plaid_secret): PLAID_SECRET is the old value {old} again and not the new {new}: put the new value back"
    )
    path.unlink()
    common.check_files_hold_new(rotation, staged, decided=True)
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in OLD["plaid"].items()))
    with pytest.raises(KeyturnError, match=r"\.env: PLAID_SECRET is the old value"):
        common.check_files_hold_new(rotation, staged, decided=True)
    (tmp_path / ".env").write_text(f"PLAID_CLIENT_ID=x\nPLAID_SECRET={NEW['plaid']['PLAID_SECRET']}\n")
    with pytest.raises(KeyturnError, match=r"\.env: PLAID_CLIENT_ID is .*, neither the old value"):
        common.check_files_hold_new(rotation, staged, decided=True)


def test_no_provider_is_asked_while_two_consumers_disagree(tmp_path: Path) -> None:
    with FakePlaid() as fake:
        hidden: set[str] = set()
        rotation = dataclasses.replace(make(tmp_path, "plaid", fake.url), hide=hidden.update)
        fake.valid = {tuple(NEW["plaid"].values()): "ours"}
        journal = rotation.application.begin(rotation.rotation_id, secret="plaid", retire={"state": "open"})
        values.stage(journal, Staged(OLD["plaid"], NEW["plaid"]))
        rotation.replace_values(NEW["plaid"])
        path = write(tmp_path, CONFIG, of_plaid("", OLD["plaid"]["PLAID_SECRET"]))
        with pytest.raises(KeyturnError, match=r"plaid_secret.*make them equal first"):
            retire.ask(rotation, [journal])
        assert journal.record["retire"] == {"state": "open"}
        path.unlink()
        retire.ask(rotation, [journal])
        assert journal.record["retire"]["verdict"] == "rejected"
        assert OLD["plaid"]["PLAID_SECRET"] in hidden


# -- what no catalogue names -------------------------------------------------------------------------------------------


def test_a_copy_is_named_by_file_and_line_and_nothing_else_is(tmp_path: Path) -> None:
    rotation = make(tmp_path, "plaid")
    secret = OLD["plaid"]["PLAID_SECRET"]
    (tmp_path / ".env.backup_20260101").write_text(f"# before\nPLAID_SECRET={secret}\nA=1\nB={secret}\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/job.py").write_text(f'import os\n\nKEY = "{base64.b64encode(secret.encode()).decode()}"\n')
    (tmp_path / "app.service").write_bytes(b"[Service]\r\nEnvironment=PLAID_SECRET=" + secret.encode() + b"\r\n")
    write(tmp_path, CONFIG, of_plaid("", secret) | {"before": secret})
    (tmp_path / "src/env").write_text((tmp_path / ".env").read_text() + f"# {secret}\n")
    (tmp_path / ".env").unlink()
    (tmp_path / ".env").symlink_to("src/env")
    # neither large, nor linked, nor git's own
    (tmp_path / "large.txt").write_text(secret + "x" * copies.LARGEST_BYTES)
    (tmp_path / "link.py").symlink_to("src/job.py")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/config").write_text(secret)
    os.mkfifo(tmp_path / "pipe.json")
    found, unseen = copies.undeclared([(rotation, OLD["plaid"])])
    assert [str(copy) for copy in found] == [
        f"{tmp_path}/.env.backup_20260101 holds PLAID_SECRET (line 2, 4)",
        f"{tmp_path}/app.service holds PLAID_SECRET (line 2)",
        f"{tmp_path}/config/config.json holds PLAID_SECRET (line 5)",
        f"{tmp_path}/src/env holds PLAID_SECRET (line 3)",
        f"{tmp_path}/src/job.py holds PLAID_SECRET (line 3)",
    ]
    assert unseen == []
    assert copies.undeclared([(rotation, OLD["plaid"])], deadline_seconds=0) == (
        [],
        [f"{tmp_path} was looked through for 0 s only, up to {tmp_path}/.env.backup_20260101"],
    )
    told = examination._file_findings(rotation, OLD["plaid"])
    assert f"{found[-1]}, which is not in the catalogue and stays as it is" in told
    found_in = [line for line in told if "config.json" in line or "env:" in line]
    assert len([line for line in found_in if "others may read it" not in line]) == 3


def test_a_file_that_is_declared_for_one_secret_is_searched_for_another(tmp_path: Path) -> None:
    plaid = make(tmp_path, "plaid")
    token = "hf_" + "c" * 34
    write(tmp_path, CONFIG, of_plaid("", "") | {"token": token})
    other = dataclasses.replace(
        plaid, secret="hf_token", entry=plaid.entry | {"consumers": plaid.entry["consumers"][:1]}
    )
    found, _ = copies.undeclared([(plaid, OLD["plaid"]), (other, {"HF_TOKEN": token})])
    assert [str(copy) for copy in found] == [f"{tmp_path / CONFIG} holds HF_TOKEN (line 5)"]


SECRET = 'old/canary+of"the=secret_key-1'
LINE = f"ALPACA_SECRET_KEY={SECRET}\n"
# how people and programs keep a value beside what Keyturn knows
KEPT: dict[str, str | bytes] = {
    ".env.local": f"export ALPACA_SECRET_KEY='{SECRET}'\n",
    ".env.bak of a Windows shell": LINE.encode("utf-16"),
    ".env.bak of another": codecs.BOM_UTF16_BE + LINE.encode("utf-16-be"),
    "settings.yml": f"broker:\n  - ['{SECRET}']\n",
    "settings.toml": f"secret = '{SECRET}'\n",
    "settings.json": json.dumps({"a": [[{"KEY": SECRET}]]}),
    "settings.json of another language": json.dumps({"secret": SECRET.replace('"', "")}).replace("/", "\\/"),
    "settings.pickle": pickle.dumps({"secret": SECRET}),
    "settings.pickle of old": pickle.dumps({"secret": SECRET}, protocol=0),
    "docker-compose.yml": f"services: {{a: {{environment: [ALPACA_SECRET_KEY={SECRET}]}}}}\n",
    "a.service.d/override.conf": f"[Service]\nEnvironment=ALPACA_SECRET_KEY={SECRET}\n",
    "manifest.yml": f"data: {{secret: {base64.b64encode(SECRET.encode()).decode()}}}\n",
    "manifest.yml, one byte on": base64.b64encode(f"A{LINE}".encode()),
    "manifest.yml, two bytes on": base64.b64encode(f"AB{LINE}".encode()),
    "manifest.yml, for addresses": base64.urlsafe_b64encode(LINE.encode()),
    "curlrc": b"header = Authorization: Basic " + base64.b64encode(f"PKOLDCANARY123456:{SECRET}".encode()),
    "job.sh": f"curl http://127.0.0.1/?secret={urllib.parse.quote(SECRET)}\n",
    "job.py": f"get('http://127.0.0.1/?secret={urllib.parse.quote(SECRET, safe='')}')\n",
}


@pytest.mark.parametrize("how", KEPT)
def test_a_copy_is_found_however_it_is_kept(tmp_path: Path, how: str) -> None:
    rotation = make(tmp_path, "alpaca")
    content = KEPT[how]
    path = tmp_path / how
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    value = SECRET.replace('"', "") if "another language" in how else SECRET
    found, _ = copies.undeclared([(rotation, {"ALPACA_SECRET_KEY": value})])
    assert [copy.name for copy in found] == ["ALPACA_SECRET_KEY"]
    assert copies.undeclared([(rotation, {"ALPACA_SECRET_KEY": value.upper()})]) == ([], []), "another value"


@pytest.mark.parametrize("value", ["your_plaid_secret_here", "short", ""])
def test_a_placeholder_is_no_value(tmp_path: Path, value: str) -> None:
    rotation = make(tmp_path, "plaid")
    (tmp_path / ".env.example").write_text(f"PLAID_SECRET={value}\n")
    assert copies.undeclared([(rotation, {"PLAID_SECRET": value})]) == ([], [])


# -- what a call returns is masked by what it has read ----------------------------------------------------------------


def test_every_value_that_is_read_is_hidden_also_one_that_stops_the_call(tmp_path: Path) -> None:
    hidden: set[str] = set()
    rotation = dataclasses.replace(make(tmp_path, "plaid"), hide=hidden.update)
    write(tmp_path, CONFIG, of_plaid("", "c" * 30))
    with pytest.raises(KeyturnError, match="make them equal first"):
        rotation.current_values()
    assert hidden == {*OLD["plaid"].values(), "c" * 30}
    hidden.clear()
    journal = rotation.application.begin(rotation.rotation_id, secret="plaid")
    values.stage(journal, Staged(OLD["plaid"], NEW["plaid"]))
    rotation.staged_values(journal)
    assert hidden == {*OLD["plaid"].values(), *NEW["plaid"].values()}
    hidden.clear()
    with pytest.raises(KeyturnError):
        stage.run(rotation, NEW["plaid"] | {"PLAID_SECRET": "d" * 30})
    assert "d" * 30 in hidden
