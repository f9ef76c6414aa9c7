"""The one way by which a secret is read from a file of its own: whole, and refused where others reach it or nothing is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from keyturn.base import files
from keyturn.base.errors import KeyturnError
from keyturn.issuers.admin import password
from keyturn.issuers.contract import Told


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (b"", 0o600, "is empty"),
        (b" \n\n", 0o600, "is empty"),
        (b"secret\n", 0o640, "chmod 600"),
        (b"secret\n", 0o602, "chmod 600"),
        (b"\xff\xfe", 0o600, "no text in UTF-8"),
        (b"x" * (files.MOST_SECRET_BYTES + 1), 0o600, "is larger than"),
    ],
)
def test_a_file_that_holds_no_secret_alone_is_refused(tmp_path: Path, content: bytes, mode: int, why: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    hidden: list[str] = []
    with pytest.raises(KeyturnError, match=why) as refused:
        files.secret(path)
    assert str(path) in str(refused.value) or b"\xff" in content
    with pytest.raises(KeyturnError):
        password({"password_file": str(path), "stored": None}, Told("", {}, {}, hidden.extend))
    assert hidden == [], "an empty text that is hidden puts asterisks everywhere"


def test_a_secret_has_no_end_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(" se cret \r\n")
    path.chmod(0o600)
    assert files.secret(path) == " se cret "
