"""OpenBao and HashiCorp Vault: the secrets engine KV version 2.

``<path>`` holds the current value as its latest version, so that whoever reads it needs to know nothing of Keyturn, and
the previous value as the version before. ``<path>.pending`` holds the value of a rotation with its id, in one write: custom
metadata is a second call, and says the same for people.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import KeyturnError
from .contract import Denied, Held, Version, conflict, must_promote, must_stage, rotation_of

TIMEOUT_SECONDS = 15
PENDING = ".pending"
OWNER = "keyturn_rotation_id"


class _Latest(NamedTuple):
    """The latest version of a path: its number (0 where there has never been one), its data, and the custom metadata."""

    number: int
    data: dict[str, str] | None
    labels: dict[str, str]


class OpenBao:
    """The store, logged in."""

    def __init__(self, spec: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self.mount = spec["mount"]
        self.where = f"OpenBao at {spec['url']}"
        try:
            import hvac
        except ImportError:
            raise KeyturnError(
                "the store openbao needs the Python package hvac on the controller: make setup"
            ) from None
        self._client = hvac.Client(
            url=spec["url"],
            token="",  # not what a file in the home folder says
            namespace=spec["namespace"],
            verify=spec["ca_bundle"] or True,
            timeout=TIMEOUT_SECONDS,
        )
        self._kv = self._client.secrets.kv.v2
        auth = spec["auth"]
        with self._told(f"the login by {auth['method']}"):
            LOGINS[auth["method"]](self._client, auth, environment)

    def read(self, path: str) -> Held:
        """Return what the path holds."""
        current, pending = self._latest(path), self._pending(path)
        previous = self._data(path, current.number - 1) if current.data and current.number > 1 else None
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
        from hvac import exceptions

        try:
            with self._told(path), contextlib.suppress(exceptions.InvalidPath):
                self._kv.read_secret_version(path=path, mount_point=self.mount, raise_on_deleted_version=True)
        except Denied:
            return False
        return True

    # -- calls -----------------------------------------------------------------------------------------------------

    def _pending(self, path: str) -> _Latest:
        return self._latest(path + PENDING)

    def _latest(self, path: str) -> _Latest:
        known = self._metadata(path)
        number = int(known.get("current_version") or 0)
        return _Latest(number, self._data(path, number), known.get("custom_metadata") or {})

    def _metadata(self, path: str) -> dict[str, Any]:
        from hvac import exceptions

        with self._told(path), contextlib.suppress(exceptions.InvalidPath):
            return dict(self._kv.read_secret_metadata(path=path, mount_point=self.mount)["data"])
        return {}

    def _data(self, path: str, number: int) -> dict[str, str] | None:
        from hvac import exceptions

        if number < 1:
            return None
        with self._told(path), contextlib.suppress(exceptions.InvalidPath):
            said = self._kv.read_secret_version(
                path=path, version=number, mount_point=self.mount, raise_on_deleted_version=True
            )
            return dict(said["data"]["data"])
        return None

    def _write(self, path: str, data: dict[str, str], number: int) -> bool:
        """Write the version after ``number``; False where another one stands there by now."""
        from hvac import exceptions

        with self._told(path):
            try:
                self._kv.create_or_update_secret(path=path, secret=data, cas=number, mount_point=self.mount)
            except exceptions.InvalidRequest:
                return False
            return True

    def _label(self, path: str, rotation_id: str, version: Version | None, number: str = "") -> None:
        """Say in the custom metadata which rotation wrote the path, and what: fingerprints only."""
        labels = {"rotation_id": rotation_id, **({"version": number} if number else {})}
        labels |= {f"fingerprint_{name}": shown for name, shown in (version.fingerprints if version else {}).items()}
        with self._told(path):
            self._kv.update_metadata(path=path, custom_metadata=labels, mount_point=self.mount)

    def _destroy(self, path: str, numbers: Any) -> bool:
        known = self._metadata(path).get("versions", {})
        left = [number for number in numbers if not known.get(str(number), {"destroyed": True})["destroyed"]]
        if left:
            with self._told(path):
                self._kv.destroy_secret_versions(path=path, versions=left, mount_point=self.mount)
        return bool(left)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn the library's exceptions into errors that say what to do, without their text."""
        import requests
        from hvac import exceptions

        try:
            yield
        except exceptions.InvalidPath:
            raise
        except (exceptions.Forbidden, exceptions.Unauthorized):
            raise Denied(
                f"{self.where} refuses {what}: the login has expired, or its policy does not allow this; log in again"
            ) from None
        except exceptions.InvalidRequest:
            if what.startswith("the login"):
                raise KeyturnError(
                    f"{self.where} refuses {what}: wrong or used-up credentials, or an unknown role"
                ) from None
            raise
        except (exceptions.VaultError, requests.RequestException) as error:
            kind = "gives no answer" if isinstance(error, requests.RequestException) else "cannot work now"
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


def _by_token(client: Any, _auth: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    client.token = _needed(environment, "BAO_TOKEN", "VAULT_TOKEN")


def _by_approle(client: Any, auth: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    secret_id = _needed(environment, "KEYTURN_STORE_SECRET_ID")
    client.auth.approle.login(role_id=auth["role"], secret_id=secret_id, mount_point=auth["mount"] or "approle")


def _by_jwt(client: Any, auth: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    said = client.auth.jwt.jwt_login(
        role=auth["role"], jwt=_needed(environment, "KEYTURN_STORE_JWT"), path=auth["mount"] or "jwt"
    )
    client.token = said["auth"]["client_token"]


LOGINS = {"approle": _by_approle, "jwt": _by_jwt, "token": _by_token}
