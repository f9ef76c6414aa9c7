"""GitHub's runner, as far as it reads what a step prints."""

from __future__ import annotations

import re


def heard(printed: list[str]) -> list[str]:
    """Return the commands that GitHub's runner would carry out, as it reads a step's output line by line."""
    found, word = [], ""
    for line in "\n".join(printed).splitlines():
        command = line.lstrip()
        if word:
            word = "" if command == f"::{word}::" else word
        elif command.startswith("::stop-commands::"):
            word = command.removeprefix("::stop-commands::")
        elif re.match("::[^:]", command) or "##[" in command:
            found.append(line)
    assert not word, "commands are left stopped"
    return found
