"""Collects evidence on a host, and encrypts it on the controller before it is written: it never lies on a disk in clear."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader

BASE = action_loader.get("keyturn_host", class_only=True)  # from then on module_utils are found

from ansible.module_utils.keyturn.base import durable, seal, timestamps  # noqa: E402
from ansible.module_utils.keyturn.base.errors import KeyturnError  # noqa: E402
from ansible.module_utils.keyturn.records import evidence  # noqa: E402

ASKED_AGAIN = ("alpaca", "plaid")
MISSING = {"missing": {"*": str}}


class ActionModule(BASE):
    """The action of the task. ``folder``, ``recipient`` and ``pass`` are for it, the rest for the module."""

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what was sealed, without the archive."""
        ActionBase.run(self, tmp, task_vars)
        parameters = dict(self._task.args)
        folder, recipient, part = Path(parameters.pop("folder")), parameters.pop("recipient"), parameters.pop("pass")
        host = (task_vars or {})["inventory_hostname"]
        sources = _wanted(folder, host, part)
        if not sources:
            return {"changed": False}
        parameters["sources"] = sources
        result: dict[str, Any] = self._execute_module(self._task.action, parameters, task_vars=task_vars)
        packed = result.pop("archive", None)
        if packed is None:
            return result
        try:
            note = _keep(folder, f"{host}-{part}", base64.b64decode(packed, validate=True), recipient)
        except KeyturnError as error:
            return {"failed": True, "msg": str(error)}
        except ValueError:
            return {"failed": True, "msg": "the host's archive is none"}
        note |= {"host": host, "pass": part, "members": result.get("members", []), "missing": result["missing"]}
        durable.write_json(folder / f"{host}-{part}.json", note)
        return result | {"file": note["file"]}


def _wanted(folder: Path, host: str, part: str) -> list[str]:
    """Return what is still to be collected: all of it before the rotations, and after them what a dead credential kept back."""
    before = durable.read_json(folder / f"{host}-before.json", MISSING)
    if part == "before" or before is None:
        return [] if before else sorted(evidence.SOURCES)
    after = durable.read_json(folder / f"{host}-after.json", MISSING) or before
    return sorted(set(after["missing"]) & set(ASKED_AGAIN))


def _keep(folder: Path, name: str, content: bytes, recipient: str) -> dict[str, Any]:
    sealed = seal.seal(content, recipient)
    durable.make_private_folder(folder)
    file = f"{name}.tar.gz.age"
    durable.write_file(folder / file, sealed)
    at = timestamps.text(datetime.now(UTC))
    return {"file": file, "sha256": seal.digest(sealed), "bytes": len(sealed), "at": at}
