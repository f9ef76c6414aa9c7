"""What is shown of a secret: a short hash that is the same on every host and tells nothing else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

PREFIX = "kt:"
MARK = re.compile("kt:[0-9a-f]{12}")


def fingerprint(value: str) -> str:
    """Return ``kt:`` and 12 hexadecimal digits: 48 bits of a domain-separated BLAKE2b (RFC 7693) of ``value``.

    The domain keeps it from matching a hash that another tool prints of the same value. It protects values that
    cannot be guessed (all that keyturn generates have 128 bits or more), not passwords that a person chose.
    """
    return PREFIX + hashlib.blake2b(value.encode(), digest_size=6, person=b"keyturn-value-1").hexdigest()


def fingerprints(values: Mapping[str, str]) -> dict[str, str]:
    """Return the fingerprint of each value, by name."""
    return {name: fingerprint(value) for name, value in sorted(values.items())}
