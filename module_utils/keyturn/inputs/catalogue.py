"""The shape of a catalogue entry, of a service and of a rotation: data for an argument spec, with all legal values.

Each ``kind``, ``format``, ``generator`` and ``manager`` that is legal here has its code in a registry of the same name;
a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..ground.rows import KINDS
from ..issuers import ISSUERS, STRATEGIES

Spec = dict[str, dict[str, object]]
# What a spec below has validated. The spec is its shape, and a type with the same names would be a second one.
Entry = Mapping[str, Any]
ServiceSpec = Mapping[str, Any]
ProbeSpec = Mapping[str, Any]
StoreSpec = Mapping[str, Any]

SOURCE: Spec = {
    "kind": {"type": "str", "required": True, "choices": ["generated", "supplied"]},
    "generator": {"type": "str", "choices": ["fernet", "hex", "password", "token_urlsafe"]},
    "steps": {"type": "list", "elements": "str"},
    "shapes": {"type": "dict", "default": {}},
    "may_stay": {"type": "list", "elements": "str", "default": []},
    "static_role": {"type": "str"},
}
SOURCE_REQUIRED_IF = [["kind", "generated", ["generator"]], ["kind", "supplied", ["steps"]]]
ANSWER: Spec = {
    "verdict": {"type": "str", "required": True, "choices": ["accepted", "rejected"]},
    "status": {"type": "list", "elements": "int", "required": True},
    "says": {"type": "str"},
}
PROVIDER: Spec = {
    "kind": {
        "type": "str",
        "required": True,
        "choices": ["alpaca", "command", "http", "huggingface", "plaid", "postgresql", "smtp"],
    },
    "url": {"type": "str"},
    "account": {"type": "str", "choices": ["live", "paper"]},
    "user": {"type": "str"},
    "tls": {"type": "bool", "default": True},
    "ca_bundle": {"type": "path"},
    "method": {"type": "str", "default": "GET", "choices": ["GET", "HEAD", "POST"]},
    "headers": {"type": "dict", "default": {}},
    "body": {"type": "str"},
    "fields": {"type": "list", "elements": "str"},
    "answers": {"type": "list", "elements": "dict", "options": ANSWER},
    "identity": {"type": "str"},
    "command": {"type": "list", "elements": "str"},
    "seconds": {"type": "int", "default": 30},
    "system_user": {"type": "str"},
}
PROVIDER_REQUIRED_IF = [
    *(["kind", kind, ["url"]] for kind in ("alpaca", "http", "huggingface", "plaid", "postgresql", "smtp")),
    ["kind", "alpaca", ["account"]],
    # it reads what the application's user may have written: as root only where an entry says so
    ["kind", "command", ["command", "fields", "system_user"]],
    ["kind", "http", ["answers", "fields"]],
]
ADMIN: Spec = {
    "user": {"type": "str"},
    "system_user": {"type": "str"},
    "server_user": {"type": "str"},
    "socket": {"type": "path", "default": "/var/run/postgresql"},
    "port": {"type": "int"},
    "password_file": {"type": "path"},
    "stored": {"type": "str"},
}
REQUEST: Spec = {
    "method": {"type": "str", "required": True, "choices": ["DELETE", "PATCH", "POST", "PUT"]},
    "url": {"type": "str", "required": True},
    "headers": {"type": "dict", "default": {}},
    "body": {"type": "str"},
    "answers": {"type": "list", "elements": "dict", "required": True, "options": ANSWER},
}
ISSUER: Spec = {
    "kind": {"type": "str", "required": True, "choices": sorted(ISSUERS)},
    "strategy": {"type": "str", "required": True, "choices": list(STRATEGIES)},
    "users": {"type": "list", "elements": "str", "default": []},
    "admin": {"type": "dict", "options": ADMIN, "required_one_of": [["system_user", "password_file", "stored"]]},
    "valid_days": {"type": "int"},
    "set": {"type": "list", "elements": "str"},
    "unset": {"type": "list", "elements": "str"},
    "retire": {"type": "list", "elements": "str"},
    "seconds": {"type": "int", "default": 60},
    "system_user": {"type": "str"},
    "requests": {
        "type": "dict",
        "options": {call: {"type": "dict", "options": REQUEST} for call in ("set", "unset", "retire")},
    },
    "tls": {"type": "bool", "default": True},
    "sessions": {"type": "str", "default": "kept", "choices": ["ended", "kept"]},
}
CONSUMER: Spec = {
    "format": {"type": "str", "required": True, "choices": ["dotenv", "file", "ini", "json", "yaml"]},
    "path": {"type": "path", "required": True},
    "keys": {"type": "dict"},
    "form": {"type": "str", "choices": ["environment", "kept", "literal", "reference"]},
    "reference": {"type": "str", "default": "env:NAME"},
    "section": {"type": "str"},
    "inside": {"type": "str", "choices": ["url"]},
    "optional": {"type": "bool", "default": False},
}
CONSUMER_REQUIRED_IF = [
    ["format", "ini", ["keys", "section"]],
    ["format", "json", ["keys", "form"]],
    ["format", "yaml", ["keys"]],
]
MIGRATION: Spec = {
    "kind": {"type": "str", "required": True, "choices": ["none", *KINDS]},
    **{name: dict(option) for kind in KINDS.values() for name, option in kind.options.items()},
}
MIGRATION_REQUIRED_IF = [["kind", name, kind.required] for name, kind in KINDS.items()]
CHECK: Spec = {
    "command": {"type": "list", "elements": "str", "required": True},
    "seconds": {"type": "int", "default": 60},
}
LINE: Spec = {
    "level": {"type": "str"},
    "logger": {"type": "str"},
    "message": {"type": "str", "required": True},
}
PROBE: Spec = {
    "kind": {
        "type": "str",
        "required": True,
        "choices": sorted(
            {"command", "http", "jwt", "log", "log_line", "login", "provider", *(kind.probe for kind in KINDS.values())}
        ),
    },
    "path": {"type": "str"},
    "service": {"type": "str"},
    "checks": {"type": "list", "elements": "dict", "options": CHECK},
    "line": {"type": "dict", "options": LINE, "required_together": [["level", "logger"]]},
    "lines": {"type": "list", "elements": "dict", "options": LINE, "required_together": [["level", "logger"]]},
}
PROBE_REQUIRED_IF = [
    ["kind", "command", ["checks"]],
    ["kind", "jwt", ["path"]],
    ["kind", "login", ["path"]],
    ["kind", "log", ["lines"]],
    ["kind", "log_line", ["service", "line"]],
]
GUARD: Spec = {"kind": {"type": "str", "required": True, "choices": ["none", "open_orders"]}}
RETIRE: Spec = {
    "kind": {"type": "str", "required": True, "choices": ["none", "revoke"]},
    "steps": {"type": "list", "elements": "str"},
}

# how a consumer writes a list of keys, and for how long nobody may write under the old one once no row is under it
KEY_LIST: Spec = {
    "separator": {"type": "str", "default": ","},
    "grace_seconds": {"type": "int", "default": 10},
}
ENTRY: Spec = {
    "title": {"type": "str", "required": True},
    "variables": {"type": "list", "elements": "str", "required": True},
    "aliases": {"type": "dict", "default": {}},
    "source": {"type": "dict", "required": True, "options": SOURCE, "required_if": SOURCE_REQUIRED_IF},
    "provider": {"type": "dict", "options": PROVIDER, "required_if": PROVIDER_REQUIRED_IF},
    "issuer": {"type": "dict", "options": ISSUER},
    "value": {"type": "str", "required": True, "choices": ["per_host", "shared"]},
    "switch": {"type": "str", "required": True, "choices": ["rolling", "together"]},
    "overlap": {"type": "str", "required": True, "choices": ["both", "key_list", "none", "none_needed"]},
    "key_list": {"type": "dict", "default": {}, "options": KEY_LIST, "apply_defaults": True},
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
        "required_if": MIGRATION_REQUIRED_IF,
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
    "kill_left": {"type": "bool", "default": False},
    "reloads": {"type": "list", "elements": "str", "default": []},
    "reload": {"type": "str"},
    "reload_signal": {"type": "str", "choices": ["HUP", "USR1", "USR2"]},
    "proof_path": {"type": "str"},
    "proof_auth": {"type": "str", "default": "none", "choices": ["jwt", "none"]},
    "proof_secret": {"type": "str"},
    "health_timeout_seconds": {"type": "int", "default": 30},
    "stop_timeout_seconds": {"type": "int", "default": 30},
    "proof_timeout_seconds": {"type": "int", "default": 60},
}
SERVICE_REQUIRED_IF = [
    ["manager", "script", ["start", "stop"]],
    ["manager", "systemd", ["unit"]],
    ["proof_auth", "jwt", ["proof_secret"]],
]

# what a call on a host is told of the application
APPLICATION: Spec = {
    "app_root": {"type": "path", "required": True},
    "app_user": {"type": "str"},
    "state_dir": {"type": "path", "required": True},
    "services": {"type": "dict", "required": True},
    "accept_shapes": {"type": "dict", "default": {}},
    "delivery": {"type": "str", "default": "dotenv", "choices": ["dotenv", "systemd_credential"]},
    "secrets_here": {"type": "list", "elements": "str"},
}
ROTATION: Spec = {
    **APPLICATION,
    "rotation_id": {"type": "str", "required": True},
    "environment": {"type": "str", "required": True},
    "secret": {"type": "str", "required": True},
    "entry": {"type": "dict", "required": True, "options": ENTRY},
    "reason": {"type": "str", "required": True},
    "operator": {"type": "str", "required": True},
    "encrypt_plaintext_rows": {"type": "bool", "default": False},
    "allow_empty_tables": {"type": "list", "elements": "str", "default": []},
    "overrides": {"type": "dict", "default": {}},
    "error_lines": {"type": "dict", "default": {}},
    "backup_retention_days": {"type": "int", "default": 30},
    "speaker": {"type": "str", "default": ""},
    "speaks": {"type": "bool", "default": True},
    "rows_under": {"type": "str", "default": "", "choices": ["", "new", "old"]},
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
