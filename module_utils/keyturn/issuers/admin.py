"""The password of who tells an issuer, where that is not the application itself."""

from __future__ import annotations

import stat
from pathlib import Path

from ..base import files
from ..base.errors import KeyturnError
from ..ground import owner
from .contract import Hide, Spec

OTHERS = 0o077


def read_password(admin: Spec, hide: Hide) -> str:
    """Return the password of the entry's ``admin``, from a file that only root can read, or exchange for another one."""
    path = Path(admin["password_file"])
    if (changed := owner.writer(path)) is not None:
        raise KeyturnError(
            f"{path}: {changed[0]} may put another password there ({changed[1]}): keep it where only root can"
        )
    if stat.S_IMODE(path.stat().st_mode) & OTHERS:
        raise KeyturnError(f"{path} is open to other users: chmod 600 {path}")
    password = files.text(files.read(path)).rstrip("\n")
    hide([password])
    return password
