"""Rotations whose values live in a secret store: a real OpenBao by AppRole, and the API of AWS."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from keyturn.base.errors import KeyturnError
from keyturn.base.fingerprint import fingerprint, fingerprints
from keyturn.stores import password_at
from support import stores
from support.brought import bench
from support.canary import Scanner
from support.databases import ADMIN, ADMINS_PASSWORD, Application, PostgreSQL
from support.lab import KEY, Lab
from support.stores import AWS, ROOT_TOKEN, Cut, Wire, spec


@pytest.fixture(scope="module")
def openbao() -> Iterator[str]:
    with stores.openbao() as url:
        yield url


@pytest.fixture
def wire(openbao: str) -> Iterator[Wire]:
    found = Wire(openbao)
    yield found
    found.shutdown()


@pytest.fixture
def secret_id(openbao: str) -> str:
    """Let an administrator give Keyturn its role, with the policy that the project ships."""
    return stores.approle(openbao, "test", "keyturn")


def in_openbao(lab: Lab, wire: Wire) -> None:
    auth = {"method": "approle", "role": "the-role-of-keyturn"}
    lab.variables["keyturn_store"] = {"kind": "openbao", "url": wire.url, "auth": auth}
    lab.write_inventory()


def held(openbao: str, path: str) -> list[str | None]:
    """Return the fingerprint of the current, pending and previous value."""
    found = stores.open_store(spec("openbao", openbao), {"BAO_TOKEN": ROOT_TOKEN}).read(path)
    return [next(iter(version.fingerprints.values())) if version else None for version in found]


def clear(openbao: str, path: str) -> None:
    store: Any = stores.open_store(spec("openbao", openbao), {"BAO_TOKEN": ROOT_TOKEN})
    for name in (path, f"{path}.pending"):
        store._kv.delete_metadata_and_all_versions(path=name, mount_point="secret")


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_a_value_of_each_host_s_own_lives_in_openbao(lab: Lab, openbao: str, wire: Wire, secret_id: str) -> None:
    in_openbao(lab, wire)
    clear(openbao, "test/db_key/here")
    login = {"KEYTURN_STORE_SECRET_ID": secret_id}
    first, path = lab.key(), "test/db_key/here"

    done = lab.play("rotate_db_key", "--check", **login)
    assert done.returncode == 0, done.stdout
    assert held(openbao, path) == [None, None, None]

    done = lab.play("rotate_db_key", "-vvv", "--diff", **login)
    assert done.returncode == 0, done.stdout
    second = lab.key()
    assert held(openbao, path) == [fingerprint(second), None, None]
    assert lab.tokens_read() == lab.tokens
    shown = done.stdout + done.stderr
    assert not [name for name in (first, second, secret_id) if name in shown], "a value was printed"

    # the store goes down between the decision of the hosts and its promotion: forward only
    def hook(number: int, before: bool) -> None:
        command, asked = wire.request
        if command != "GET" and asked.endswith(f"/data/{path}"):
            raise Cut

    wire.hook = hook
    done = lab.play("rotate_db_key", **login)
    assert done.returncode == 2
    assert "OpenBao at" in said(done) and "gives no answer" in said(done)
    third = lab.key()
    assert third != second
    assert held(openbao, path) == [fingerprint(second), fingerprint(third), None]
    assert lab.journals()[-1]["decision"] == "commit"
    assert lab.journals()[-1]["phase"] == "proved"

    wire.hook = lambda number, before: None
    done = lab.play("resume", **login)
    assert done.returncode == 0, done.stdout
    assert held(openbao, path) == [fingerprint(third), None, fingerprint(second)]
    assert lab.key() == third
    assert lab.tokens_read() == lab.tokens


def test_a_rotation_that_goes_back_leaves_nothing_pending(lab: Lab, openbao: str, wire: Wire, secret_id: str) -> None:
    in_openbao(lab, wire)
    path, login = "test/db_key/here", {"KEYTURN_STORE_SECRET_ID": secret_id}
    clear(openbao, path)
    store: Any = stores.open_store(spec("openbao", openbao), {"BAO_TOKEN": ROOT_TOKEN})
    key = lab.key()

    # the store holds another value than the host
    store._kv.create_or_update_secret(path=path, secret={KEY: "of somebody else"}, mount_point="secret")
    done = lab.play("rotate_db_key", **login)
    assert done.returncode == 2
    assert f"the hosts hold {KEY} {fingerprint(key)}; nothing was changed" in said(done)
    assert held(openbao, path) == [fingerprint("of somebody else"), None, None]
    assert lab.key() == key
    assert lab.journals()[-1]["outcome"] == "rolled_back"

    # a controller died between the store and the host
    clear(openbao, path)
    orphan = "20260101T000000Z-0123456789abcdef"
    store.stage(path, orphan, {KEY: "of nobody"})
    done = lab.play("rotate_db_key", **login)
    assert done.returncode == 2
    assert f"run this with keyturn_store_abandoned={orphan}" in said(done)
    assert held(openbao, path)[1] == fingerprint("of nobody")
    done = lab.play("rotate_db_key", "-e", f"keyturn_store_abandoned={orphan}", **login)
    assert done.returncode == 0, done.stdout
    assert held(openbao, path) == [fingerprint(lab.key()), None, None]


def test_without_a_login_nothing_begins(lab: Lab, openbao: str, wire: Wire, secret_id: str) -> None:
    in_openbao(lab, wire)
    clear(openbao, "test/jwt")
    before = lab.env.read_bytes()
    done = lab.play("rotate_jwt_secret")
    assert done.returncode == 2
    assert "the login to OpenBao needs KEYTURN_STORE_SECRET_ID in the environment of the controller" in said(done)
    assert lab.env.read_bytes() == before
    assert lab.journals() == []


def test_a_person_puts_the_new_value_into_the_store(tmp_path: Path, openbao: str, wire: Wire, secret_id: str) -> None:
    with bench(tmp_path) as desk:
        in_openbao(desk.lab, wire)
        clear(openbao, "test/hf_token")
        store: Any = stores.open_store(spec("openbao", openbao), {"BAO_TOKEN": ROOT_TOKEN})
        desk.make("hf_token")
        old, new = desk.current("hf_token"), desk.new["hf_token"][0]
        store._kv.create_or_update_secret(path="test/hf_token", secret={"HF_TOKEN": old[0]}, mount_point="secret")
        store._kv.create_or_update_secret(path="test/hf_token.pending", secret={"HF_TOKEN": new}, mount_point="secret")
        login = {"KEYTURN_STORE_SECRET_ID": secret_id}
        done = desk.lab.play("rotate_hf_token", **login)
        assert done.returncode == 0, done.stdout
        assert new not in done.stdout + done.stderr
        assert desk.is_new("hf_token")
        assert held(openbao, "test/hf_token") == [fingerprint(new), None, fingerprint(old[0])]

        desk.revoke("hf_token", old)
        done = desk.lab.play("confirm_revoked", **login)
        assert done.returncode == 0, done.stdout
        assert held(openbao, "test/hf_token") == [fingerprint(new), None, None]


def test_a_shared_value_lives_in_aws(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "requests.log"
    first = str(dotenv_values(lab.env)["JWT_SECRET_KEY"])
    with stores.secretsmanager(log) as url:
        lab.variables["keyturn_store"] = {"kind": "aws_secretsmanager", "region": "eu-west-1", "url": url}
        lab.write_inventory()
        done = lab.play("rotate_jwt_secret", **AWS)
        assert done.returncode == 0, done.stdout
        done = lab.play("rotate_jwt_secret", **AWS)
        assert done.returncode == 0, done.stdout
        for name, value in AWS.items():
            monkeypatch.setenv(name, value)
        found = stores.open_store(spec("aws_secretsmanager", url)).read("test/jwt")
        assert found.current and found.previous and not found.pending
        now = str(dotenv_values(lab.env)["JWT_SECRET_KEY"])
        assert found.current.fingerprints == fingerprints({"JWT_SECRET_KEY": now})
        assert found.current.rotation_id == lab.journals()[-1]["rotation_id"]
        assert found.previous.fingerprints == lab.journals()[-1]["old"]
        assert now not in done.stdout + done.stderr
    requests = log.read_bytes()
    assert requests.count(b"POST / ") > 10, "AWS has logged nothing"
    held = {"first": first, "previous": dict(found.previous.values)["JWT_SECRET_KEY"], "current": now}
    assert Scanner(held).find(requests) == set()


def test_the_admin_of_an_issuer_logs_in_by_what_the_store_has(
    make_lab: Callable[..., Lab], openbao: str, wire: Wire, secret_id: str
) -> None:
    """No host can read the store, and no host keeps the password: the controller reads it for each call."""
    path, login = "test/database_admin", {"KEYTURN_STORE_SECRET_ID": secret_id}
    clear(openbao, "test/db_password")
    with PostgreSQL() as server:
        app = Application(make_lab(), server, "the first", admin={"user": ADMIN, "stored": "database_admin"})
        done = app.play("rotate")
        assert done.returncode == 2
        assert "its issuer's admin is stored (database_admin), and this environment has no secret store" in said(done)
        in_openbao(app.lab, wire)
        server.give("trader", "somebody-else-has-changed-it")
        done = app.play("rotate", **login)
        assert done.returncode == 2
        assert f"{path}: the store has no `password` there" in said(done), said(done)
        store: Any = stores.open_store(spec("openbao", openbao), {"BAO_TOKEN": ROOT_TOKEN})
        store._kv.create_or_update_secret(path=path, secret={"password": ADMINS_PASSWORD}, mount_point="secret")
        done = app.play("rotate", "-vvv", "--diff", **login)
        assert done.returncode == 0, [line for line in done.stdout.splitlines() if "msg" in line or "ERR" in line]
        assert app.verdict(app.held()) == "accepted"
        kept = [file.read_bytes() for file in app.lab.folder.rglob("*") if file.is_file()]
    assert ADMINS_PASSWORD not in done.stdout + done.stderr
    assert not [one for one in kept if ADMINS_PASSWORD.encode() in one]


def test_the_admin_of_an_issuer_logs_in_by_what_aws_keeps_of_a_database(
    make_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret as RDS makes it for a database: a port that is no text, and a version beside it that AWS has begun to make."""
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    path = "test/database_admin"
    with stores.secretsmanager() as url, PostgreSQL() as server:
        given = spec("aws_secretsmanager", url)
        with pytest.raises(KeyturnError, match=f"{path}: the store has no `password` there"):
            password_at(given, "test", "database_admin")
        client: Any = stores.open_store(given)._client
        beside = {"username": ADMIN, "host": server.host, "port": server.port, "engine": "postgres"}
        client.create_secret(Name=path, SecretString=json.dumps(beside))
        with pytest.raises(KeyturnError, match=f"{path}: the store has no `password` there"):
            password_at(given, "test", "database_admin")
        client.put_secret_value(SecretId=path, SecretString=json.dumps(beside | {"password": ADMINS_PASSWORD}))
        client.put_secret_value(SecretId=path, SecretString='{"password": "of later"}', VersionStages=["AWSPENDING"])
        app = Application(make_lab(), server, "the first", admin={"user": ADMIN, "stored": "database_admin"})
        server.give("trader", "somebody-else-has-changed-it")
        app.lab.variables["keyturn_store"] = {"kind": "aws_secretsmanager", "region": "eu-west-1", "url": url}
        app.lab.write_inventory()
        done = app.play("rotate", **AWS)
        assert done.returncode == 0, said(done)
        assert app.verdict(app.held()) == "accepted"
        kept = [file.read_bytes() for file in app.lab.folder.rglob("*") if file.is_file()]
    assert ADMINS_PASSWORD not in done.stdout + done.stderr
    assert not [one for one in kept if ADMINS_PASSWORD.encode() in one]


# what the policy of one environment lacks, which docs/stores.md shows
ROLE_POLICY = """
path "database/static-creds/test" { capabilities = ["read"] }
path "database/rotate-role/test" { capabilities = ["update"] }
"""


def static_role(openbao: str, server: PostgreSQL) -> tuple[Any, Callable[[], str]]:
    """Have OpenBao manage the password of the role ``trader``; return its client, and a way to what the password is."""
    client: Any = stores.open_store(spec("openbao", openbao), {"BAO_TOKEN": ROOT_TOKEN})._client
    if "database/" not in client.sys.list_mounted_secrets_engines()["data"]:
        client.sys.enable_secrets_engine("database")
    client.sys.create_or_update_policy("static-role", ROLE_POLICY)
    client.auth.approle.create_or_update_approle("keyturn", token_policies=["keyturn", "static-role"], token_ttl="5m")
    url = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{server.port}/postgres?sslmode=disable"
    login = {"connection_url": url, "username": ADMIN, "password": ADMINS_PASSWORD, "allowed_roles": "*"}
    client.write_data(
        "database/config/pg",
        data={"plugin_name": "postgresql-database-plugin", "password_authentication": "scram-sha-256", **login},
    )
    role = {"db_name": "pg", "username": "trader", "rotation_period": "720h"}
    client.write_data("database/static-roles/test", data=role)
    return client, lambda: str(client.read("database/static-creds/test")["data"]["password"])


def test_a_role_that_the_store_turns_is_brought_to_the_hosts_and_proved(
    make_lab: Callable[..., Lab], openbao: str, wire: Wire, secret_id: str
) -> None:
    login = {"KEYTURN_STORE_SECRET_ID": secret_id}
    clear(openbao, "test/db_password")
    with PostgreSQL() as server:
        client, password = static_role(openbao, server)
        app = Application(make_lab(), server, "the first")
        client.write_data("database/rotate-role/test")
        first = password()
        app.lab.env.write_text(app.lab.env.read_text().replace("the first", first))
        source = {
            "kind": "supplied",
            "steps": ["bao write -f database/rotate-role/test"],
            "static_role": "database/test",
        }
        app.entry |= {"source": source, "issuer": None}
        app.catalogue.write_text(json.dumps({"keyturn_secrets": {"db_password": app.entry}}))
        in_openbao(app.lab, wire)

        done = app.play("rotate", "--check", **login)
        assert done.returncode == 0, said(done)
        assert password() == first, "a look has turned it"
        done = app.play("rotate", "-vvv", "--diff", **login)
        assert done.returncode == 0, said(done)
        second = app.held()["DB_PASSWORD"]
        assert second == password() != first
        assert app.verdict({"DB_PASSWORD": first}) == "rejected"
        assert not [one for one in (first, second) if one in done.stdout + done.stderr + server.logged()]

        # the store has turned it by itself, and the application cannot log in any more
        client.write_data("database/rotate-role/test")
        third = password()
        done = app.play("rotate", **login)
        assert done.returncode == 0, said(done)
        assert app.held()["DB_PASSWORD"] == password() != third
    client.sys.disable_secrets_engine("database")
