"""The action ``keyturn_status``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import catalogue, durable
from .. import status as reckoning
from ..ansible_module import validated

ARGUMENTS: dict[str, Any] = {
    "secrets": {"type": "dict", "required": True},
    "hosts": {"type": "dict", "required": True},
    "folder": {"type": "path", "required": True},
}


def run(given: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Reckon and write."""
    secrets = {
        name: validated(f"keyturn_secrets.{name}", catalogue.ENTRY, entry) for name, entry in given["secrets"].items()
    }
    found = reckoning.status(secrets, given["hosts"], datetime.now(UTC))
    if not check_mode:
        folder = Path(given["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        durable.write_json(folder / "status.json", found)
    return {"changed": False, "status": found, "text": reckoning.table(found)}
