"""The shape of a catalogue entry, of a service and of a rotation: data for an argument spec, with all legal values.

Each ``kind``, ``format``, ``generator`` and ``manager`` that is legal here has its code in a registry of the same name;
a test holds the two together.
"""

from __future__ import annotations

import re
from typing import Any

from .errors import KeyturnError

Spec = dict[str, dict[str, Any]]

SOURCE: Spec = {
    "kind": {"type": "str", "required": True, "choices": ["generated"]},
    "generator": {"type": "str", "required": True, "choices": ["fernet", "password", "token_urlsafe"]},
}
CONSUMER: Spec = {
    "format": {"type": "str", "required": True, "choices": ["dotenv"]},
    "path": {"type": "path", "required": True},
}
COLUMN: Spec = {
    "table": {"type": "str", "required": True},
    "key": {"type": "str", "required": True},
    "column": {"type": "str", "required": True},
    "plaintext": {"type": "str", "required": True},
}
MIGRATION: Spec = {
    "kind": {"type": "str", "required": True, "choices": ["none", "fernet_sqlite"]},
    "database": {"type": "path"},
    "columns": {"type": "list", "elements": "dict", "options": COLUMN},
}
PROBE: Spec = {
    "kind": {"type": "str", "required": True, "choices": ["fernet_rows", "http", "jwt", "log", "login"]},
    "path": {"type": "str"},
    "patterns": {"type": "list", "elements": "str"},
}
PROBE_REQUIRED_IF = [["kind", "jwt", ["path"]], ["kind", "login", ["path"]], ["kind", "log", ["patterns"]]]
RETIRE: Spec = {"kind": {"type": "str", "required": True, "choices": ["none"]}}

ENTRY: Spec = {
    "title": {"type": "str", "required": True},
    "variables": {"type": "list", "elements": "str", "required": True},
    "source": {"type": "dict", "required": True, "options": SOURCE},
    "value": {"type": "str", "required": True, "choices": ["per_host", "shared"]},
    "switch": {"type": "str", "required": True, "choices": ["rolling", "together"]},
    "overlap": {"type": "str", "required": True, "choices": ["none_needed"]},
    "max_age_days": {"type": "int"},
    "consumers": {"type": "list", "elements": "dict", "required": True, "options": CONSUMER},
    "migration": {
        "type": "dict",
        "required": True,
        "options": MIGRATION,
        "required_if": [["kind", "fernet_sqlite", ["database", "columns"]]],
    },
    "services": {"type": "list", "elements": "str", "required": True},
    "probes": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": PROBE,
        "required_if": PROBE_REQUIRED_IF,
    },
    "sessions": {"type": "str", "default": "kept", "choices": ["kept", "invalidated"]},
    "retire": {"type": "dict", "required": True, "options": RETIRE},
    "downtime_budget_seconds": {"type": "int", "required": True},
}

SERVICE: Spec = {
    "manager": {"type": "str", "required": True, "choices": ["script", "systemd"]},
    "unit": {"type": "str"},
    "start": {"type": "str"},
    "stop": {"type": "str"},
    "health_url": {"type": "str", "required": True},
    "base_url": {"type": "str"},
    "pid_file": {"type": "path"},
    "proof_path": {"type": "str"},
    "health_timeout_seconds": {"type": "int", "default": 30},
    "stop_timeout_seconds": {"type": "int", "default": 30},
    "proof_timeout_seconds": {"type": "int", "default": 60},
}
SERVICE_REQUIRED_IF = [["manager", "script", ["start", "stop"]], ["manager", "systemd", ["unit"]]]

ROTATION: Spec = {
    "rotation_id": {"type": "str", "required": True},
    "environment": {"type": "str", "required": True},
    "secret": {"type": "str", "required": True},
    "entry": {"type": "dict", "required": True, "options": ENTRY},
    "app_root": {"type": "path", "required": True},
    "app_user": {"type": "str"},
    "state_dir": {"type": "path", "required": True},
    "services": {"type": "dict", "required": True},
    "reason": {"type": "str", "required": True},
    "operator": {"type": "str", "required": True},
    "encrypt_plaintext_rows": {"type": "bool", "default": False},
    "allow_empty_tables": {"type": "list", "elements": "str", "default": []},
    "backup_retention_days": {"type": "int", "default": 30},
}


def check_meaning(secret: str, entry: dict[str, Any], services: dict[str, Any]) -> None:
    """Raise KeyturnError for what an argument spec cannot say. ``entry`` has passed ``ENTRY``."""
    where = f"keyturn_secrets.{secret}"
    for name in ("variables", "consumers", "services"):
        if not entry[name]:
            raise KeyturnError(f"{where}: {name} is empty: a rotation needs at least one")
    for name in entry["services"]:
        if name not in services:
            known = ", ".join(sorted(services)) or "none"
            raise KeyturnError(f"{where}: service {name} is not in keyturn_services of this host (it has: {known})")
    if (entry["value"], entry["switch"]) not in (("per_host", "rolling"), ("shared", "together")):
        raise KeyturnError(f"{where}: value per_host goes with switch rolling, and shared with together")
    if entry["migration"]["kind"] == "fernet_sqlite":
        if entry["source"]["generator"] != "fernet" or len(entry["variables"]) != 1:
            raise KeyturnError(f"{where}: migration fernet_sqlite needs the generator fernet and exactly one variable")
        _check_columns(where, entry["migration"]["columns"])
    elif any(probe["kind"] == "fernet_rows" for probe in entry["probes"]):
        raise KeyturnError(f"{where}: probe fernet_rows needs the migration fernet_sqlite")
    for name in entry["services"]:
        if not services[name]["health_url"].startswith(("http://", "https://")):
            raise KeyturnError(f"keyturn_services.{name}: health_url must begin with http:// or https://")


def _check_columns(where: str, columns: list[dict[str, Any]]) -> None:
    if not columns:
        raise KeyturnError(f"{where}: migration.columns is empty: no row would be turned")
    for column in columns:
        name = f"plaintext of {column['table']}.{column['column']}"
        try:
            matches_all = re.search(column["plaintext"], "")
        except re.error as error:
            raise KeyturnError(f"{where}: {name} is no regular expression: {error}") from None
        if matches_all:
            raise KeyturnError(f"{where}: {name} matches everything, so a damaged token would pass for a plaintext")
