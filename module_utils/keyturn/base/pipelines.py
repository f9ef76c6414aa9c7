"""The commands in the log of a pipeline, which fold lines and mark errors. Text of others is kept from doing either."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping


class Log:
    """A log that is text and nothing else. Each method returns the lines that are printed for it."""

    def begin(self) -> list[str]:
        """Return what comes before all text."""
        return []

    def end(self) -> list[str]:
        """Return what comes after it."""
        return []

    def fold(self, title: str) -> list[str]:
        """Return what folds the lines that follow under a title."""
        return []

    def unfold(self) -> list[str]:
        """Return what ends the fold."""
        return []

    def error(self, where: str, text: str) -> list[str]:
        """Return what marks an error, beside the text that is printed anyway."""
        return []


class GitHub(Log):
    """A line that begins with two colons is a command there. None counts but ours: text stands where commands are stopped."""

    def __init__(self) -> None:
        self._word = ""

    def begin(self) -> list[str]:
        """Stop commands until a word that nobody can have guessed."""
        self._word = secrets.token_hex(16)
        return [f"::stop-commands::{self._word}"]

    def end(self) -> list[str]:
        """Let commands count again."""
        return [f"::{self._word}::"]

    def fold(self, title: str) -> list[str]:
        """Begin a group."""
        return self._command(f"::group::{_data(title)}")

    def unfold(self) -> list[str]:
        """End the group."""
        return self._command("::endgroup::")

    def error(self, where: str, text: str) -> list[str]:
        """Make an annotation."""
        return self._command(f"::error title={_data(where).replace(':', '%3A').replace(',', '%2C')}::{_data(text)}")

    def _command(self, line: str) -> list[str]:
        return [*self.end(), line, *self.begin()]


class GitLab(Log):
    """A section is begun and ended by lines with signs that no text of others has (``shown``)."""

    def __init__(self) -> None:
        self._sections = 0

    def fold(self, title: str) -> list[str]:
        """Begin a section, of which the title is shown."""
        self._sections += 1
        return [f"{self._mark('start')}[collapsed=true]\r\033[0K{title}"]

    def unfold(self) -> list[str]:
        """End the section."""
        return [f"{self._mark('end')}\r\033[0K"]

    def _mark(self, side: str) -> str:
        # a job may have several runs
        return f"\033[0Ksection_{side}:{int(time.time())}:keyturn_{os.getpid()}_{self._sections}"


# by the variable that says so
KINDS: dict[str, type[Log]] = {"GITHUB_ACTIONS": GitHub, "GITLAB_CI": GitLab}


def log(environment: Mapping[str, str]) -> Log:
    """Return the kind of log that this process prints into, which pipelines say in the environment."""
    return next((kind() for name, kind in KINDS.items() if environment.get(name) == "true"), Log())


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
