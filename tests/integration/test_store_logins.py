"""The logins of a pipeline to a real OpenBao: its own JWT, over TLS with a private authority, inside a namespace."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from dotenv import dotenv_values
from keyturn.base.fingerprint import fingerprints
from support import stores
from support.lab import Lab
from support.stores import CA, POLICY, ROOT_TOKEN, spec

NAMESPACE, AUDIENCE, REPOSITORY = "trading", "https://openbao.example.org", "trading/trader-ai"


class Pipeline:
    """What signs the tokens of its jobs, as GitHub and GitLab do."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def public(self) -> str:
        """The key that OpenBao is told."""
        return (
            self.key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def token(self, seconds: int = 300, **claims: str) -> str:
        """Return the token of a job."""
        now = int(time.time())
        given = {"aud": AUDIENCE, "sub": "a-job", "repository": REPOSITORY, **claims}
        return jwt.encode({**given, "iat": now - 600, "exp": now + seconds}, self.key, "RS256")


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline()


@pytest.fixture(scope="module")
def site(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An OpenBao with a namespace in which the pipeline may log in for one environment; its URL, and its authority."""
    folder = tmp_path_factory.mktemp("tls")
    with stores.openbao(tls=folder) as url:
        ca = folder / CA
        root: Any = stores.open_store(spec("openbao", url, ca_bundle=str(ca)), {"BAO_TOKEN": ROOT_TOKEN})._client
        root.adapter.post(f"/v1/sys/namespaces/{NAMESPACE}")
        inside: Any = admin(url, ca)._client
        inside.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
        inside.sys.create_or_update_policy("keyturn", POLICY.read_text().replace("ENVIRONMENT", "test"))
        inside.sys.enable_auth_method("jwt", path="pipelines")
        inside.auth.jwt.configure(jwt_validation_pubkeys=[pipeline.public], path="pipelines")
        inside.auth.jwt.create_role(
            name="rotate-test",
            role_type="jwt",
            allowed_redirect_uris=[],
            user_claim="sub",
            bound_audiences=[AUDIENCE],
            bound_claims={"repository": REPOSITORY},
            token_policies=["keyturn"],
            token_ttl="5m",
            path="pipelines",
        )
        yield url, ca


def admin(url: str, ca: Path) -> Any:
    """Return the store as its administrator sees it, inside the namespace."""
    return stores.open_store(spec("openbao", url, ca_bundle=str(ca), namespace=NAMESPACE), {"BAO_TOKEN": ROOT_TOKEN})


def in_store(lab: Lab, site: tuple[str, Path], **more: Any) -> None:
    """Tell the lab's inventory where its values live."""
    url, ca = site
    auth = {"method": "jwt", "role": "rotate-test", "mount": "pipelines"}
    lab.variables["keyturn_store"] = {
        "kind": "openbao", "url": url, "ca_bundle": str(ca), "namespace": NAMESPACE, "auth": auth, **more
    }  # fmt: skip
    lab.write_inventory()


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_a_pipeline_rotates_by_its_own_token(lab: Lab, site: tuple[str, Path], pipeline: Pipeline) -> None:
    in_store(lab, site)
    token = pipeline.token()
    done = lab.play("rotate_jwt_secret", "-vvv", KEYTURN_STORE_JWT=token)
    assert done.returncode == 0, done.stdout
    value = str(dotenv_values(lab.env)["JWT_SECRET_KEY"])
    held = admin(*site).read("test/jwt")
    assert held.current and held.current.fingerprints == fingerprints({"JWT_SECRET_KEY": value})
    assert held.current.rotation_id == lab.journals()[-1]["rotation_id"]
    shown = done.stdout + done.stderr
    assert token not in shown
    assert value not in shown


REFUSED = {
    "another repository": {"repository": "somebody/else"},
    "another audience": {"aud": "https://elsewhere.example.org"},
    "expired": {"seconds": -300},
}


@pytest.mark.covering
@pytest.mark.parametrize("what", REFUSED)
def test_a_token_that_is_not_the_pipeline_s_opens_nothing(
    lab: Lab, site: tuple[str, Path], pipeline: Pipeline, what: str
) -> None:
    in_store(lab, site)
    before = lab.env.read_bytes()
    done = lab.play("rotate_jwt_secret", KEYTURN_STORE_JWT=pipeline.token(**REFUSED[what]))  # type: ignore[arg-type]
    assert done.returncode == 2
    assert "refuses the login by jwt: wrong or used-up credentials, or an unknown role" in said(done)
    assert lab.env.read_bytes() == before
    assert lab.journals() == []


def test_an_authority_that_is_not_known_is_told(
    lab: Lab, site: tuple[str, Path], pipeline: Pipeline, tmp_path: Path
) -> None:
    import certifi

    in_store(lab, site, ca_bundle=certifi.where())
    done = lab.play("rotate_jwt_secret", KEYTURN_STORE_JWT=pipeline.token())
    assert done.returncode == 2
    assert "gives no answer (SSLError" in said(done)
    assert "that the address and ca_bundle are right" in said(done)
    assert lab.journals() == []


def test_without_the_namespace_the_role_is_unknown(lab: Lab, site: tuple[str, Path], pipeline: Pipeline) -> None:
    in_store(lab, site, namespace=None)
    done = lab.play("rotate_jwt_secret", KEYTURN_STORE_JWT=pipeline.token())
    assert done.returncode == 2
    assert "refuses the login by jwt" in said(done)
    assert lab.journals() == []
