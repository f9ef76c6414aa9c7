"""Text of others, made harmless for where it is shown: a terminal, the log of a pipeline, a page of Markdown.

A host, a provider or a pipeline's actor may have written it. What a terminal obeys is spelled out, and what a pipeline would take for
an order, or a person for a line of Ansible's, is broken so that it reads the same and is none.
"""

from __future__ import annotations

import re
import shlex

LONGEST = 1 << 16
# what a person does about the word of one host alone
IN_OTHER_HANDS = "a host may be in other hands: look at it, and leave it out by keyturn_exclude: {host: reason}"
# GitHub, GitLab, Azure and TeamCity obey lines, and Ansible wraps lines at any word
ORDER = re.compile(r"(?<!\S):(?=:[A-Za-z])|#(?=#\w*\[)|(?<!\S)section(?=_(?:start|end):)")
FORGED = re.compile(
    r"^(?= *(?:PLAY RECAP|(?:TASK|PLAY|HANDLER|RUNNING HANDLER) \[|\[(?:WARNING|ERROR|DEPRECATION WARNING)\]|"
    r"(?:ok|changed|failed|fatal|skipping|included|unreachable|rescued|ignored): ?\[))",
    re.M,
)


def harmless(text: str, lines: bool = False, longest: int = LONGEST) -> str:
    """Return a text that does nothing where it is printed, and is not too long; one line of it, unless it may have ``lines``."""
    text = clipped(text, longest)
    return _quiet(text if lines else text.replace("\n", " "))


def clipped(text: str, longest: int = LONGEST) -> str:
    """Return a text that is not too long."""
    return text if len(text) <= longest else f"{text[:longest]} ... ({len(text) - longest} more characters)"


def name(text: str) -> str:
    """Return a name that anybody may have chosen, of a file say, as a word of a message: where it has lines, they are spelled."""
    return harmless(text.replace("\n", "\\n"))


def argument(text: object) -> str:
    """Return a name that anybody may have chosen as one word of a command: people copy a remedy into a shell of root's."""
    return shlex.quote(name(str(text)))


def lines(text: str) -> list[str]:
    """Return the lines of a text that Keyturn prints, however many: it may have words of others in it."""
    return _quiet(text.expandtabs()).split("\n")


def cell(text: str) -> str:
    """Return text that stays where it is put on a page of Markdown, whatever it holds: as a line, or as the cell of a table."""
    line = " ".join(harmless(text, lines=True).split())
    return re.sub(r"[\\`\[|]", r"\\\g<0>", line.replace("&", "&amp;").replace("<", "&lt;"))


def _quiet(text: str) -> str:
    if not text.isprintable():
        text = "".join(one if one.isprintable() or one == "\n" else _spelled(one) for one in text)
    return FORGED.sub("| ", ORDER.sub(r"\g<0> ", text))


def _spelled(one: str) -> str:
    return one.encode("unicode_escape").decode()
