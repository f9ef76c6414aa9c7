"""A copy of what declared columns hold, by the keys of their rows: a script that psql runs, with a table for each column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ...base.errors import KeyturnError
from .fernet_forms import Stored
from .postgresql_session import Cursor
from .postgresql_staging import fetched
from .postgresql_table import Column
from .sqlite_file import PAGE_BYTES, Cell, Row

# numbers and a word of ours: psql runs what stands behind the end of a comment, and names are the database's
HEAD = re.compile(r"-- column (\d+), (\d+) keys, (text|bytea)\n")
ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def write(cursor: Cursor, file: IO[str], number: int, target: Column, most: int) -> None:
    """Write the copy of one column: the key of each row and the name that it is known by, as text, and what is stored.

    Each line is made here, since psql would run what a server puts behind a line that ends the data. KeyturnError above ``most`` bytes.
    """
    stored = "bytea" if target.kind == "bytea" else "text"
    names = [*(f"key_{place} text" for place in range(len(target.keys))), "item text", "flag int", f"stored {stored}"]
    file.write(f"-- column {number}, {len(target.keys)} keys, {stored}\n")
    file.write(f"CREATE TABLE keyturn_backup_{number} ({', '.join(names)});\n")
    file.write(f"COPY keyturn_backup_{number} FROM stdin;\n")
    written = 0
    for page in fetched(cursor, target, f"SELECT {target.select()} FROM {target.table} t"):  # noqa: S608
        lines = "".join(_line(row) for row in page)
        written += len(lines.encode())
        if written > most:
            raise KeyturnError(
                f"{target.name}: its copy has over {most} bytes, which is far more than the table takes by the server's own word: see "
                "who answers there, and what the column holds"
            )
        file.write(lines)
    file.write("\\.\n")


def read(path: Path, size: int) -> Iterator[tuple[int, list[Row]]]:
    """Yield the number of a column and a page of its rows, of at most ``size``, and fewer where they are long."""
    with path.open(encoding="utf-8", newline="\n") as file:
        number, keys, stored, page, left = 0, 0, "text", list[Row](), PAGE_BYTES
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
                left -= len(line)
            if page and (len(page) == size or left < 0 or not inside):
                yield number, page
                page, left = [], PAGE_BYTES


def _line(row: Row) -> str:
    return "\t".join(map(_copied, (*row.locator, row.item, row.flag, row.stored))) + "\n"


def _copied(cell: Stored | Cell) -> str:
    """Return a cell as COPY takes it: it holds no end of a line, and no backslash that stands alone."""
    if cell is None:
        return "\\N"
    if isinstance(cell, bytes):
        return "\\\\x" + cell.hex()
    text = str(cell).replace("\\", "\\\\").replace("\t", "\\t")
    return text.replace("\n", "\\n").replace("\r", "\\r")


def _row(line: str, keys: int, is_bytes: bool) -> Row:
    cells = [_cell(cell) for cell in line.removesuffix("\n").split("\t")]
    stored: Stored = cells[-1]
    if is_bytes and isinstance(stored, str):
        stored = bytes.fromhex(stored.removeprefix("\\x"))
    return Row(tuple(cells[:keys]), cells[-3], stored, None if cells[-2] is None else int(cells[-2]))


def _cell(cell: str) -> str | None:
    return None if cell == "\\N" else _ESCAPED.sub(lambda found: ESCAPES.get(found[1], found[1]), cell)
