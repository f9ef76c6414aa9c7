"""The application's environment: ``.env`` in the working directory, read once at import."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dotenv import load_dotenv

# No override: a variable already in the process environment wins, even when it is empty.
# utf-8-sig: older python-dotenv would otherwise make a byte order mark part of the first name.
load_dotenv(Path.cwd() / ".env", override=False, encoding="utf-8-sig")


def get(name: str) -> str:
    """Return a variable's value, empty when there is none. Importing this module is what loads ``.env``."""
    return os.environ.get(name, "")


def require(name: str) -> str:
    """Return a variable's value, or end the process with status 1 when it is missing or empty."""
    value = get(name)
    if not value:
        print(f"{name} is not set; the application does not start without it", file=sys.stderr)
        sys.exit(1)
    return value
