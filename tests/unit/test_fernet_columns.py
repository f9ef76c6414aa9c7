"""Pages in one piece on real databases: stock Fernet and plain SELECTs judge what is read, opened, sealed and written."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, settings
from hypothesis import strategies as st
from keyturn.base.errors import KeyturnError
from keyturn.ground.rows import fernet_pages, fernet_sqlite, sqlite_file
from keyturn.ground.rows.fernet_forms import Opened, Turner, Unreadable
from keyturn.ground.rows.fernet_pages import Pages
from keyturn.ground.rows.fernet_sqlite import Alike, FernetSqlite
from keyturn.ground.rows.side_file import SideFile
from keyturn.ground.rows.sqlite_file import CHUNK_WIDTH, Chunk, chunk, column

OLD, NEW, FOREIGN = (Fernet.generate_key().decode() for _ in range(3))
KEYS: Any = {"old": OLD, "new": NEW}
STOCK: Any = {side: Fernet(key) for side, key in KEYS.items()}
PAGE = 8
# where fsync costs nothing
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
LAST = 2**63 - 1


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of eight rows, of which two are enough for the way in one piece."""
    monkeypatch.setattr(fernet_pages, "BATCH_ROWS", 2)
    monkeypatch.setattr(sqlite_file.chunk, "__defaults__", ((), PAGE))
    monkeypatch.setattr(sqlite_file.pages, "__defaults__", ((), PAGE))


def token(key: str, plaintext: bytes, layers: int = 2, as_text: bool = True) -> str | bytes:
    text = Fernet(key).encrypt_at_time(plaintext, 1_700_000_000)
    text = base64.urlsafe_b64encode(text) if layers == 2 else text
    return text.decode() if as_text else text


readable = st.one_of(
    st.builds(
        lambda key, length, layers, as_text, number: token(key, b"access-%d" % number + b"x" * length, layers, as_text),
        st.sampled_from([OLD, OLD, OLD, NEW]),
        st.sampled_from([0, 1, 40]),
        st.integers(1, 2),
        st.booleans(),
        st.integers(0, 10**6),
    ),
    st.sampled_from([None, "", b"", "access-é", b"access-\0", "access-\0plain", token(OLD, b"access-" + b"y" * 9000)]),
)
unreadable = st.sampled_from(
    [
        7,
        1.5,
        token(FOREIGN, b"access-1"),
        str(token(OLD, b"access-1")) + " ",
        str(token(OLD, b"access-1", 1)) + "\n",
        str(token(OLD, b"access-1")) + "\0",
        token(OLD, b"access-1")[:-1],
        "é" * 60,
    ]
)
# runs of alike rows are what makes a page one piece, and one other row among them is what must not be overlooked
runs = st.builds(
    lambda count, layers, as_text, key: [token(key, b"access-%03d" % n, layers, as_text) for n in range(count)],
    st.integers(1, 2 * PAGE),
    st.integers(1, 2),
    st.booleans(),
    st.sampled_from([OLD, OLD, NEW]),
)


def columns_of(*others: Any) -> st.SearchStrategy[list[Any]]:
    parts = st.lists(st.one_of(runs, *(other.map(lambda value: [value]) for other in others)), max_size=6)
    return parts.map(lambda found: list(itertools.chain.from_iterable(found)))


gaps = st.lists(st.integers(1, 3), min_size=1, max_size=5)
encodings = st.sampled_from(["UTF-8", "UTF-8", "UTF-16le", "UTF-16be"])


class Table:
    """A database in a folder of its own, with the rows at rowids from below zero on, with gaps."""

    def __init__(
        self, folder: Path, stored: Sequence[Any], gaps: Sequence[int] = (1,), encoding: str = "UTF-8"
    ) -> None:
        self.folder = folder
        rowids = itertools.accumulate(itertools.cycle(gaps), initial=-5)
        with self.connected() as connection:
            connection.execute(f"PRAGMA encoding='{encoding}'")
            connection.execute("CREATE TABLE t (item, token, time)")
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO t (rowid, item, token) VALUES (?, ?, ?)",
                [
                    (rowid, f"item {number}", value)
                    for number, (rowid, value) in enumerate(zip(rowids, stored, strict=False))
                ],
            )
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def connected(self, name: str = "data.db") -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.folder / name, isolation_level=None)) as connection:
            yield connection

    def execute(self, sql: str, *parameters: Any, name: str = "data.db") -> list[Any]:
        with self.connected(name) as connection:
            return connection.execute(sql, parameters).fetchall()

    def rows(self) -> list[tuple[int, Any]]:
        return self.execute("SELECT rowid, token FROM t ORDER BY rowid")

    def migration(self) -> FernetSqlite:
        spec = {
            "database": "data.db",
            "columns": [{"table": "t", "key": ["item"], "column": "token", "plaintext": "^access-"}],
        }
        return FernetSqlite(spec, self.folder, "KEY", KEYS)


def cut(page: Chunk) -> list[tuple[int, Any]]:
    """The rows of a page in one piece."""
    places = [int(rowid) for rowid in page.rowids[1:-1].split(",")]
    parts = [page.stored[first : first + page.width] for first in range(0, len(page.stored), page.width)]
    return [(place, part.decode() if page.as_text else part) for place, part in zip(places, parts, strict=True)]


def stock(stored: Any) -> Any:
    try:
        return Turner(STOCK, "^access-").open(stored)
    except Unreadable:
        return None


@settings(max_examples=80, deadline=None)
@given(columns_of(readable, unreadable), gaps, encodings)
def test_pages_hold_what_a_select_finds_and_open_as_stock_fernet_opens(
    stored: list[Any], gaps: list[int], encoding: str
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        table = Table(Path(name), stored, gaps, encoding)
        values = Pages(Turner(STOCK, "^access-"), KEYS)
        found: list[tuple[int, Any]] = []
        with table.connected() as connection:
            for page in fernet_sqlite._read(
                connection, column(connection, "t", ["item"], "token"), values, with_rowids=True
            ):
                if not isinstance(page, Alike):
                    found += [(*row.locator, row.stored) for row in page]
                    continue
                rows = cut(page.chunk)
                found += rows
                assert page.chunk.last == rows[-1][0]
                opened = page.opened
                for (_, value), time, plaintext in zip(rows, opened.times, opened.plaintexts, strict=True):
                    assert stock(value) == Opened(opened.form, opened.side, time, plaintext)
        assert found == table.rows()
        census = table.migration().census()
    each = [stock(value) for value in stored]
    assert census["refused"] == each.count(None)
    assert census["under"] == {side: sum(one is not None and one.side == side for one in each) for side in KEYS}
    for form, count in census["rows"].items():
        assert count == sum(one is not None and one.form == form for one in each)


@settings(max_examples=60, deadline=None)
@given(columns_of(readable), gaps, encodings)
def test_what_is_staged_and_switched_is_what_stock_fernet_opens(
    stored: list[Any], gaps: list[int], encoding: str
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        table = Table(Path(name), stored, gaps, encoding)
        before, both, side = table.rows(), table.migration(), SideFile(Path(name) / "side.db")
        both.prepare(side, False)
        staged = table.execute("SELECT k0, old, new FROM staged_0 ORDER BY k0", name="side.db")
        assert [row[:2] for row in staged] == [(place, value) for place, value in before if is_old(value)]
        for _, old, new in staged:
            check_turned(old, new)
        turned = both.switch("new", side)
        assert turned == {"turned": len(staged), "on_the_fly": 0, "left": ""}
        for (place, old), (again, new) in zip(before, table.rows(), strict=True):
            assert place == again
            if is_old(old):
                check_turned(old, new)
            else:
                assert (type(old), old) == (type(new), new)
        assert both.switch("old", side)["left"] == ""
        for (place, old), (again, back) in zip(before, table.rows(), strict=True):
            assert place == again
            if stock(old).side == "new":
                check_turned(back, old)
            else:
                assert (type(old), old) == (type(back), back)


def is_old(stored: Any) -> bool:
    return stock(stored).side == "old"


def check_turned(old: Any, new: Any) -> None:
    assert type(new) is type(old)
    assert stock(new) == stock(old)._replace(side="new")


def read(table: Table, **where: Any) -> Chunk | None:
    with table.connected() as connection:
        return chunk(connection, column(connection, "t", ["item"], "token"), **where)


def test_alike_rows_come_in_one_piece_whatever_their_rowids_are(tmp_path: Path) -> None:
    """Or the tests above would look at the way by rows alone."""
    alike = [token(OLD, b"access-%03d" % number) for number in range(2 * PAGE)]
    table = Table(tmp_path, alike, [3, 1])
    assert [cut(page) for page in (read(table), read(table, after=(table.rows()[PAGE - 1][0],))) if page] == [
        table.rows()[:PAGE],
        table.rows()[PAGE:],
    ]
    table.execute("UPDATE t SET rowid = ? WHERE rowid = (SELECT max(rowid) FROM t)", LAST)
    table.execute("UPDATE t SET rowid = ? WHERE rowid = (SELECT min(rowid) FROM t)", -LAST - 1)
    both, side = table.migration(), SideFile(tmp_path / "side.db")
    assert both.prepare(side, False) == (2 * PAGE, 2 * PAGE, True)
    assert both.switch("new", side) == {"turned": 2 * PAGE, "on_the_fly": 0, "left": ""}
    assert both.census()["under"] == {"old": 0, "new": 2 * PAGE}
    assert read(table, after=(LAST,)) is None


@pytest.mark.parametrize(
    "stored",
    [
        [],
        ["", ""],
        [None, None],
        ["aaaa", None, "aaaa"],
        ["aaaa", b"aaaa"],
        ["aaa", "aaaaa", "aaaa"],
        ["aaaa", "aaa\0", "aaaa"],
        ["aaaa\0aaaa", "aaaa"],
        ["aaéa", "aaaa"],
        ["aaéa", "aaaa", "aaa"],
        [1234, 5678],
        [1234, "5678"],
        ["a" * (CHUNK_WIDTH + 1)] * 2,
    ],
    ids=repr,
)
def test_what_cannot_be_cut_again_does_not_come_in_one_piece(tmp_path: Path, stored: list[Any]) -> None:
    assert read(Table(tmp_path, stored)) is None


def test_text_of_utf_16_and_rows_without_rowid_do_not_come_in_one_piece(tmp_path: Path) -> None:
    table = Table(tmp_path, ["aaaa", "bbbb"], encoding="UTF-16le")
    assert read(table) is None
    table.execute("CREATE TABLE w (item PRIMARY KEY, token) WITHOUT ROWID")
    table.execute("INSERT INTO w VALUES (1, 'aaaa'), (2, 'bbbb')")
    with table.connected() as connection:
        assert chunk(connection, column(connection, "w", ["item"], "token")) is None


# -- a broken way is caught --------------------------------------------------------------------------------------------


def seal_rotated(page: Chunk, sealed: Chunk) -> Chunk:
    return sealed._replace(stored=sealed.stored[1:] + sealed.stored[:1])


def seal_swapped(page: Chunk, sealed: Chunk) -> Chunk:
    parts = [text for _, text in cut(sealed._replace(as_text=False))]
    return sealed._replace(stored=b"".join([parts[1], parts[0], *parts[2:]]))


def seal_nothing(page: Chunk, sealed: Chunk) -> Chunk:
    return page


def seal_too_few(page: Chunk, sealed: Chunk) -> Chunk:
    return sealed._replace(stored=sealed.stored[: -sealed.width])


def seal_at_another_time(page: Chunk, sealed: Chunk) -> Chunk:
    texts = [Fernet(NEW).encrypt(b"access-%03d" % number) for number in range(page.rows)]
    return sealed._replace(stored=b"".join(base64.urlsafe_b64encode(text) for text in texts))


def seal_by_another_key(page: Chunk, sealed: Chunk) -> Chunk:
    texts = [token(FOREIGN, b"access-%03d" % number, as_text=False) for number in range(page.rows)]
    return sealed._replace(stored=b"".join(map(bytes, texts)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "broken", [seal_rotated, seal_swapped, seal_nothing, seal_too_few, seal_at_another_time, seal_by_another_key]
)
def test_a_page_that_is_sealed_wrongly_is_never_staged(
    tmp_path: Path, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(tmp_path, [token(OLD, b"access-%03d" % number) for number in range(PAGE)])
    turn = Pages.turn_chunk
    monkeypatch.setattr(Pages, "turn_chunk", lambda self, page, *rest: broken(page, turn(self, page, *rest)))
    with pytest.raises(KeyturnError, match="did not open again"):
        table.migration().prepare(SideFile(tmp_path / "side.db"), False)
    assert table.execute("SELECT * FROM sqlite_master", name="side.db") == []


def write_elsewhere(page: Chunk) -> Chunk:
    first, *others = page.rowids[1:-1].split(",")
    return page._replace(rowids=f"[{','.join([*others, first])}]")


def write_too_narrow(page: Chunk) -> Chunk:
    return page._replace(width=page.width - 1)


def write_bytes(page: Chunk) -> Chunk:
    return page._replace(as_text=False)


def write_too_few(page: Chunk) -> Chunk:
    return page._replace(rowids=page.rowids[: page.rowids.rindex(",")] + "]")


@pytest.mark.parametrize("broken", [write_elsewhere, write_too_narrow, write_bytes, write_too_few])
def test_a_page_that_is_written_wrongly_is_never_staged(
    tmp_path: Path, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(tmp_path, [token(OLD, b"access-%03d" % number) for number in range(PAGE)])
    add = SideFile.add_chunk
    monkeypatch.setattr(
        SideFile, "add_chunk", lambda connection, index, old, *rest: add(connection, index, broken(old), *rest)
    )
    with pytest.raises(KeyturnError, match="did not open again"):
        table.migration().prepare(SideFile(tmp_path / "side.db"), False)
    assert table.execute("SELECT * FROM sqlite_master", name="side.db") == []


def test_a_page_that_is_read_in_another_order_harms_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch compares what it replaces: a row that is not as staged is turned by what opens it."""
    table = Table(tmp_path, [token(OLD, b"access-%03d" % number) for number in range(PAGE)])
    before = table.rows()

    def disordered(*arguments: Any, **options: bool) -> Chunk | None:
        page = chunk(*arguments, **options)
        return page and seal_swapped(page, page)

    monkeypatch.setattr(fernet_sqlite, "chunk", disordered)
    both, side = table.migration(), SideFile(tmp_path / "side.db")
    assert both.prepare(side, False).staged == PAGE
    assert both.switch("new", side) == {"turned": PAGE, "on_the_fly": 2, "left": ""}
    for (_, old), (_, new) in zip(before, table.rows(), strict=True):
        check_turned(old, new)
