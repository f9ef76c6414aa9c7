"""The two keys of a folder that is measured."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.fernet import Fernet


def keys(folder: Path) -> dict[str, str]:
    """Return the old and the new key, which are made once."""
    path = folder / "keys.json"
    if not path.exists():
        path.write_text(json.dumps({side: Fernet.generate_key().decode() for side in ("old", "new")}))
    found: dict[str, str] = json.loads(path.read_text())
    return found
