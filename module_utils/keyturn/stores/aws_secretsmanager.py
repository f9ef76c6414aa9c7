"""AWS Secrets Manager: a version's id is the rotation's, and labels say what it is.

AWSPENDING, AWSCURRENT and AWSPREVIOUS are AWS's own. The first version of a secret gets AWSCURRENT whatever is asked for, so
an empty one (``{}``) is made first, which counts as none. A version cannot be deleted: without a label it is deprecated, and
AWS removes it when it likes. The policy of whoever reads should allow AWSCURRENT only.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..base import shape
from ..base.deadline import within
from ..base.errors import KeyturnError
from ..inputs.catalogue import StoreSpec
from .contract import (
    CALL_SECONDS,
    Denied,
    Held,
    Version,
    conflict,
    must_promote,
    must_stage,
    rotation_of,
    text_in,
    texts,
)

TIMEOUT_SECONDS = 15
PENDING, CURRENT, PREVIOUS = "AWSPENDING", "AWSCURRENT", "AWSPREVIOUS"
DENIED = (
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "UnrecognizedClientException",
)

FORBIDDEN = 403


class AwsSecretsManager:
    """The store; boto3 finds the login by its own rules (a role of the machine or of the pipeline, the environment)."""

    def __init__(self, spec: StoreSpec, _environment: Mapping[str, str]) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise KeyturnError(
                "the store aws_secretsmanager needs the Python package boto3 on the controller: make setup"
            ) from None
        self.where = f"AWS Secrets Manager in {spec['region']}"
        self.kms_key = spec["kms_key"]
        self.tags = [{"Key": name, "Value": str(value)} for name, value in sorted(spec["tags"].items())]
        config = Config(
            connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, retries={"total_max_attempts": 3}
        )
        with self._told("the login"):
            self._client = boto3.client(
                "secretsmanager", region_name=spec["region"], endpoint_url=spec["url"], config=config
            )

    def read(self, path: str) -> Held:
        """Return what the path holds."""
        labels = self._labels(path)
        current, pending, previous = (self._version(path, labels.get(stage)) for stage in (CURRENT, PENDING, PREVIOUS))
        return Held(current, pending if labels.get(PENDING) != labels.get(CURRENT) else None, previous)

    def stage(self, path: str, rotation_id: str, values: Mapping[str, str]) -> bool:
        """Make ``values`` the pending version."""
        held = self.read(path)
        if not must_stage(path, held, rotation_id, values):
            return False
        if CURRENT not in self._labels(path):
            self._make(path)
        written = self._call(
            path,
            "put_secret_value",
            ClientRequestToken=rotation_id,
            SecretString=_text(values),
            VersionStages=[PENDING],
        )
        if written is None:
            raise KeyturnError(
                f"{path}: rotation {rotation_id} has another value in the store already, or the secret is marked for deletion: "
                "start a new rotation, or restore the secret"
            )
        return True

    def promote(self, path: str, rotation_id: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
        """Move the labels; AWS itself refuses when AWSCURRENT is no longer where it was read."""
        labels = self._labels(path)
        changed = must_promote(path, self.read(path), rotation_id, old, new)
        if changed and not self._move(path, CURRENT, rotation_id, labels.get(CURRENT)):
            raise conflict(path, "another since a moment ago", old)
        return self.discard(path, rotation_id) or changed

    def discard(self, path: str, rotation_id: str) -> bool:
        """Take the label from the version of this rotation."""
        if self._labels(path).get(PENDING) != rotation_id:
            return False
        return self._move(path, PENDING, None, rotation_id)

    def destroy_previous(self, path: str, rotation_id: str) -> bool:
        """Take the label from the version that this rotation has replaced."""
        labels = self._labels(path)
        if labels.get(CURRENT) != rotation_id or PREVIOUS not in labels:
            return False
        return self._move(path, PREVIOUS, None, labels[PREVIOUS])

    def may_read(self, path: str) -> bool:
        """Tell whether the login may read a value at ``path``."""
        try:
            self._call(path, "get_secret_value")
        except Denied:
            return False
        return True

    def kept(self, path: str, name: str) -> str:
        """Return one text of what somebody else keeps at ``path``."""
        said = self._call(path, "get_secret_value") or {}
        return text_in(shape.parse(said.get("SecretString", "")), name)

    # -- calls -----------------------------------------------------------------------------------------------------

    def _labels(self, path: str) -> dict[str, str]:
        """Return the version of each label; nothing where there is no such secret."""
        said = self._call(path, "describe_secret") or {}
        return {label: version for version, held in said.get("VersionIdsToStages", {}).items() for label in held}

    def _version(self, path: str, version: str | None) -> Version | None:
        said = self._call(path, "get_secret_value", VersionId=version) if version else None
        if said is None:
            return None
        values = texts(path, shape.parse(said.get("SecretString", "")))
        return Version(values, rotation_of(version or "")) if values else None

    def _make(self, path: str) -> None:
        """Make the secret, and its first version, which is empty."""
        more = {"KmsKeyId": self.kms_key} if self.kms_key else {}
        made = self._call(path, "create_secret", key="Name", SecretString="{}", Tags=self.tags, **more)
        if made is None and CURRENT not in self._labels(path):
            self._call(path, "put_secret_value", SecretString="{}")

    def _move(self, path: str, label: str, to: str | None, origin: str | None) -> bool:
        """Move a label; False where it is not at ``origin`` any more."""
        more = {"MoveToVersionId": to, "RemoveFromVersionId": origin}
        given = {name: version for name, version in more.items() if version}
        return self._call(path, "update_secret_version_stage", VersionStage=label, **given) is not None

    def _call(self, path: str, operation: str, key: str = "SecretId", **parameters: object) -> dict[str, Any] | None:
        """Call AWS; None where it says that the thing is not there, is there already, or is another."""
        with self._told(f"{operation} of {path}"):
            from botocore.exceptions import ClientError

            try:
                return dict(getattr(self._client, operation)(**{key: path}, **parameters))
            except ClientError as error:
                if error.response["Error"]["Code"] in (
                    "ResourceNotFoundException",
                    "ResourceExistsException",
                    "InvalidParameterException",
                    "InvalidRequestException",
                ):
                    return None
                raise

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn whatever the library raises, or cannot make of an answer, into errors that say what to do, without its text."""
        from botocore.exceptions import ClientError

        try:
            with within(CALL_SECONDS):
                yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            # what stands before AWS refuses in words of its own
            if code in DENIED or error.response["ResponseMetadata"]["HTTPStatusCode"] == FORBIDDEN:
                raise Denied(
                    f"{self.where} refuses {what} ({code}): the login has expired, or its policy does not allow this; log in again"
                ) from None
            raise KeyturnError(f"{self.where} cannot do {what} now ({code}): run this again when it can") from None
        except Exception as error:
            raise KeyturnError(
                f"{self.where} gives no answer ({type(error).__name__}, at {what}): see the network, the login, the region and the "
                "url, then run this again"
            ) from None


def _text(values: Mapping[str, str]) -> str:
    return json.dumps(dict(values), sort_keys=True)
