"""The one exception root. Its text is made of constants and names, never of values."""

from __future__ import annotations


class KeyturnError(Exception):
    """What a person can act on: the message names the file, host, row or variable and the remedy.

    A message never holds a secret, an exception text of a library or the content of a row.
    """
