"""Lines of the application's log: what ``keyturn_log_lines`` says of one, as a pattern that knows both forms of it.

Python's logging writes ``LEVEL:logger:message`` where a warning during an import has configured it, and the form with the time
where the program has. Patterns are anchored: what stands further on in a line (a path, an answer) is a stranger's. They use
only what Python, RE2 and CloudWatch all know, but for the one group that ``pattern`` makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

Line = Mapping[str, str]
LINE_BYTES = 1 << 12
TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2},[0-9]{3}"


def starts(line: Line) -> list[str]:
    """Return how the line begins in each form; with nothing of its own where no logger begins it (a message's later line)."""
    if not line.get("logger"):
        return [""]
    level, logger = line["level"], re.escape(line["logger"])
    return [f"{level}:{logger}:", f"{TIME} - {logger} - {level} - "]


def pattern(line: Line) -> str:
    """Return the regular expression of the line, anchored at its start."""
    return f"^(?:{'|'.join(starts(line))}){line['message']}"


def split(content: bytes) -> Iterator[str]:
    """Yield the lines of a log, also of one that was emptied under its writer, which then begins with a hole of zeros.

    Only a line feed ends one: what else Python takes for an end may stand in a path that a stranger asks for. Of a long line that is
    the beginning: a pattern may take the square of its length. They are not all in memory, since a log may be nothing but line feeds.
    """
    at = 0
    while at < len(content):
        end = content.find(b"\n", at) % (len(content) + 1)  # where there is none, -1, it is the end of all
        yield content[at:end].lstrip(b"\0")[:LINE_BYTES].decode(errors="replace").rstrip("\r")
        at = end + 1
