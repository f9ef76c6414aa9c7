"""A value in a file of every sort, and a key that is made of it by a rule: hexadecimal digits, which stand in each file as they are."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from support.lab import KEY, Lab

FILES: dict[str, tuple[dict[str, Any], str]] = {
    "settings.ini": ({"format": "ini", "section": "core", "keys": {KEY: "key"}}, "[core]\nkey = {} \n"),
    "settings.yml": ({"format": "yaml", "keys": {KEY: "rows.key"}}, "rows:  # of the bank\n  key: '{}'\n"),
    "settings.json": ({"format": "json", "keys": {KEY: "key"}, "form": "kept"}, '{{"key": "{}"}}\n'),
    "run/key": ({"format": "file"}, "{}\n"),
    "url.env": ({"format": "dotenv", "keys": {KEY: "URL"}, "inside": "url"}, "URL=redis://:{}@h/0\n"),
}


def fernet_key(value: str) -> str:
    """Return the Fernet key that a value is, or that its hexadecimal digits are."""
    return base64.urlsafe_b64encode(bytes.fromhex(value)).decode() if len(value) == 2 * 32 else value


def spread(lab: Lab, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Make the lab's value hexadecimal digits of the same key, and put it into every file; return the catalogue's entry of that."""
    value = base64.urlsafe_b64decode(lab.key()).hex()
    lab.env.write_text(lab.env.read_text().replace(lab.key(), value))
    for name, (_, text) in FILES.items():
        path = lab.app / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.format(value))
        path.chmod(0o600)
    return {
        **entry,
        "source": {"kind": "generated", "generator": "hex"},
        "consumers": [*entry["consumers"], *({"path": path} | told for path, (told, _) in FILES.items())],
        "migration": entry["migration"] | {"key": {"rule": "hex"}},
    }
