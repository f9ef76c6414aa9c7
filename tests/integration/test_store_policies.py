"""The policies that the project ships are enough for every step, and each right in them is needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from keyturn.errors import KeyturnError
from keyturn.fingerprint import fingerprints
from keyturn.stores import open_store
from support import stores
from support.lab import ROOT
from support.stores import AWS, ROOT_TOKEN, Remote, spec

POLICY = (ROOT / "files/openbao-policy.hcl").read_text().replace("ENVIRONMENT", "test")
RIGHTS = [
    (path, right)
    for path, rights in re.findall(r'path "([^"]+)" \{\s+capabilities = \[([^]]+)\]', POLICY)
    for right in re.findall(r'"(\w+)"', rights)
]
FIRST, SECOND, THIRD = (f"2026010{day}T000000Z-0123456789abcdef" for day in (1, 2, 3))
ONE, TWO = {"TOKEN": "one-of-the-tests"}, {"TOKEN": "two-of-the-tests"}


@pytest.fixture(scope="module")
def root() -> Iterator[Any]:
    with stores.openbao() as url:
        yield open_store(spec("openbao", url), {"BAO_TOKEN": ROOT_TOKEN})


def limited(root: Any, policy: str) -> Any:
    """Return the store of a token that has ``policy`` and nothing else."""
    client = root._client
    client.sys.create_or_update_policy("tried", policy)
    made = client.auth.token.create(policies=["tried"], no_default_policy=True, ttl="5m")
    return open_store(spec("openbao", client.url), {"BAO_TOKEN": made["auth"]["client_token"]})


def turn(store: Any, path: str) -> None:
    """Take every step of the contract: a first value, a second one, one that is given up."""
    store.stage(path, FIRST, ONE)
    store.promote(path, FIRST, {}, fingerprints(ONE))
    store.stage(path, SECOND, TWO)
    store.promote(path, SECOND, fingerprints(ONE), fingerprints(TWO))
    store.destroy_previous(path, SECOND)
    store.stage(path, THIRD, ONE)
    store.discard(path, THIRD)
    held = store.read(path)
    assert (held.current and held.current.fingerprints, held.pending, held.previous) == (fingerprints(TWO), None, None)


def test_the_policy_of_openbao_is_enough(root: Any) -> None:
    assert len(RIGHTS) == 6
    turn(limited(root, POLICY), "test/enough")


@pytest.mark.parametrize(("path", "right"), RIGHTS)
def test_each_right_of_openbao_is_needed(root: Any, path: str, right: str) -> None:
    lines, without = POLICY.split("\n"), []
    inside = ""
    for line in lines:
        inside = line if line.startswith("path ") else inside
        if f'"{path}"' in inside and "capabilities" in line:
            rights = [found for found in re.findall(r'"(\w+)"', line) if found != right] or ["deny"]
            line = f"  capabilities = {json.dumps(rights)}"
        without.append(line)
    with pytest.raises(KeyturnError, match="policy does not allow"):
        turn(limited(root, "\n".join(without)), f"test/without-{right}-{path.split('/')[1]}")


def test_the_policy_of_openbao_allows_nothing_else(root: Any) -> None:
    from hvac.exceptions import Forbidden

    for path in ("production/jwt", "testing/jwt", "test"):
        root._kv.create_or_update_secret(path=path, secret=ONE, mount_point="secret")
    turn(root, "test/more")
    store = limited(root, POLICY)
    for path in ("production/jwt", "testing/jwt", "test"):
        with pytest.raises(KeyturnError, match="policy does not allow"):
            store.read(path)
        with pytest.raises(KeyturnError, match="policy does not allow"):
            store.stage(path, FIRST, ONE)
    client, kv, at = store._client, store._kv, {"path": "test/more", "mount_point": "secret"}
    for forbidden in (
        lambda: kv.list_secrets(path="test", mount_point="secret"),
        lambda: kv.delete_metadata_and_all_versions(**at),
        lambda: kv.delete_latest_version_of_secret(**at),
        lambda: kv.undelete_secret_versions(versions=[1], **at),
        lambda: client.sys.list_policies(),
        lambda: client.sys.list_mounted_secrets_engines(),
        lambda: client.auth.token.create(),
    ):
        with pytest.raises(Forbidden):
            forbidden()


def test_the_policy_of_aws_names_the_calls_that_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = json.loads((ROOT / "files/iam-policy.json").read_text())
    allowed, key = (set(statement["Action"]) for statement in policy["Statement"])
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    with stores.secretsmanager() as url:
        remote = Remote("aws_secretsmanager", url, "test/jwt")
        turn(remote.store, remote.path)
        called = {f"secretsmanager:{target.partition('.')[2]}" for target in remote.wire.targets}
        remote.close()
    # AWS asks for it when a secret is made with tags
    assert called | {"secretsmanager:TagResource"} == allowed
    assert key == {"kms:Decrypt", "kms:GenerateDataKey"}  # what its manual says of a key of one's own
    assert all(statement["Resource"] != "*" for statement in policy["Statement"])
