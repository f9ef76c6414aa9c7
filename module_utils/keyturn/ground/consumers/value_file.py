"""A file that holds one value and nothing else: what `NAME_FILE` points to, a credential of systemd, a secret of Docker."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ...base import files
from ...base.errors import KeyturnError


def read(content: bytes, own: Collection[str], names: Sequence[str]) -> dict[str, str | None]:
    """Return the value of the name whose file it is (``own``), None for any other and where the file is empty."""
    value, _ = _parts(content)
    return {name: (value or None) if name in own else None for name in names}


def replace(content: bytes, values: Mapping[str, str]) -> bytes:
    """Return the new value, with the line end that the old one has."""
    _, end = _parts(content)
    ((name, value),) = values.items()
    if value != value.strip() or any(sign in value for sign in "\r\n\0"):
        raise KeyturnError(
            f"the new value of {name} has white space around it or a line end in it, which readers cut off"
        )
    return value.encode() + end


def _parts(content: bytes) -> tuple[str, bytes]:
    """Return the value and its line end; KeyturnError for what readers take differently."""
    end = next((end for end in (b"\r\n", b"\n") if content.endswith(end)), b"")
    value = files.text(content[: len(content) - len(end)], "put the value there alone")
    if value != value.strip() or any(sign in value for sign in "\r\n\0"):
        raise KeyturnError(
            "more than a value and a line end stands there, which readers take differently: put the value there alone"
        )
    return value, end
