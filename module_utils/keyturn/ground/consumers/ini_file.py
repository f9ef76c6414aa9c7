"""An INI file as Python's configparser reads it. The text of single options is replaced in place, and every other byte stays.

What readers of INI files take differently is refused: a value that goes on in the next line, one in quotes, one with a per cent sign
(interpolation) or with what may begin a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ...base import files
from ...base.errors import KeyturnError

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_SECTION = re.compile(r"\[(?P<name>.+)\]")
_OPTION = re.compile(r"\s*(?P<name>[^=:\s][^=:]*?)\s*[=:][ \t]*(?P<value>.*?)\s*$")
_COMMENT = re.compile(r"\s[#;]")


class Layout(NamedTuple):
    """The section, and the option of each name in it."""

    section: str
    options: Mapping[str, str]


class _Option(NamedTuple):
    section: str
    name: str
    value: str
    start: int
    end: int
    goes_on: bool


def read(content: bytes, layout: Layout, names: Sequence[str]) -> dict[str, str | None]:
    """Return the value of each name, None where its option is not there or empty."""
    return {name: found.value or None if (found := _found(content, layout, name)) else None for name in names}


def replace(content: bytes, layout: Layout, values: Mapping[str, str]) -> bytes:
    """Return ``content`` with these values; KeyturnError for an option that is not there, or a value that INI cannot hold."""
    text = files.text(content)
    edits = []
    for name, value in values.items():
        found = _found(content, layout, name)
        if found is None:
            raise KeyturnError(
                f"[{layout.section}] has no {layout.options[name]}: add it with the value that the application works with"
            )
        if why := _unclear(value):
            raise KeyturnError(f"the new value of {name} {why}, which readers of INI files take differently")
        edits.append((found.start, found.end, value))
    for start, end, value in sorted(edits, reverse=True):
        text = text[:start] + value + text[end:]
    return text.encode()


def findings(content: bytes, layout: Layout, names: Sequence[str], secrets: Iterable[str]) -> list[str]:
    """Return sentences, without values, about other options that hold a secret value."""
    mine = {(layout.section, layout.options[name].lower()) for name in names if name in layout.options}
    known = {value for value in secrets if value}
    return [
        f"an option of [{option.section}] still holds a secret value; remove it there"
        for option in _options(files.text(content))
        if (option.section, option.name) not in mine and any(value in option.value for value in known)
    ]


def texts(content: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield section, option and value of what readers of INI files take alike."""
    for option in _options(files.text(content)):
        if not option.goes_on and option.value and not _unclear(option.value):
            yield option.section, option.name, option.value


def _found(content: bytes, layout: Layout, name: str) -> _Option | None:
    wanted = layout.options.get(name, "").lower()
    found = [one for one in _options(files.text(content)) if (one.section, one.name) == (layout.section, wanted)]
    if len(found) > 1:
        raise KeyturnError(f"[{layout.section}] has {wanted} twice: leave the one that counts")
    if not found:
        return None
    why = "goes on in the next line" if found[0].goes_on else _unclear(found[0].value)
    if why:
        raise KeyturnError(
            f"[{layout.section}] {wanted} {why}, which readers of INI files take differently: write it without"
        )
    return found[0]


def _unclear(value: str) -> str:
    """Return why two readers may take a value for two values, empty where none does."""
    if "%" in value:
        return "has a per cent sign"
    if value[:1] in ("'", '"') or value[-1:] in ("'", '"'):
        return "has a quotation mark at its begin or end"
    if value[:1] in ("#", ";") or _COMMENT.search(value):
        return "has what may begin a comment"
    return (
        "has white space around it or a line end in it"
        if value != value.strip() or "\n" in value or "\r" in value
        else ""
    )


def _options(text: str) -> Iterator[_Option]:
    """Yield the options as configparser finds them: what is indented deeper than an option goes on with its value."""
    section, held, depth = "", None, 0
    for match in _LINE.finditer(text):
        line = match[0]
        said = line.strip()
        if not said or said[0] in "#;":
            continue
        indent = len(line) - len(line.lstrip())
        if held is not None and indent > depth:
            held = held._replace(goes_on=True)
            continue
        if held is not None:
            yield held
            held = None
        if header := _SECTION.match(said):
            section = header["name"]
        elif option := _OPTION.match(line):
            depth = indent
            start = match.start()
            held = _Option(
                section,
                option["name"].lower(),
                option["value"],
                start + option.start("value"),
                start + option.end("value"),
                False,
            )
        else:
            raise KeyturnError("a line is neither a section nor an option: mend it, no reader of INI files takes it")
    if held is not None:
        yield held
