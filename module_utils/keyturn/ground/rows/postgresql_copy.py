"""A copy of what declared columns hold, by the keys of their rows: a script that psql runs, with a table for each column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .fernet_forms import Stored
from .postgresql_session import Cursor
from .postgresql_table import Column
from .sqlite_file import Row

HEAD = re.compile(r"-- column (\d+), (\d+) keys, (text|bytea): .*\n")
ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def write(cursor: Cursor, file: IO[str], number: int, target: Column) -> None:
    """Write the copy of one column: the key of each row and the name that it is known by, as text, and what is stored."""
    stored = "bytea" if target.kind == "bytea" else "text"
    names = [*(f"key_{place} text" for place in range(len(target.keys))), "item text", "flag int", f"stored {stored}"]
    file.write(f"-- column {number}, {len(target.keys)} keys, {stored}: {target.name} by {', '.join(target.keys)}\n")
    file.write(f"CREATE TABLE keyturn_backup_{number} ({', '.join(names)});\n")
    file.write(f"COPY keyturn_backup_{number} FROM stdin;\n")
    cursor.copy_expert(f"COPY (SELECT {target.select()} FROM {target.table} t) TO STDOUT", file)  # noqa: S608
    file.write("\\.\n")


def read(path: Path, size: int) -> Iterator[tuple[int, list[Row]]]:
    """Yield the number of a column and a page of its rows, of at most ``size``."""
    with path.open(encoding="utf-8", newline="\n") as file:
        number, keys, stored, page = 0, 0, "text", list[Row]()
        inside = False
        for line in file:
            if not inside:
                if found := HEAD.fullmatch(line):
                    number, keys, stored = int(found[1]), int(found[2]), found[3]
                inside = line.startswith("COPY ")
                continue
            inside = line != "\\.\n"
            if inside:
                page.append(_row(line, keys, stored == "bytea"))
            if page and (len(page) == size or not inside):
                yield number, page
                page = []


def _row(line: str, keys: int, is_bytes: bool) -> Row:
    cells = [_cell(cell) for cell in line.removesuffix("\n").split("\t")]
    stored: Stored = cells[-1]
    if is_bytes and isinstance(stored, str):
        stored = bytes.fromhex(stored.removeprefix("\\x"))
    return Row(tuple(cells[:keys]), cells[-3], stored, None if cells[-2] is None else int(cells[-2]))


def _cell(cell: str) -> str | None:
    return None if cell == "\\N" else _ESCAPED.sub(lambda found: ESCAPES.get(found[1], found[1]), cell)
