"""The policies that the project ships are enough for every step, and each right in them is needed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
import requests
from keyturn.base.errors import KeyturnError
from keyturn.base.fingerprint import fingerprints
from keyturn.stores import open_store
from moto.iam.access_control import IAMPolicy, PermissionResult
from support import stores
from support.lab import ROOT, Lab
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


IAM = (ROOT / "files/iam-policy.json").read_text()
for name, value in {"REGION": "eu-west-1", "ACCOUNT": "123456789012", "ENVIRONMENT": "test"}.items():
    IAM = IAM.replace(name, value)
# AWS asks for it when a secret is made with tags, and moto does not
WITH_TAGS = "secretsmanager:TagResource"
ACTIONS = [action for action in json.loads(IAM)["Statement"][0]["Action"] if action != WITH_TAGS]


def permits(action: str, path: str) -> bool:
    """Ask moto's evaluator of policies what ours says of an action on the secret at ``path``."""
    arn = f"arn:aws:secretsmanager:eu-west-1:123456789012:secret:{path}-AbCdEf"
    return IAMPolicy(IAM).is_action_permitted(action, arn) is PermissionResult.PERMITTED


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with stores.secretsmanager() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in AWS.items():
            patch.setenv(name, value)
        yield url


def test_the_policy_of_aws_permits_each_call_on_its_secret_and_no_other(aws: str) -> None:
    remote = Remote("aws_secretsmanager", aws, "test/jwt")
    turn(remote.store, remote.path)
    calls = {(f"secretsmanager:{operation}", path) for operation, path in remote.wire.aws_calls}
    remote.close()
    assert {action for action, _ in calls} == set(ACTIONS)
    assert [call for call in calls if not permits(*call)] == []
    assert permits(WITH_TAGS, "test/jwt")
    for path in ("production/jwt", "testing/jwt", "test", "jwt"):
        assert [action for action in (*ACTIONS, WITH_TAGS) if permits(action, path)] == []
    for action in ("DeleteSecret", "ListSecrets", "PutResourcePolicy", "ReplicateSecretToRegions", "UpdateSecret"):
        assert not permits(f"secretsmanager:{action}", "test/jwt")
    key = json.loads(IAM)["Statement"][1]
    assert set(key["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey"}  # what its manual says of a key of one's own
    assert key["Resource"] != "*"


@pytest.fixture
def user(aws: str) -> Iterator[Callable[[list[str]], Any]]:
    """From here on AWS asks who calls and what the caller may: a user of one's own with the given actions."""
    iam = boto3.client("iam", region_name="eu-west-1", endpoint_url=aws)
    iam.create_user(UserName="keyturn")
    key = iam.create_access_key(UserName="keyturn")["AccessKey"]

    def store(actions: list[str]) -> Any:
        enforce(aws, "inf")
        # moto does not tell secrets apart when it asks for a policy
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        iam.put_user_policy(UserName="keyturn", PolicyName="keyturn", PolicyDocument=json.dumps(document))
        enforce(aws, "0")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers the login
            patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
            patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
            return open_store(spec("aws_secretsmanager", aws))

    yield store
    enforce(aws, "inf")
    iam.delete_user_policy(UserName="keyturn", PolicyName="keyturn")
    iam.delete_access_key(UserName="keyturn", AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName="keyturn")


def enforce(aws: str, after: str) -> None:
    """Let AWS ask for a policy after so many calls."""
    requests.post(f"{aws}/moto-api/reset-auth", data=after, timeout=10).raise_for_status()


def test_the_actions_of_aws_are_enough(user: Callable[[list[str]], Any]) -> None:
    turn(user(ACTIONS), "test/enough")


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_of_aws_is_needed(user: Callable[[list[str]], Any], action: str) -> None:
    store = user([one for one in ACTIONS if one != action])
    with pytest.raises(KeyturnError, match="policy does not allow"):
        turn(store, f"test/without-{action.partition(':')[2]}")
    assert store.may_read("test/none") == (action != "secretsmanager:GetSecretValue")


# -- what check_storage.yml says of a login ------------------------------------------------------------------------

EVERYTHING = 'path "secret/data/*" {\n  capabilities = ["read"]\n}\n'
BEGINS_ALIKE = 'path "secret/data/test*" {\n  capabilities = ["read"]\n}\n'


def rights(lab: Lab, url: str, token: str, production: bool = False) -> list[tuple[str, str]]:
    """Return severity and text of what is found about the login."""
    (lab.reports / "staging").mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAO_TOKEN", token)
        said = lab.action(
            "storage_report",
            hosts={},
            secrets={},
            environment="test",
            reports=str(lab.reports),
            production=production,
            store={"kind": "openbao", "url": url},
        )
    found = said["findings"]["controller"]
    assert {one["rule"] for one in found} <= {"least privilege"}
    return [(one["severity"], one["what"]) for one in found]


def test_a_login_that_reads_other_environments_is_found(lab: Lab, root: Any) -> None:
    url = root._client.url

    def token(policy: str) -> str:
        return str(limited(root, policy)._client.token)

    others = [f"the store's login for test may read the environment {one} too" for one in ("staging", "test-another")]
    assert rights(lab, url, token(POLICY), production=True) == []
    assert rights(lab, url, token(POLICY + BEGINS_ALIKE)) == [("warning", others[1])]
    assert rights(lab, url, token(POLICY + EVERYTHING)) == [("warning", other) for other in others]
    assert rights(lab, url, ROOT_TOKEN, production=True) == [("error", other) for other in others]
    ((severity, what),) = rights(lab, url, token('path "secret/data/staging/*" {\n  capabilities = ["read"]\n}\n'))
    assert severity == "warning"
    assert "may not read test either: it has expired, or is another environment's" in what
    ((severity, what),) = rights(lab, url, "")
    assert severity == "warning"
    assert "the login to OpenBao needs BAO_TOKEN or VAULT_TOKEN in the environment of the controller" in what
