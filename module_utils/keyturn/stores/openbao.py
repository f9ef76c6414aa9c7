"""OpenBao and HashiCorp Vault: the secrets engine KV version 2.

``<path>`` holds the current value as its latest version, so that whoever reads it needs to know nothing of Keyturn, and
the previous value as the version before. ``<path>.pending`` holds the value of a rotation with its id, in one write: custom
metadata is a second call, and says the same for people.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from ..base import shape
from ..base.deadline import within
from ..base.errors import KeyturnError
from ..base.shown import harmless
from ..inputs.catalogue import StoreSpec
from .contract import (
    BY_HAND,
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

if TYPE_CHECKING:
    import hvac
    from hvac.api.secrets_engines.kv_v2 import KvV2

TIMEOUT_SECONDS = 15
PENDING = ".pending"
# what is taken of the metadata of a path
METADATA = {
    "current_version": int,
    "versions": {"*": {"destroyed": bool, "deletion_time?": (None, str)}},
    "custom_metadata": (None, {"*": str}),
    "delete_version_after": str,
}
OWNER = "keyturn_rotation_id"


class _Known(NamedTuple):
    """The metadata of a path: the number of its latest version (0 where there has never been one), all versions, and labels.

    ``lasts`` tells whether the store keeps a version until somebody ends it.
    """

    number: int = 0
    versions: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    labels: Mapping[str, str] = MappingProxyType({})
    lasts: bool = True


class _Latest(NamedTuple):
    """The latest version of a path: its number, its data, and the labels of the path."""

    number: int
    data: dict[str, str] | None
    labels: Mapping[str, str]


class Auth(TypedDict):
    """How the controller logs in: ``auth`` of ``keyturn_store``."""

    method: str
    mount: str
    role: str | None


class OpenBao:
    """The store, logged in."""

    def __init__(self, spec: StoreSpec, environment: Mapping[str, str]) -> None:
        self.mount = spec["mount"]
        self.where = f"OpenBao at {spec['url']}"
        try:
            import hvac

            from . import http_session
        except ImportError:
            raise KeyturnError(
                "the store openbao needs the Python package hvac on the controller: make setup"
            ) from None
        self._client = hvac.Client(
            url=spec["url"],
            token="",  # not what a file in the home folder says
            namespace=spec["namespace"],
            session=http_session.session(spec["url"], spec["ca_bundle"] or True),
            timeout=TIMEOUT_SECONDS,
        )
        auth = spec["auth"]
        with self._told(f"the login by {auth['method']}"):
            LOGINS[auth["method"]](self._client, auth, environment)

    def read(self, path: str) -> Held:
        """Return what the path holds."""
        current, pending = self._latest(path), self._pending(path)
        previous = self._data(path, current.number - 1) if current.data else None
        return Held(
            Version(current.data, _writer(current)) if current.data else None,
            Version(_values(pending.data), rotation_of(pending.data.get(OWNER, ""))) if pending.data else None,
            Version(previous, "") if previous else None,
        )

    def stage(self, path: str, rotation_id: str, values: Mapping[str, str]) -> bool:
        """Make ``values`` the pending version."""
        pending = self._pending(path)
        changed = must_stage(path, self.read(path), rotation_id, values)
        if changed:
            data = {**values, OWNER: rotation_id}
            if not self._write(path + PENDING, data, pending.number):
                raise KeyturnError(
                    f"{path}: another rotation has staged a value in the store just now: see which, then repeat"
                )
        self._label(path + PENDING, rotation_id, Version(values, rotation_id))
        for one in (path + PENDING, path):
            if (known := self._metadata(one)).number and not known.lasts:
                self.discard(path, rotation_id)
                raise KeyturnError(
                    f"{one}: the store deletes what it holds there after a time: set delete_version_after of the mount and of the "
                    f"path to 0s, and write the current value anew ({BY_HAND}); no host has learned the new one"
                )
        return changed

    def promote(self, path: str, rotation_id: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
        """Make the pending version current, by check-and-set."""
        before, held = self._latest(path), self.read(path)
        changed = must_promote(path, held, rotation_id, old, new)
        number = before.number
        if changed and held.pending is not None:
            if not self._write(path, dict(held.pending.values), number):
                raise conflict(path, "another since a moment ago", old)
            number += 1
        if changed or (held.current is not None and held.current.rotation_id != rotation_id):
            self._label(path, rotation_id, held.pending or held.current, str(number))
        # two versions back there is no previous one any more
        self._destroy(path, range(1, number - 1))
        return self.discard(path, rotation_id) or changed

    def discard(self, path: str, rotation_id: str) -> bool:
        """Destroy the pending version that was read: no other can have come in its place."""
        pending = self._pending(path)
        if pending.data is None or pending.data.get(OWNER) != rotation_id:
            return False
        self._destroy(path + PENDING, [pending.number])
        return True

    def destroy_previous(self, path: str, rotation_id: str) -> bool:
        """Destroy all versions but the current one, where this rotation wrote that."""
        current = self._latest(path)
        if _writer(current) != rotation_id:
            return False
        return self._destroy(path, range(1, current.number))

    def may_read(self, path: str) -> bool:
        """Tell whether the login may read a value at ``path``."""
        try:
            self._read(path, self._kv.read_secret_version, raise_on_deleted_version=True)
        except Denied:
            return False
        return True

    def kept(self, path: str, name: str) -> str:
        """Return one text of what somebody else keeps at ``path``."""
        said = self._read(path, self._kv.read_secret_version, raise_on_deleted_version=True)
        return text_in(said.get("data"), name)

    # -- calls -----------------------------------------------------------------------------------------------------

    def _pending(self, path: str) -> _Latest:
        return self._latest(path + PENDING)

    def _latest(self, path: str) -> _Latest:
        known = self._metadata(path)
        return _Latest(known.number, self._data(path, known.number), known.labels)

    def _metadata(self, path: str) -> _Known:
        said = self._read(path, self._kv.read_secret_metadata)
        if not said:
            return _Known()
        with self._told(path):
            if any(shape.misfits("", METADATA, said)):
                raise ValueError
            number, versions = said["current_version"], said["versions"]
            deleted = [said["delete_version_after"] != "0s", versions.get(str(number), {}).get("deletion_time")]
            return _Known(number, versions, said["custom_metadata"] or {}, not any(deleted))

    def _data(self, path: str, number: int) -> dict[str, str] | None:
        if number < 1:
            return None
        said = self._read(path, self._kv.read_secret_version, version=number, raise_on_deleted_version=True)
        return texts(path, said.get("data")) if said else None

    def _read(self, path: str, call: Callable[..., Mapping[str, Any]], **given: object) -> dict[str, Any]:
        """Return what a call that reads answers, nothing where there is nothing at the path."""
        from hvac import exceptions

        with self._told(path), contextlib.suppress(exceptions.InvalidPath):
            return dict(call(path=path, mount_point=self.mount, **given)["data"])
        return {}

    @functools.cached_property
    def _kv(self) -> KvV2:
        """The engine, when the mount has been seen to be one: others take a value, and do not give it back."""
        try:
            with self._told(f"the mount {self.mount}"):
                mount = self._client.adapter.get(url=f"/v1/sys/internal/ui/mounts/{self.mount}")["data"]
                version = (mount["options"] or {}).get("version", "")
                seen = tuple(harmless(str(one)) for one in (mount["path"].strip("/"), mount["type"], version))
        except Denied:
            raise Denied(
                f"{self.where} refuses the mount {self.mount} (keyturn_store.mount): there is none of this name, or the login has "
                "expired, or its policy does not allow this"
            ) from None
        if seen != (self.mount.strip("/"), "kv", "2"):
            raise KeyturnError(
                f"{self.where} has no mount {self.mount} of KV version 2 (keyturn_store.mount): {seen[0]} is of the kind {seen[1]}"
                f"{', version ' + seen[2] if seen[2] else ''}. Name the mount alone, the rest of a path is keyturn_store.prefix; "
                "give Keyturn a mount of its own, since to make version 2 of version 1 moves the paths of all who read it"
            )
        return self._client.secrets.kv.v2

    def _write(self, path: str, data: dict[str, str], number: int) -> bool:
        """Write the version after ``number``; False where another one stands there by now."""
        from hvac import exceptions

        with self._told(path):
            try:
                self._kv.create_or_update_secret(path=path, secret=data, cas=number, mount_point=self.mount)
                return True
            except exceptions.InvalidRequest:
                if self._metadata(path).number == number:
                    raise
                return False

    def _label(self, path: str, rotation_id: str, version: Version | None, number: str = "") -> None:
        """Say in the custom metadata which rotation wrote the path, and what: fingerprints only."""
        labels = {"rotation_id": rotation_id, **({"version": number} if number else {})}
        labels |= {f"fingerprint_{name}": shown for name, shown in (version.fingerprints if version else {}).items()}
        with self._told(path):
            self._kv.update_metadata(path=path, custom_metadata=labels, mount_point=self.mount)

    def _destroy(self, path: str, numbers: Collection[int]) -> bool:
        known = self._metadata(path).versions
        left = [int(number) for number, one in known.items() if int(number) in numbers and not one["destroyed"]]
        if left:
            with self._told(path):
                self._kv.destroy_secret_versions(path=path, versions=left, mount_point=self.mount)
        return bool(left)

    def ask(self, path: str) -> Mapping[str, object]:
        """Return what another secrets engine says at a path, empty where there is nothing."""
        with self._told(path):
            said = self._client.read(path)
            return dict(said["data"]) if said else {}

    def tell(self, path: str) -> None:
        """Have another secrets engine do what a path of it stands for."""
        with self._told(path):
            self._client.write_data(path)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn whatever the library raises, or cannot make of an answer, into errors that say what to do, without its text."""
        from hvac import exceptions

        try:
            with within(CALL_SECONDS):
                yield
        except KeyturnError:
            raise
        except (exceptions.Forbidden, exceptions.Unauthorized):
            raise Denied(
                f"{self.where} refuses {what}: the login has expired, or its policy does not allow this; log in again"
            ) from None
        except exceptions.InvalidRequest:
            login = what.startswith("the login")
            why = "wrong or used-up credentials, or an unknown role" if login else "see the settings of mount and path"
            raise KeyturnError(f"{self.where} refuses {what}: {why}") from None
        except Exception as error:
            kind = "gives an answer that is not OpenBao's"
            if isinstance(error, OSError | exceptions.VaultError):
                kind = "gives no answer" if isinstance(error, OSError) else "cannot work now"
            raise KeyturnError(
                f"{self.where} {kind} ({type(error).__name__}, at {what}): see that it runs, is unsealed, and that the address and "
                "ca_bundle are right, then run this again"
            ) from None


def _values(data: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in data.items() if name != OWNER}


def _writer(latest: _Latest) -> str:
    """Return the rotation that wrote the latest version; the metadata may still speak of an earlier one."""
    return (
        rotation_of(latest.labels.get("rotation_id", "")) if latest.labels.get("version") == str(latest.number) else ""
    )


def _needed(environment: Mapping[str, str], *names: str) -> str:
    for name in names:
        if environment.get(name):
            return environment[name]
    raise KeyturnError(f"the login to OpenBao needs {' or '.join(names)} in the environment of the controller")


def _by_token(client: hvac.Client, _auth: Auth, environment: Mapping[str, str]) -> None:
    client.token = _needed(environment, "BAO_TOKEN", "VAULT_TOKEN")


def _by_approle(client: hvac.Client, auth: Auth, environment: Mapping[str, str]) -> None:
    secret_id = _needed(environment, "KEYTURN_STORE_SECRET_ID")
    client.auth.approle.login(role_id=auth["role"], secret_id=secret_id, mount_point=auth["mount"] or "approle")


def _by_jwt(client: hvac.Client, auth: Auth, environment: Mapping[str, str]) -> None:
    said = client.auth.jwt.jwt_login(
        role=auth["role"], jwt=_needed(environment, "KEYTURN_STORE_JWT"), path=auth["mount"] or "jwt"
    )
    client.token = said["auth"]["client_token"]


LOGINS = {"approle": _by_approle, "jwt": _by_jwt, "token": _by_token}
