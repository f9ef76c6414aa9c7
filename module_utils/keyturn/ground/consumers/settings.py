"""What stands in a file of settings, by its place: for looking at an application of which nothing is known yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import NamedTuple

from ...base.errors import KeyturnError
from . import check_blanks, dotenv, ini_file, is_placeholder, json_file, url, value_file, yaml_file

# of a name's words, those that tell of a secret
_TELLING = re.compile(
    r"(?:^|_)(?:secret|password|passwd|passphrase|pwd|token|credential|crypt|salt"
    r"|(?:api|private|secret|access|encryption|signing|crypt|master|auth)_?key)s?(?:_|$)|^keys?$|_key$"
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
# what is no secret, whatever it is called
_PLAIN = re.compile(
    r"-?[\d.]+|true|false|yes|no|on|off|none|null|[~/.]?/.*|[$].*|env:.*|[a-z][a-z0-9+.-]*://.*", re.IGNORECASE
)
# what has no name that tells of it, such as /etc/default/shop
_ENVIRONMENT = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?\n|(?:export )?[A-Za-z_][A-Za-z0-9_]*=[^\n]+(?:\n|$))+")
_TEMPLATE = re.compile(r"\.(?:example|template|sample|dist)$")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
LONGEST_VALUE = 4096


class Setting(NamedTuple):
    """A text, and how a consumer of the catalogue names its place. ``inside`` is what it is a part of."""

    format: str
    section: str
    key: str
    value: str
    inside: str = ""

    @property
    def variable(self) -> str:
        """A name for it as environments have them."""
        if self.format == "dotenv":
            return self.key
        words = f"{self.section}_{self.key}" if self.format == "ini" else self.key
        return re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_").upper()


def secrets(path: PurePath, content: bytes, as_environment: bool = False) -> list[Setting]:
    """Return what looks like a secret in a file of settings, by the name of the file; nothing in one of another kind.

    KeyturnError for what would take too long to read.
    """
    format_ = "dotenv" if as_environment else kind(path)
    if format_ == "file" and _ENVIRONMENT.fullmatch(content):
        format_ = "dotenv"
    if format_ not in ("", "file"):
        check_blanks(content)
    found = []
    for section, key, value in _read(format_, path, content):
        # in a file of another kind a value may stand where a name should
        if not _NAME.fullmatch(key) or len(value) > LONGEST_VALUE or is_placeholder(value):
            continue
        if password := _password(value):
            found.append(Setting(format_, section, key, password, "url"))
        elif value and not _PLAIN.fullmatch(value) and _TELLING.search(_words(key.rpartition(".")[2])):
            found.append(Setting(format_, section, key, value))
    return found


def values(path: PurePath, content: bytes, as_environment: bool = False) -> tuple[str, dict[str, str]]:
    """Return the format of a file of settings, and each text in it by the name that environments would give it."""
    format_ = "dotenv" if as_environment else kind(path)
    return format_, {
        Setting(format_, section, key, "").variable: value
        for section, key, value in _read(format_, path, content)
        if _NAME.fullmatch(key) and len(value) <= LONGEST_VALUE
    }


def _read(format_: str, path: PurePath, content: bytes) -> list[tuple[str, str, str]]:
    """Return section, key and value of each; nothing of a file that its reader does not take."""
    if format_ not in READERS:
        return []
    try:
        return list(READERS[format_](path, content))
    except (KeyturnError, ValueError, RecursionError):
        return []


def kind(path: PurePath) -> str:
    """Return the format that the name of a file tells of, empty for one of another kind."""
    name = path.name.lower()
    if _TEMPLATE.search(name):
        return ""
    if name.startswith(".env") or name in ("env", "environment"):
        return "dotenv"
    by_end = {
        ".env": "dotenv",
        ".ini": "ini",
        ".cfg": "ini",
        ".conf": "ini",
        ".json": "json",
        ".yml": "yaml",
        ".yaml": "yaml",
    }
    return by_end.get(
        path.suffix.lower(), "file" if path.suffix.lower() in ("", ".key", ".secret", ".token", ".txt") else ""
    )


def _words(name: str) -> str:
    return _HUMP.sub("_", name).lower()


def _password(value: str) -> str:
    try:
        return url.password(value)
    except KeyturnError:
        return ""


def _of_file(path: PurePath, content: bytes) -> Iterator[tuple[str, str, str]]:
    """A file of one value tells by its own name what it holds, or by that of its folder."""
    if len(content) > LONGEST_VALUE:
        return
    name = path.name if _TELLING.search(_words(path.name)) else f"{path.parent.name}_{path.name}"
    value = value_file.read(content, [name], [name])[name] or ""
    if value.isprintable() and " " not in value:
        yield "", name, value


READERS: dict[str, Callable[[PurePath, bytes], Iterator[tuple[str, str, str]]]] = {
    "dotenv": lambda path, content: (("", *pair) for pair in dotenv.texts(content).items()),
    "file": _of_file,
    "ini": lambda path, content: ini_file.texts(content),
    "json": lambda path, content: (("", *pair) for pair in json_file.texts(content)),
    "yaml": lambda path, content: (("", *pair) for pair in yaml_file.texts(content)),
}
