"""The password of who tells an issuer, where that is not the application itself."""

from __future__ import annotations

from pathlib import Path

from ..base import files
from ..base.errors import KeyturnError
from ..ground import owner
from .contract import Hide, Spec


def read_password(admin: Spec, hide: Hide) -> str:
    """Return the password of the entry's ``admin``, from a file that only root can read, or exchange for another one."""
    path = Path(admin["password_file"])
    if (changed := owner.writer(path)) is not None:
        raise KeyturnError(
            f"{path}: {changed[0]} may put another password there ({changed[1]}): keep it where only root can"
        )
    password = files.secret(path)
    hide([password])
    return password
