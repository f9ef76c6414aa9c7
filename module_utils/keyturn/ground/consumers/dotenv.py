"""Text in dotenv format: reads it as python-dotenv does and replaces single values in place.

Hosts have no python-dotenv, hence a reader of its own. Versions differ: before 1.2.3 a byte order mark is part of the
first name and every quote behind a backslash is an escaped one; before 1.2.4 the value of ``NAME= # text`` is
``# text``. Text is therefore read both ways, and a variable on which the two disagree is refused.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...base import json_text
from ...base.errors import KeyturnError

# of a kind, what is told: the file may hold nothing else
MOST_LINES = 20
_BYTE_ORDER_MARK = "\ufeff"
_NEWLINE = re.compile(r"\r\n?")  # python-dotenv opens files as text, which turns all line ends into \n
_COMMENT = re.compile(r"\s+#")
_ESCAPED = {"'": re.compile(r"\\([\\'])"), '"': re.compile(r"\\([\\'\"abfnrtv])")}
_CONTROL = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_POSIX_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SAFE = re.compile(r"[A-Za-z0-9_+/=.,:@%-]+")  # the same with and without quotes, for every reader


def read(content: bytes, names: Sequence[str]) -> dict[str, str | None]:
    """Return the value that python-dotenv gives each name, None for one that is absent or has no ``=``.

    Raises KeyturnError for text that is not UTF-8, for a value that refers to another variable and for a variable
    that versions of python-dotenv read differently.
    """
    bindings = _bindings(_decode(content), names)
    return {name: found[-1].value if found else None for name, found in bindings.items()}


def texts(content: bytes) -> dict[str, str]:
    """Return the names that have a value, without those that ``read`` refuses; KeyturnError for text that is not UTF-8."""
    text = _decode(content)
    recent, older = (_by_name(_statements(text, recent=recent)) for recent in (True, False))
    found = {}
    for name, bindings in recent.items():
        with contextlib.suppress(KeyturnError):
            _check_one_value(text, name, bindings, older.get(name, []))
            found[name] = bindings[-1].value or ""
    return {name: value for name, value in found.items() if value}


def replace(content: bytes, values: Mapping[str, str]) -> bytes:
    """Return ``content`` with the value of every binding of each name replaced, and no other byte changed.

    python-dotenv and systemd's ``EnvironmentFile=`` read a new value exactly; ``findings`` names the lines whose form
    makes systemd read something else. Raises KeyturnError as ``read`` does, for a name that has no value to replace
    and for a value that no form of quoting gives to both readers.
    """
    text = _decode(content)
    edits = []
    for name, bindings in _bindings(text, list(values)).items():
        if not bindings:
            raise KeyturnError(f"{name} is not set: add a line with {name}= and its value")
        for binding in bindings:
            if binding.value is None:
                line = _line(text, binding.text_start)
                raise KeyturnError(f"{name} on line {line} has no value: write {name}= and its value there")
            if binding.value != values[name]:
                old = text[binding.value_start : binding.value_end]
                edits.append((binding.value_start, binding.value_end, _quoted(name, values[name], old)))
    result = json_text.spliced(text, edits)
    _check_result(text, result, values)
    return result.encode()


def without(content: bytes, names: Sequence[str]) -> bytes:
    """Return ``content`` without the bindings of ``names``; every other line stays as it is. KeyturnError as ``read`` raises it."""
    text = _decode(content)
    edits = [(found.text_start, found.end, "") for bindings in _bindings(text, names).values() for found in bindings]
    result = json_text.spliced(text, edits)
    _check_others(text, result, names)
    return result.encode()


def with_added(content: bytes, values: Mapping[str, str]) -> bytes:
    """Return ``content`` with a line for each of ``values`` that is not set in it; KeyturnError as ``replace`` raises it."""
    text = _decode(content)
    missing = [name for name, bindings in _bindings(text, list(values)).items() if not bindings]
    end = "\r\n" if "\r\n" in text else "\n"
    begin = end if text and not text.endswith(("\n", "\r")) else ""
    result = text + begin + "".join(f"{name}={_quoted(name, values[name], '')}{end}" for name in missing)
    _check_others(text, result, missing)
    added = {name: values[name] for name in missing}
    if read(result.encode(), missing) != added:
        raise KeyturnError(
            f"a line for {', '.join(missing)} would not read back: close the quote that a line leaves open"
        )
    return result.encode()


def findings(content: bytes, names: Sequence[str], values: Iterable[str]) -> list[str]:
    """Return sentences for a person, without values: what about these lines surprises, although ``read`` succeeds.

    These are variables set more than once, lines that systemd's ``EnvironmentFile=`` reads differently, and places
    other than the values of ``names`` that hold one of the secrets ``values``. Raises KeyturnError as ``read`` does.
    """
    text = _decode(content)
    bindings = _bindings(text, names)
    leaks = itertools.islice(_leaks(text, bindings, set(values)), MOST_LINES)
    found = [*_duplicates(text, bindings), *_systemd_differences(text, bindings), *leaks]
    return [f"line {line}: {sentence}" for line, sentence in sorted(found)]


@dataclass(frozen=True)
class _Statement:
    """One step of the reader: a binding, a comment, blank lines, or a line that it cannot read and skips."""

    start: int
    end: int
    text_start: int  # behind the blanks and blank lines above
    name: str | None = None
    value: str | None = None
    value_start: int = 0
    value_end: int = 0
    exported: bool = False
    readable: bool = True


def _decode(content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise KeyturnError(f"line {line} is not UTF-8 text: save the file as UTF-8") from None
    if "\0" in text:
        raise KeyturnError(f"line {_line(text, text.index(chr(0)))} holds a NUL character: remove it")
    return text


def _unix_lines(text: str) -> str:
    return _NEWLINE.sub("\n", text)


def _line(text: str, offset: int) -> int:
    return _unix_lines(text[:offset]).count("\n") + 1


def _bindings(text: str, names: Iterable[str]) -> dict[str, list[_Statement]]:
    """Return the bindings of each name; refuse what has no one value."""
    recent, older = (_by_name(_statements(text, recent=recent)) for recent in (True, False))
    result = {}
    for name in names:
        result[name] = recent.get(name, [])
        _check_one_value(text, name, result[name], older.get(name, []))
    return result


def _by_name(statements: Iterable[_Statement]) -> dict[str, list[_Statement]]:
    named: dict[str, list[_Statement]] = {}
    for statement in statements:
        if statement.name:
            named.setdefault(statement.name, []).append(statement)
    return named


def _check_one_value(text: str, name: str, bindings: Sequence[_Statement], others: Sequence[_Statement]) -> None:
    """Refuse a name that versions read differently, by its bindings for one and for the other, or that refers to another name."""
    if [(b.value_start, b.value) for b in bindings] != [(b.value_start, b.value) for b in others]:
        raise KeyturnError(_versions_differ(text, name, (bindings or others)[0]))
    for binding in bindings:
        if binding.value is not None and "${" in binding.value:
            line = _line(text, binding.text_start)
            raise KeyturnError(
                f"{name} on line {line} refers to another variable (${{...}}): write the value itself there"
            )


def _versions_differ(text: str, name: str, binding: _Statement) -> str:
    where = f"{name} on line {_line(text, binding.text_start)}"
    if text.startswith(_BYTE_ORDER_MARK) and not text[1 : binding.text_start].strip():
        return (
            f"{where} follows a byte order mark, which python-dotenv before 1.2.3 takes as part of the name: "
            "save the file as UTF-8 without a byte order mark"
        )
    return (
        f"{where} is not read alike by all versions of python-dotenv: remove a comment after an empty value, "
        "and a backslash before a closing quote, there and above"
    )


def _statements(text: str, *, recent: bool) -> Iterator[_Statement]:
    """Read ``text`` as python-dotenv 1.2.4 does (``recent``) or as 0.21 does."""
    at = 1 if recent and text.startswith(_BYTE_ORDER_MARK) else 0
    while at < len(text):
        statement = _statement(text, at, recent)
        yield statement
        at = statement.end


def _statement(text: str, start: int, recent: bool) -> _Statement:
    at = start
    while text[at : at + 1].isspace():
        at += 1
    text_start = at

    def without_name(at: int, readable: bool) -> _Statement:
        return _Statement(start, _next_line(text, at), text_start, readable=readable)

    after_export = _after_blanks(text, at + len("export"))
    exported = text.startswith("export", at) and after_export > at + len("export")
    if exported:
        at = after_export
    if text.startswith("#", at) or (at == len(text) and not exported):
        return without_name(at, readable=True)
    name_end = _name_end(text, at)
    if name_end is None:
        return without_name(at, readable=False)
    name = _unix_lines(text[at:name_end].strip("'") if text[at] == "'" else text[at:name_end])
    at = value_end = _after_blanks(text, name_end)
    value = None
    if text.startswith("=", at):
        equals, at = at, _after_blanks(text, at + 1)
        empty = recent and text.startswith("#", at) and at > equals + 1
        found = ("", at) if empty else _value(text, at, recent)
        if found is None:
            return without_name(at, readable=False)
        value, value_end = found
    tail = _after_blanks(text, value_end)
    if text[tail : tail + 1] not in ("", "\r", "\n", "#"):
        return without_name(tail, readable=False)
    return _Statement(start, _next_line(text, tail), text_start, name, value, at, value_end, exported)


def _name_end(text: str, at: int) -> int | None:
    if text.startswith("'", at):
        close = text.find("'", at + 1)
        return close + 1 if close > at + 1 else None
    end = at
    while end < len(text) and text[end] not in "=#" and not text[end].isspace():
        end += 1
    return end if end > at else None


def _value(text: str, at: int, recent: bool) -> tuple[str, int] | None:
    """Return the value that starts at ``at`` and the offset of its end, None for a quote that nothing closes."""
    quote = text[at : at + 1]
    if quote not in ("'", '"'):
        value = _COMMENT.split(text[at : _line_end(text, at)], maxsplit=1)[0].rstrip()
        return value, at + len(value)
    close = _closing_quote(text, at, recent)
    if close is None:
        return None
    raw = _unix_lines(text[at + 1 : close])
    return _ESCAPED[quote].sub(lambda match: _CONTROL.get(match[1], match[1]), raw), close + 1


def _closing_quote(text: str, at: int, recent: bool) -> int | None:
    quote = text[at]
    if recent:
        at += 1
        while at < len(text) and text[at] != quote:
            at += 2 if text[at] == "\\" else 1
        return at if at < len(text) else None
    # 0.21 closes at the first quote without a backslash before it, or else at the very last quote of the text
    last = None
    close = text.find(quote, at + 1)
    while close != -1:
        if text[close - 1] != "\\":
            return close
        last = close
        close = text.find(quote, close + 1)
    return last


def _after_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace() and text[at] not in "\r\n":
        at += 1
    return at


def _line_end(text: str, at: int) -> int:
    while at < len(text) and text[at] not in "\r\n":
        at += 1
    return at


def _next_line(text: str, at: int) -> int:
    end = _line_end(text, at)
    return min(end + (2 if text.startswith("\r\n", end) else 1), len(text))


def _quoted(name: str, value: str, old: str) -> str:
    """Return the form of ``value`` that every reader takes exactly, in the quotes of ``old`` where these will do."""
    if _SAFE.fullmatch(value):
        quote = old[:1] if old[:1] in ("'", '"') else ""
        return f"{quote}{value}{quote}"
    quote = '"' if "'" in value else "'"
    if not value or not value.isprintable() or "\\" in value or "${" in value or quote in value:
        raise KeyturnError(
            f"the value for {name} cannot be written so that every reader takes it exactly: it is empty, or holds a "
            "control character, a backslash, ${ or both kinds of quotes; choose another"
        )
    return f"{quote}{value}{quote}"


def _check_result(text: str, result: str, values: Mapping[str, str]) -> None:
    """Read the result again: a new quote can pair with one that an unreadable line leaves open."""
    unchanged = all(
        [(s.name, s.readable, s.value) for s in _statements(result, recent=recent)]
        == [(s.name, s.readable, values.get(s.name or "", s.value)) for s in _statements(text, recent=recent)]
        for recent in (True, False)
    )
    if not unchanged or read(result.encode(), list(values)) != dict(values):
        raise KeyturnError(
            f"the new value of {', '.join(values)} would not read back: close the quote that another line leaves open"
        )


def _check_others(text: str, result: str, names: Sequence[str]) -> None:
    """Refuse a result in which any other variable reads differently."""
    for recent in (True, False):
        before, after = (
            [(s.name, s.value) for s in _statements(one, recent=recent) if s.name and s.name not in names]
            for one in (text, result)
        )
        if before != after:
            raise KeyturnError("its other lines would not read back: close the quote that a line leaves open")


def _duplicates(text: str, bindings: Mapping[str, list[_Statement]]) -> Iterator[tuple[int, str]]:
    for name, found in bindings.items():
        if len(found) > 1:
            lines = [str(_line(text, binding.text_start)) for binding in found[:MOST_LINES]]
            more = f" and {len(found) - MOST_LINES} more" if len(found) > MOST_LINES else ""
            yield (
                int(lines[0]),
                f"{name} is set on lines {', '.join(lines)}{more}; the last one counts, remove the others",
            )


def _leaks(text: str, bindings: Mapping[str, list[_Statement]], secrets: set[str]) -> Iterator[tuple[int, str]]:
    """Yield the statements that hold a secret anywhere but in the value of one of the bindings."""
    owners = {binding.value: name for name, found in bindings.items() for binding in found}
    for statement in _statements(text, recent=True):
        if statement.name is None:
            place = "a comment" if statement.readable else "a line that python-dotenv cannot read"
            texts = [text[statement.start : statement.end]]
        elif statement.name in bindings:
            place = f"the comment behind {statement.name}"
            texts = [text[statement.value_end : statement.end]]
        else:
            place = _place(statement.name, secrets)
            texts = [text[statement.start : statement.end], statement.value or ""]
        held = {secret for secret in secrets for part in texts if secret and secret in part}
        for whose in sorted({f"a value of {owners[s]}" if s in owners else "a secret value" for s in held}):
            yield _line(text, statement.text_start), f"{place} still holds {whose}; remove it there"


def _place(name: str, secrets: set[str]) -> str:
    """Return ``name`` for a message: a secret alone on its line reads as a name, and must not be shown."""
    shown = _POSIX_NAME.fullmatch(name) and not any(secret in name for secret in secrets if secret)
    return name if shown else "another line"


def _systemd_differences(text: str, bindings: Mapping[str, list[_Statement]]) -> Iterator[tuple[int, str]]:
    values = _systemd_values(text)
    for name, found in bindings.items():
        if not found or found[-1].value is None or values.get(name) == found[-1].value:
            continue
        last = found[-1]
        if last.exported:
            reason = "it does not know export"
        elif text[last.value_end : last.end].strip():
            reason = "it takes the comment as part of the value"
        else:
            reason = "it treats backslashes, quotes and line ends in another way"
        yield (
            _line(text, last.text_start),
            f"systemd's EnvironmentFile= does not read {name} as python-dotenv does: {reason}",
        )


_SYSTEMD_QUOTED = re.compile(r"""[ \t]+|'([^']*)'?|"((?:\\.?|[^"\\])*)"?""", re.DOTALL)
_SYSTEMD_PLAIN = re.compile(r"\\(.?)|([^\\\r\n])", re.DOTALL)
_SYSTEMD_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)
_SYSTEMD_REFUSED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def _systemd_values(text: str) -> dict[str, str]:
    """Return what systemd 252 takes from ``text`` as an ``EnvironmentFile=``."""
    values: dict[str, str] = {}
    at = 0
    while at < len(text):
        if text[at] in " \t\r\n":
            at += 1
        elif text[at] in "#;":
            while at < len(text) and text[at] not in "\r\n":
                at += 2 if text[at] == "\\" else 1  # up to 253 a backslash also hides the end of a comment's line
        else:
            end = at + 1
            while end < len(text) and text[end] not in "=\r\n":
                end += 1
            name, at = text[at:end].rstrip(" \t"), end
            if text[end : end + 1] == "=":
                value, at = _systemd_value(text, end + 1)
                if _POSIX_NAME.fullmatch(name) and not _SYSTEMD_REFUSED.search(value):
                    values[name] = value
    return values


def _systemd_value(text: str, at: int) -> tuple[str, int]:
    """Return the value that starts at ``at``: quoted parts, then a plain part up to the end of the line."""
    value = ""
    while (match := _SYSTEMD_QUOTED.match(text, at)) is not None:
        value += match[1] or _SYSTEMD_ESCAPE.sub(_systemd_unescape, match[2] or "")
        at = match.end()
    kept = len(value)
    while (match := _SYSTEMD_PLAIN.match(text, at)) is not None:
        escaped, plain = match.groups()
        value += plain if escaped is None else escaped.strip("\r\n")
        if plain not in (" ", "\t"):
            kept = len(value)
        at = match.end()
    return value[:kept], at


def _systemd_unescape(match: re.Match[str]) -> str:
    character = match[1]
    return character if character in '"\\`$' else "" if character == "\n" else match[0]
