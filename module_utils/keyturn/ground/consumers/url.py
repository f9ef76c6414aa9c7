"""A value that is the password of a URL, such as ``postgresql://user:PASSWORD@host/db``: percent-encoded, all else stays."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from ...base.errors import KeyturnError

_URL = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^:@/?#\s]*:)(?P<password>[^@/?#\s]*)(?P<after>@[^@\s]*)")
# what RFC 3986 lets stand there as it is
_AS_IT_IS = "!$&'()*+,;=~"


def password(text: str) -> str:
    """Return the password of a URL; KeyturnError where there is none, or where it could not be put back as it stands."""
    encoded = _parts(text)["password"]
    try:
        value = unquote(encoded, errors="strict")
    except UnicodeDecodeError:
        value = ""
    if _encoded(value) != encoded:
        raise KeyturnError(
            "the password in its URL is not encoded as RFC 3986 wants it (per cent, capital digits, only where needed): write it so"
        )
    return value


def with_password(text: str, value: str) -> str:
    """Return the URL with another password."""
    parts = _parts(text)
    return parts["before"] + _encoded(value) + parts["after"]


def _encoded(value: str) -> str:
    return quote(value, safe=_AS_IT_IS)


def _parts(text: str) -> re.Match[str]:
    found = _URL.fullmatch(text)
    if not found:
        raise KeyturnError("its value is no URL with a user, a password and a host: scheme://user:password@host")
    return found
