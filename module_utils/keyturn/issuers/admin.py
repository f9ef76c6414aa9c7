"""Who tells an issuer, where that is not the application itself: the password, and to whom it may go."""

from __future__ import annotations

from pathlib import Path

from ..base import files
from ..base.errors import KeyturnError
from ..ground import owner
from .contract import Spec, Told

# what a person does about one who answers in the place of the server
STRANGERS = "see who answers there and end that; if it is the server, or stands before it, name its user in `admin`; then run this again"


def password(admin: Spec, told: Told) -> str:
    """Return the password of the entry's ``admin``: from the secret store, or a file that only root can read or exchange."""
    if admin["stored"]:
        if told.admins_password is None:
            raise KeyturnError(
                f"the password of the issuer's admin ({admin['stored']}) has not come from the secret store"
            )
        found = told.admins_password
    else:
        found = _read(Path(admin["password_file"]))
    told.hide([found])
    return found


def _read(path: Path) -> str:
    if (changed := owner.writer(path)) is not None:
        raise KeyturnError(
            f"{path}: {changed[0]} may put another password there ({changed[1]}): keep it where only root can"
        )
    return files.secret(path)
