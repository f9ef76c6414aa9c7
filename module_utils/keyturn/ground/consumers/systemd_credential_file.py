"""The consumer format ``systemd_credential``: all values of an application in one JSON object, which its launcher makes the environment.

JSON and not `.env`: nothing has to be quoted, so that launcher and editor cannot differ. The file is encrypted with the
host's key, and systemd decrypts it for the service alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ...base.errors import KeyturnError


def read(content: bytes, names: Sequence[str]) -> dict[str, str | None]:
    """Return the value of each name, None where there is none."""
    held = all_values(content)
    return {name: held.get(name) for name in names}


def replace(content: bytes, values: Mapping[str, str]) -> bytes:
    """Return the systemd credential with ``values`` in it; the others stay."""
    return written({**all_values(content), **values})


def written(values: Mapping[str, str]) -> bytes:
    """Return a systemd credential that holds ``values`` alone."""
    return json.dumps(dict(sorted(values.items()))).encode()


def all_values(content: bytes) -> dict[str, str]:
    """Return all that a systemd credential holds; KeyturnError for what is none."""
    try:
        held = json.loads(content)
    except ValueError:
        held = None
    if not isinstance(held, dict) or not all(isinstance(value, str) for value in held.values()):
        raise KeyturnError("its content is not what keyturn writes: run migrate_delivery.yml again")
    return held
