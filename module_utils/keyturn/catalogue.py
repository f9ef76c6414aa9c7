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
    "kind": {"type": "str", "required": True, "choices": ["generated", "supplied"]},
    "generator": {"type": "str", "choices": ["fernet", "password", "token_urlsafe"]},
    "steps": {"type": "list", "elements": "str"},
    "shapes": {"type": "dict", "default": {}},
    "may_stay": {"type": "list", "elements": "str", "default": []},
}
SOURCE_REQUIRED_IF = [["kind", "generated", ["generator"]], ["kind", "supplied", ["steps"]]]
PROVIDER: Spec = {
    "kind": {"type": "str", "required": True, "choices": ["alpaca", "huggingface", "plaid"]},
    "url": {"type": "str", "required": True},
    "account": {"type": "str", "choices": ["live", "paper"]},
}
PROVIDER_REQUIRED_IF = [["kind", "alpaca", ["account"]]]
CONSUMER: Spec = {
    "format": {"type": "str", "required": True, "choices": ["dotenv", "json"]},
    "path": {"type": "path", "required": True},
    "keys": {"type": "dict"},
    "form": {"type": "str", "choices": ["environment", "literal", "reference"]},
    "optional": {"type": "bool", "default": False},
}
CONSUMER_REQUIRED_IF = [["format", "json", ["keys", "form"]]]
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
    "kind": {
        "type": "str",
        "required": True,
        "choices": ["fernet_rows", "http", "jwt", "log", "log_line", "login", "provider"],
    },
    "path": {"type": "str"},
    "service": {"type": "str"},
    "pattern": {"type": "str"},
    "patterns": {"type": "list", "elements": "str"},
}
PROBE_REQUIRED_IF = [
    ["kind", "jwt", ["path"]],
    ["kind", "login", ["path"]],
    ["kind", "log", ["patterns"]],
    ["kind", "log_line", ["service", "pattern"]],
]
GUARD: Spec = {"kind": {"type": "str", "required": True, "choices": ["none", "open_orders"]}}
RETIRE: Spec = {
    "kind": {"type": "str", "required": True, "choices": ["none", "revoke"]},
    "steps": {"type": "list", "elements": "str"},
}

ENTRY: Spec = {
    "title": {"type": "str", "required": True},
    "variables": {"type": "list", "elements": "str", "required": True},
    "aliases": {"type": "dict", "default": {}},
    "source": {"type": "dict", "required": True, "options": SOURCE, "required_if": SOURCE_REQUIRED_IF},
    "provider": {"type": "dict", "options": PROVIDER, "required_if": PROVIDER_REQUIRED_IF},
    "value": {"type": "str", "required": True, "choices": ["per_host", "shared"]},
    "switch": {"type": "str", "required": True, "choices": ["rolling", "together"]},
    "overlap": {"type": "str", "required": True, "choices": ["both", "none", "none_needed"]},
    "max_age_days": {"type": "int"},
    "consumers": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": CONSUMER,
        "required_if": CONSUMER_REQUIRED_IF,
    },
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
    "guard": {"type": "dict", "default": {"kind": "none"}, "options": GUARD},
    "retire": {
        "type": "dict",
        "required": True,
        "options": RETIRE,
        "required_if": [["kind", "revoke", ["steps"]]],
    },
    "downtime_budget_seconds": {"type": "int", "required": True},
}

SERVICE: Spec = {
    "manager": {"type": "str", "required": True, "choices": ["script", "systemd"]},
    "unit": {"type": "str"},
    "start": {"type": "str"},
    "stop": {"type": "str"},
    "health_url": {"type": "str"},
    "health_line": {"type": "str"},
    "base_url": {"type": "str"},
    "pid_file": {"type": "path"},
    "log_file": {"type": "path"},
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
    "overrides": {"type": "dict", "default": {}},
    "error_lines": {"type": "dict", "default": {}},
    "backup_retention_days": {"type": "int", "default": 30},
    "delivery": {"type": "str", "default": "dotenv", "choices": ["dotenv", "systemd_credential"]},
}

AUTH: Spec = {
    "method": {"type": "str", "default": "token", "choices": ["approle", "jwt", "token"]},
    "mount": {"type": "str", "default": ""},
    "role": {"type": "str"},
}
AUTH_REQUIRED_IF = [["method", "approle", ["role"]], ["method", "jwt", ["role"]]]
STORE: Spec = {
    "kind": {"type": "str", "required": True, "choices": ["aws_secretsmanager", "dotenv", "openbao"]},
    "prefix": {"type": "str", "default": ""},
    "url": {"type": "str"},
    "mount": {"type": "str", "default": "secret"},
    "namespace": {"type": "str"},
    "ca_bundle": {"type": "path"},
    "auth": {"type": "dict", "default": {"method": "token"}, "options": AUTH, "required_if": AUTH_REQUIRED_IF},
    "region": {"type": "str"},
    "kms_key": {"type": "str"},
    "tags": {"type": "dict", "default": {}},
}
STORE_REQUIRED_IF = [["kind", "openbao", ["url"]], ["kind", "aws_secretsmanager", ["region"]]]


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
    if (entry["value"], entry["switch"]) == ("per_host", "together"):
        raise KeyturnError(f"{where}: value per_host goes with switch rolling")
    if (entry["value"], entry["switch"]) == ("shared", "rolling") and entry["overlap"] != "both":
        raise KeyturnError(
            f"{where}: a shared value is switched rolling only where old and new are valid at once (overlap: both)"
        )
    if entry["consumers"][0]["keys"] is not None or entry["consumers"][0]["optional"]:
        raise KeyturnError(f"{where}: the first consumer must be a file that is there and holds every value")
    _check_supplied(where, entry)
    _check_names(where, entry)
    if entry["migration"]["kind"] == "fernet_sqlite":
        if entry["source"]["generator"] != "fernet" or len(entry["variables"]) != 1:
            raise KeyturnError(f"{where}: migration fernet_sqlite needs the generator fernet and exactly one variable")
        _check_columns(where, entry["migration"]["columns"])
    elif any(probe["kind"] == "fernet_rows" for probe in entry["probes"]):
        raise KeyturnError(f"{where}: probe fernet_rows needs the migration fernet_sqlite")
    for name in entry["services"]:
        _check_health(name, services[name])


def _check_health(name: str, service: dict[str, Any]) -> None:
    url, line = service["health_url"], service["health_line"]
    if (url is None) == (line is None):
        raise KeyturnError(f"keyturn_services.{name}: give health_url, or health_line for a service without HTTP")
    if url is not None and not url.startswith(("http://", "https://")):
        raise KeyturnError(f"keyturn_services.{name}: health_url must begin with http:// or https://")
    if line is not None and service["manager"] == "script" and not (service["pid_file"] and service["log_file"]):
        raise KeyturnError(f"keyturn_services.{name}: health_line needs pid_file and log_file with the manager script")


def _check_supplied(where: str, entry: dict[str, Any]) -> None:
    provider = entry["provider"]
    if entry["source"]["kind"] == "supplied" and (provider is None or entry["value"] != "shared"):
        raise KeyturnError(f"{where}: source supplied needs a provider that proves the value, and value shared")
    needs = [probe["kind"] for probe in entry["probes"] if probe["kind"] in ("provider", "log_line")]
    if provider is None and (needs or entry["guard"]["kind"] != "none" or entry["retire"]["kind"] != "none"):
        raise KeyturnError(f"{where}: the probes provider and log_line, a guard and retire revoke need a provider")
    if provider is None:
        return
    from .providers import PROVIDERS  # only the controller asks this, and every call on a host imports the rest

    credential = PROVIDERS[provider["kind"]].credential
    if len(entry["variables"]) != len(credential):
        raise KeyturnError(f"{where}: variables must be, in this order, {' and '.join(credential)} of the provider")
    if not provider["url"].startswith(("http://", "https://")):
        raise KeyturnError(f"{where}: the provider's url must begin with http:// or https://")


def _check_names(where: str, entry: dict[str, Any]) -> None:
    """Refuse names in the entry that stand for nothing."""
    named = {
        "aliases": entry["aliases"].values(),
        "source.shapes": entry["source"]["shapes"],
        "source.may_stay": entry["source"]["may_stay"],
        "consumers.keys": [name for consumer in entry["consumers"] for name in consumer["keys"] or {}],
    }
    for place, names in named.items():
        unknown = sorted(set(names) - set(entry["variables"]))
        if unknown:
            raise KeyturnError(f"{where}: {place} names {', '.join(unknown)}, which is none of its variables")
    for probe in entry["probes"]:
        if probe["kind"] == "log_line" and probe["service"] not in entry["services"]:
            raise KeyturnError(f"{where}: probe log_line names {probe['service']}, which is none of its services")


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
